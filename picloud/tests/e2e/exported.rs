//! The log as a file that is gone on with.

use std::{collections::HashSet, fs, sync::Arc};

use reqwest::Method;
use serde_json::Value;

use crate::{
    app,
    home::{Home, told},
    service::Start,
};

fn events(file: &std::path::Path) -> Vec<Value> {
    fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn an_export_goes_on_where_it_ended_also_in_the_middle_of_a_line() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let shop = app::write(&home, "shop", &[("greet", "GET /greet", "\"hello\"")]);
    home.picloud(&["deploy", &shop]).await;
    let file = home.path().join("events.ndjson");
    let export = ["events", "--app", "shop", "--to", file.to_str().unwrap()];
    home.picloud(&export).await;
    let first = events(&file);
    assert!(first.iter().all(|event| event["specversion"] == "1.0") && !first.is_empty());

    service.call(Method::GET, "shop.localhost", "/greet").send().await.unwrap();
    // As if it had been ended while it wrote.
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}{{\"specversion\":\"1.0\",\"id\":\"evt_")).unwrap();
    let again = home.run(&export).await;
    assert!(told(&again).contains("2 events were added"), "{}", told(&again));
    home.picloud(&export).await;
    let all = events(&file);
    assert_eq!(all.len(), first.len() + 2, "each once: {all:?}");
    assert_eq!(all.iter().map(|event| event["id"].as_str().unwrap()).collect::<HashSet<_>>().len(), all.len());
    assert_eq!(all.last().unwrap()["type"], "invocation.completed");

    let failed =
        home.run(&["events", "--actor", "nobody", "--since", "2020-01-01T00:00:00Z", "--output", "json"]).await;
    assert!(failed.status.success() && failed.stdout.is_empty(), "{}", told(&failed));
    for text in ["not an export\n", "nor this", "{\"notes\": 1}"] {
        let other = home.write("notes.txt", text);
        let refused = home.run(&["events", "--to", other.to_str().unwrap()]).await;
        assert!(told(&refused).contains("does not end with an event that was exported"), "{}", told(&refused));
        assert_eq!(fs::read_to_string(other).unwrap(), text);
    }
    service.stop().await;
}
