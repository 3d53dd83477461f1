//! The log, as an operator reads it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::service::Service;

/// All events, oldest first.
pub async fn of(service: &Service) -> Vec<Value> {
    all(service, "/events?order=asc&limit=1000").await
}

/// All pages of a list.
pub async fn all(service: &Service, path: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut next = path.to_owned();
    loop {
        let mut page = service.admin(&next).await;
        items.append(page["items"].as_array_mut().unwrap());
        let Some(cursor) = page["cursor"].as_str() else { return items };
        next = format!("{path}&cursor={cursor}");
    }
}

/// Fails unless the positions are 1, 2, 3 and so on.
pub fn assert_gapless(events: &[Value]) {
    let positions: Vec<u64> = events.iter().map(|event| event["position"].as_u64().unwrap()).collect();
    let wanted: Vec<u64> = (1..=u64::try_from(events.len()).unwrap()).collect();
    assert_eq!(positions, wanted, "positions have no gap and no duplicate, in commit order");
}

/// The subjects of all events of a kind.
pub fn subjects(events: &[Value], kind: &str) -> BTreeSet<String> {
    let of_kind = events.iter().filter(|event| event["type"] == kind);
    of_kind.map(|event| event["subject"].as_str().unwrap().to_owned()).collect()
}

/// The keys of a collection.
pub async fn keys(service: &Service, app: &str, collection: &str) -> BTreeSet<String> {
    let entries = all(service, &format!("/apps/{app}/kv/{collection}?limit=1000")).await;
    entries.iter().map(|entry| entry["key"].as_str().unwrap().to_owned()).collect()
}
