//! `kill -9`, of the service and of PostgreSQL, with calls going on. What was acknowledged stays.

use std::sync::Arc;

use reqwest::StatusCode;
use rustix::process::{Signal, kill_process};

use crate::{
    app,
    eventually::eventually,
    home::{Home, command_line},
    load::Load,
    service::Start,
};

const SCRIPTS: &[(&str, &str, &str)] = &[("keep", "POST /keep/:key", app::KEEP), ("count", "POST /count", app::COUNT)];

#[tokio::test]
async fn a_killed_service_has_lost_nothing_that_it_acknowledged() {
    let home = Arc::new(Home::new());
    let mut service = Start::new(&home).ready().await;
    let app = app::write(&home, "load", SCRIPTS);
    home.picloud(&["deploy", &app]).await;
    let mut load = Load::begin(&service, &app);
    load.until_acknowledged(400).await;
    service.kill().await;
    let first = load.stop().await;
    assert!(first.refused.is_empty(), "{:?}", first.refused);
    assert!(first.cut > 0, "it was killed in the midst of calls");
    let left = home.postmaster().expect("PostgreSQL is still there: nobody told it to stop");

    let service = Start::new(&home).ready().await;
    assert_eq!(home.postmaster(), Some(left), "and is taken over");
    first.assert_all_is_there(&service, &app).await;
    let mut load = Load::begin(&service, &app);
    load.until_acknowledged(50).await;
    let second = load.stop().await;
    assert!(second.refused.is_empty() && second.cut == 0, "it serves as before: {:?}", second.refused);
    let highest = first.numbers.iter().max().unwrap();
    assert!(second.numbers.iter().all(|number| number > highest), "the counter goes on from where it was");
    second.assert_all_is_there(&service, &app).await;
    service.stop().await;
    assert_eq!(command_line(left), "", "the one that was taken over stops too");
}

#[tokio::test]
async fn a_killed_postgresql_costs_nothing_that_was_acknowledged_and_the_service_goes_on_by_itself() {
    let home = Arc::new(Home::new());
    let mut service = Start::new(&home).ready().await;
    let app = app::write(&home, "load", SCRIPTS);
    home.picloud(&["deploy", &app]).await;
    let mut load = Load::begin(&service, &app);
    for _ in 0..2 {
        load.until_acknowledged(200).await;
        let postmaster = home.postmaster().unwrap();
        kill_process(postmaster, Signal::KILL).unwrap();
        eventually("another PostgreSQL runs", || async { home.postmaster().filter(|now| *now != postmaster) }).await;
    }
    load.until_acknowledged(200).await;
    let seen = load.stop().await;
    assert_eq!(seen.cut, 0, "the service itself was always there");
    assert!(!seen.refused.is_empty(), "somebody called while there was no database");
    for (status, content_type, body) in &seen.refused {
        assert_eq!(*status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
        assert_eq!(content_type, "application/problem+json");
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert!(problem["title"].is_string() && problem["status"] == 503, "{body}");
        assert!(!body.contains("sqlx") && !body.contains("/data/run"), "internals do not leak: {body}");
    }
    seen.assert_all_is_there(&service, &app).await;
    assert!(service.is_running(), "it has never been restarted");
    service.stop().await;
}
