//! A view that is broken on purpose: it is seen, nothing else notices, and a replay mends it.

use std::sync::Arc;

use picloud::embedded::Embedded;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use crate::{
    app,
    eventually::eventually,
    home::{Home, told},
    service::{Service, Start},
};

async fn greet(service: &Service, times: usize) {
    for _ in 0..times {
        let greeted = service.call(Method::GET, "shop.localhost", "/greet").send().await.unwrap();
        assert_eq!(greeted.status(), StatusCode::OK);
    }
}

async fn execute(home: &Home, sql: &'static str) {
    let mut database = PgConnection::connect_with(&Embedded::running_in(&home.data()).unwrap()).await.unwrap();
    sqlx::query(sql).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
}

/// How many runs the figures count.
async fn counted(home: &Home) -> u64 {
    let metrics = home.picloud(&["metrics", "--app", "shop"]).await;
    let all = metrics.lines().find(|line| line.starts_with("all")).unwrap_or_else(|| panic!("{metrics}")).to_owned();
    all.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_view_that_was_broken_on_purpose_is_seen_and_mended_by_a_replay() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let shop = app::write(&home, "shop", &[("greet", "GET /greet", "\"hello\"")]);
    home.picloud(&["deploy", &shop]).await;
    greet(&service, 3).await;
    eventually("3 runs are counted", async || (counted(&home).await == 3).then_some(())).await;
    let same = home.picloud(&["replay", "--views"]).await;
    assert_eq!(same.lines().filter(|line| line.contains("the same")).count(), 5, "{same}");

    // Rows that do not follow from the log are shown, and replaced.
    execute(&home, "update views.run_rollup set failed = failed + 7").await;
    let differs = home.run(&["replay", "--view", "metrics"]).await;
    assert_eq!(differs.status.code(), Some(1));
    let differs = told(&differs);
    for part in ["- run_rollup", "+ run_rollup", "picloud replay --swap --view metrics"] {
        assert!(differs.contains(part), "{part}: {differs}");
    }
    home.picloud(&["replay", "--view", "metrics", "--swap"]).await;
    let same = home.picloud(&["replay", "--view", "metrics"]).await;
    assert!(same.contains("the same"), "{same}");

    // A table that cannot be written: the view stands still and says so, all else goes on.
    execute(&home, "alter table views.run_rollup rename column ok to well").await;
    greet(&service, 2).await;
    eventually("the view stands still", async || {
        let views = service.admin("/views").await;
        let metrics = views["items"].as_array().unwrap().iter().find(|view| view["name"] == "metrics").unwrap();
        metrics["parked"]["error"].as_str().map(|error| assert!(error.contains("run_rollup") || error.contains("ok")))
    })
    .await;
    assert!(service.get("shop.localhost", "/readyz").await.1.contains("the view `metrics` stands still"));
    let listed = home.picloud(&["invocations", "ls", "--app", "shop", "--output", "json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap()["items"].as_array().unwrap().len(), 5);
    let replaced = home.picloud(&["replay", "--view", "metrics", "--swap"]).await;
    assert!(replaced.contains("not compared") && replaced.contains("replaced"), "{replaced}");
    assert_eq!(counted(&home).await, 5);
    greet(&service, 1).await;
    eventually("6 runs are counted", async || (counted(&home).await == 6).then_some(())).await;
    let unknown = home.run(&["replay", "--view", "metric"]).await;
    assert!(told(&unknown).contains("there is no view `metric`: there are `invocations`"), "{}", told(&unknown));

    // Rows of another version's fold are made anew at the next start.
    execute(&home, "update views.checkpoint set version = 0 where view = 'metrics'").await;
    execute(&home, "delete from views.run_rollup").await;
    service.stop().await;
    let service = Start::new(&home).ready().await;
    eventually("6 runs are counted", async || (counted(&home).await == 6).then_some(())).await;
    service.stop().await;
}
