//! What the log says, and what must follow from it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sqlx::{PgConnection, Row as _};

/// What was sent between two moments at which nothing was pending.
pub struct Batch {
    pub number: u64,
    /// The head when it began.
    pub after: i64,
    /// What callers were told is so.
    pub acknowledged: BTreeSet<u64>,
}

/// An item, from the log alone.
struct Item {
    enqueued: i64,
    data: Value,
    ends: Vec<(i64, String)>,
    /// The numbers of its failed attempts, in order, and of the one that succeeded.
    attempts: Vec<i64>,
    first_run: Option<i64>,
}

pub async fn head(database: &mut PgConnection) -> i64 {
    sqlx::query_scalar("select coalesce(max(position), 0) from log.events").fetch_one(database).await.unwrap()
}

pub async fn pending(database: &mut PgConnection) -> i64 {
    let pending = sqlx::query_scalar("select count(*) from state.outbox").fetch_one(database);
    // Whoever asks while the database goes away asks again.
    pending.await.unwrap_or(i64::MAX)
}

pub async fn any_pending(database: &mut PgConnection, choice: u64) -> Option<String> {
    let pending: Vec<sqlx::types::Uuid> =
        sqlx::query_scalar("select id from state.outbox order by id").fetch_all(database).await.unwrap();
    let len = u64::try_from(pending.len()).unwrap();
    let chosen = pending.get(usize::try_from(choice.checked_rem(len)?).unwrap())?;
    Some(picloud_core::id::OutboxId::from(*chosen).to_string())
}

impl Batch {
    pub async fn check(self, database: &mut PgConnection) {
        let items = self.items(database).await;
        assert!(!items.is_empty(), "a batch without work shows nothing");
        self.every_item_ends_once(&items);
        self.effects_are_there_once(&items, database).await;
        self.keys_keep_their_order(&items, database).await;
        self.what_was_acknowledged_is_there(&items);
        let left: i64 = sqlx::query_scalar(
            "select (select count(*) from live.ready) + (select count(*) from live.delayed) + (select count(*) from live.lease)",
        )
        .fetch_one(&mut *database)
        .await
        .unwrap();
        assert_eq!(left, 0, "nothing waits for what is over");
    }

    /// All that was owed in it, by item, from an unbroken stretch of the log.
    async fn items(&self, database: &mut PgConnection) -> BTreeMap<String, Item> {
        let head = head(database).await;
        let rows = sqlx::query(
            "select position, id::text, kind, subject, data::text, cause::text from log.events
            where position > $1 order by position",
        )
        .bind(self.after)
        .fetch_all(database)
        .await
        .unwrap();
        let positions: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(positions, (self.after + 1..=head).collect::<Vec<_>>(), "the log has no gap and no duplicate");
        let mut items: BTreeMap<String, Item> = BTreeMap::new();
        let mut by_event: BTreeMap<String, String> = BTreeMap::new();
        for row in rows {
            let (position, event, kind, subject): (i64, String, String, String) =
                (row.get(0), row.get(1), row.get(2), row.get(3));
            let data: Value = serde_json::from_str(row.get(4)).unwrap();
            let cause: Option<String> = row.get(5);
            match kind.as_str() {
                "outbox.enqueued" => {
                    by_event.insert(event, subject.clone());
                    let item =
                        Item { enqueued: position, data, ends: Vec::new(), attempts: Vec::new(), first_run: None };
                    assert!(items.insert(subject, item).is_none(), "an item is owed once");
                }
                "outbox.rescheduled" => {
                    let item = items.get_mut(&subject).expect("what is tried again was owed");
                    assert!(item.ends.is_empty(), "what is over is not tried again: {subject}");
                    item.attempts.push(data["attempt"]["number"].as_i64().unwrap());
                }
                "outbox.delivered" | "outbox.exhausted" | "outbox.cancelled" => {
                    let item = items.get_mut(&subject).expect("what ends was owed");
                    item.attempts.extend(data["attempt"].as_i64());
                    item.ends.push((position, kind));
                }
                "invocation.started" => {
                    let item = cause.and_then(|cause| by_event.get(&cause)).and_then(|item| items.get_mut(item));
                    if let Some(item) = item {
                        item.first_run.get_or_insert(position);
                    }
                }
                _ => {}
            }
        }
        items
    }

