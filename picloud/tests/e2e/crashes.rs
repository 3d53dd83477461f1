//! `kill -9`, of the service and of PostgreSQL, with calls going on. What was acknowledged stays.

use std::{collections::BTreeSet, sync::Arc};

use reqwest::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};

use tokio::task::JoinSet;

use crate::{
    app,
    eventually::eventually,
    history,
    home::{Home, command_line},
    load::Load,
    service::{Service, Start},
    shared_database::SharedDatabase,
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

#[tokio::test]
async fn a_call_that_a_crash_cut_off_counts_once_when_it_is_sent_again_under_its_key() {
    let home = Arc::new(Home::new());
    let mut service = Start::new(&home).ready().await;
    let app = app::write(&home, "once", &[("count", "POST /count", app::COUNT)]);
    home.picloud(&["deploy", &app]).await;
    let mut calls = JoinSet::new();
    for key in 0..200 {
        let call = count(&service, key).send();
        calls.spawn(async move { call.await.ok().filter(|answer| answer.status() == StatusCode::OK).is_some() });
    }
    let mut answered = 0;
    while answered < 40 {
        answered += usize::from(calls.join_next().await.expect("not all have ended").unwrap());
    }
    service.kill().await;
    let rest = calls.join_all().await;
    assert!(rest.contains(&false), "some were cut off");

    let service = Start::new(&home).ready().await;
    // Whoever had no answer cannot know, and asks again; the others are here to show that asking again is harmless.
    let mut numbers = BTreeSet::new();
    for key in 0..200 {
        let body = eventually("the key is free or has its outcome", || async {
            let answer = count(&service, key).send().await.unwrap();
            let (status, body) = (answer.status(), answer.text().await.unwrap());
            // The run that was cut off holds its key until its node is known to be dead.
            assert!(matches!(status, StatusCode::OK | StatusCode::CONFLICT), "{status} {body}");
            (status == StatusCode::OK).then_some(body)
        })
        .await;
        numbers.insert(body.parse::<i64>().unwrap());
    }
    assert_eq!(numbers, (1..=200).collect(), "each key has counted, and once");
    service.stop().await;
}

#[tokio::test]
async fn a_backend_that_stands_still_with_the_log_in_its_hands_stops_nobody_for_longer_than_it_stands() {
    let home = Arc::new(Home::new());
    let database = SharedDatabase::new().await;
    let service = Start::new(&home).with("DATABASE_URL", database.url()).ready().await;
    let app = app::write(&home, "held", &[("count", "POST /count", app::COUNT)]);
    home.picloud(&["deploy", &app]).await;
    assert_eq!(service.post("held.localhost", "/count").await, (StatusCode::OK, "1".to_owned()));

    // As a node's committer does, and then its backend is stopped between the lock and the commit.
    let mut other = database.connect().await;
    let backend: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut other).await.unwrap();
    let backend = Pid::from_raw(backend).unwrap();
    sqlx::query("begin").execute(&mut other).await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(7305804402)").execute(&mut other).await.unwrap();
    kill_process(backend, Signal::STOP).unwrap();
    let (status, body) = service.post("held.localhost", "/count").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    let (ready, _) = service.get("localhost", "/readyz").await;
    assert_eq!(ready, StatusCode::SERVICE_UNAVAILABLE, "it says that it cannot serve");

    kill_process(backend, Signal::CONT).unwrap();
    sqlx::query("rollback").execute(&mut other).await.unwrap();
    eventually("the log can be written again", || async {
        (service.get("localhost", "/readyz").await.0 == StatusCode::OK).then_some(())
    })
    .await;
    assert_eq!(
        service.post("held.localhost", "/count").await,
        (StatusCode::OK, "2".to_owned()),
        "what was refused is not there"
    );
    history::assert_gapless(&history::of(&service).await);
    service.stop().await;
    drop(database);
}

fn count(service: &Service, key: usize) -> reqwest::RequestBuilder {
    service.call(Method::POST, "once.localhost", "/count").header("idempotency-key", format!("call-{key}"))
}