    fn every_item_ends_once(&self, items: &BTreeMap<String, Item>) {
        for (name, item) in items {
            assert_eq!(item.ends.len(), 1, "{name} ends once: {:?}", item.ends);
            let counted: Vec<i64> = (1..).take(item.attempts.len()).collect();
            assert_eq!(item.attempts, counted, "{name}: attempts are told one after the other");
        }
    }

    /// What each run of a script adds up to, by the number that the run was about.
    async fn effects_are_there_once(&self, items: &BTreeMap<String, Item>, database: &mut PgConnection) {
        for (collection, number) in
            [("done", Item::sent as fn(&Item) -> Option<u64>), ("audited", Item::audited as fn(&Item) -> Option<u64>)]
        {
            let mine: BTreeSet<u64> = items.values().filter_map(number).collect();
            let delivered: BTreeSet<u64> =
                items.values().filter(|item| item.is_delivered()).filter_map(number).collect();
            let found = counters(collection, database).await;
            let found: BTreeMap<u64, i64> = found.into_iter().filter(|(n, _)| mine.contains(n)).collect();
            let wanted: BTreeMap<u64, i64> = delivered.into_iter().map(|n| (n, 1)).collect();
            assert_eq!(found, wanted, "`{collection}` has each delivered item's effect once and nobody else's");
        }
        // The payloads of requests are sealed: their number can be told from the whole alone.
        let later = counters("later", database).await;
        assert!(later.values().all(|count| *count == 1), "an async call's effect is there once: {later:?}");
    }

    async fn keys_keep_their_order(&self, items: &BTreeMap<String, Item>, database: &mut PgConnection) {
        let mut lanes: BTreeMap<&str, Vec<&Item>> = BTreeMap::new();
        for item in items.values() {
            if let Some(key) = item.data["payload"]["event"]["queue"]["key"].as_str() {
                lanes.entry(key).or_default().push(item);
            }
        }
        for (key, mut lane) in lanes {
            lane.sort_by_key(|item| item.enqueued);
            for pair in lane.windows(2) {
                let over = pair[0].ends[0].0;
                assert!(pair[1].first_run.is_none_or(|began| began > over), "`{key}` runs one at a time");
            }
            let wanted: Vec<u64> =
                lane.iter().filter(|item| item.is_delivered()).filter_map(|item| item.sent()).collect();
            let seen: Option<String> =
                sqlx::query_scalar("select value::text from state.kv where collection = 'order' and key = $1")
                    .bind(key)
                    .fetch_optional(&mut *database)
                    .await
                    .unwrap();
            let seen: Vec<u64> = seen.map_or_else(Vec::new, |json| serde_json::from_str(&json).unwrap());
            assert_eq!(seen, wanted, "what was sent under `{key}` was worked on in its order");
        }
    }

    fn what_was_acknowledged_is_there(&self, items: &BTreeMap<String, Item>) {
        let sent: BTreeSet<u64> = items.values().filter_map(Item::sent).collect();
        let requests = items.values().filter(|item| item.data["source"]["kind"] == "async_route").count();
        let lost: Vec<_> = self.acknowledged.difference(&sent).collect();
        // Those that are not messages were requests.
        assert!(lost.len() <= requests, "{} of {} acknowledged calls are lost", lost.len() - requests, sent.len());
    }
}

impl Item {
    fn is_delivered(&self) -> bool {
        self.ends[0].1 == "outbox.delivered"
    }

    /// The number of the message that it works on.
    fn sent(&self) -> Option<u64> {
        self.data["payload"]["event"]["queue"]["message"]["n"].as_u64()
    }

    /// The number of the write that it was triggered by.
    fn audited(&self) -> Option<u64> {
        self.data["payload"]["event"]["kv"]["key"].as_str()?.parse().ok()
    }
}

async fn counters(collection: &str, database: &mut PgConnection) -> BTreeMap<u64, i64> {
    let rows = sqlx::query("select key, value::text::bigint from state.kv where collection = $1")
        .bind(collection)
        .fetch_all(database)
        .await
        .unwrap();
    rows.iter().map(|row| (row.get::<String, _>(0).parse().unwrap(), row.get(1))).collect()
}
