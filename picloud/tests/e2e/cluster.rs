//! Two services on one database.

use std::{collections::BTreeSet, sync::Arc};

use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::{
    app,
    eventually::eventually,
    history,
    home::Home,
    service::{Service, Start, answer},
    shared_database::SharedDatabase,
};

pub struct Pair {
    // Services first: fields are dropped in this order.
    pub one: Service,
    pub two: Service,
    pub home: Arc<Home>,
    pub database: SharedDatabase,
}

/// Two nodes with a data directory each, that share the database and the master key.
pub async fn pair() -> Pair {
    pair_with(&[]).await
}

/// The same with further variables.
pub async fn pair_with(variables: &[(&'static str, &str)]) -> Pair {
    let (home, other) = (Arc::new(Home::new()), Arc::new(Home::new()));
    let database = SharedDatabase::new().await;
    let master_key = home.path().join("master.key").to_str().unwrap().to_owned();
    let start = |home: &Arc<Home>| {
        let start = Start::new(home).with("DATABASE_URL", database.url()).with("PICLOUD_MASTER_KEY_FILE", &master_key);
        variables.iter().fold(start, |start, (name, value)| start.with(name, *value))
    };
    let one = start(&home).ready().await;
    // It knows the second start from the first, and so does not make a key again.
    let two = start(&other).with("PICLOUD_KEY", one.key()).ready().await;
    assert!(!other.data().join("profile.toml").exists(), "the first start was the other's");
    Pair { one, two, home, database }
}

#[tokio::test]
async fn two_services_on_one_database_lose_no_update_and_serve_what_the_other_deployed() {
    let Pair { one, two, home, database } = pair().await;
    let app = app::write(&home, "shared", &[("count", "POST /count", app::COUNT), ("greet", "GET /greet", "`one`")]);
    home.picloud(&["deploy", &app]).await;
    eventually("the other serves the app", || async {
        (two.get("shared.localhost", "/greet").await == (StatusCode::OK, "\"one\"".to_owned())).then_some(())
    })
    .await;

    let mut calls = JoinSet::new();
    for number in 0..120 {
        let service = if number % 2 == 0 { &one } else { &two };
        calls.spawn(answer(service.call(Method::POST, "shared.localhost", "/count")));
    }
    let numbers: BTreeSet<i64> = calls
        .join_all()
        .await
        .into_iter()
        .map(|(status, body)| {
            assert_eq!(status, StatusCode::OK, "{body}");
            body.parse().unwrap()
        })
        .collect();
    assert_eq!(numbers, (1..=120).collect(), "each caller of both got a number of its own");

    home.write("shared/greet.rhai", "`two`");
    home.picloud(&["deploy", &app]).await;
    eventually("the other serves the new version", || async {
        (two.get("shared.localhost", "/greet").await.1 == "\"two\"").then_some(())
    })
    .await;
    history::assert_gapless(&history::of(&two).await);
    one.stop().await;
    two.stop().await;
    drop(database);
}

#[tokio::test]
async fn a_node_that_slept_past_its_epoch_writes_nothing_more_and_says_why_it_ends() {
    let Pair { one, mut two, home, database } = pair().await;
    let app = app::write(&home, "asleep", &[("keep", "POST /keep/:key", app::KEEP)]);
    home.picloud(&["deploy", &app]).await;
    eventually("the other serves the app", || async {
        (two.post("asleep.localhost", "/keep/before").await.0 == StatusCode::OK).then_some(())
    })
    .await;

    two.signal(Signal::STOP);
    // On its doorstep: the kernel takes connections for it, so it finds these calls when it wakes up.
    let mut calls = JoinSet::new();
    for number in 0..20 {
        let path = format!("/keep/after-{number}");
        calls.spawn(answer_or_cut(two.call(Method::POST, "asleep.localhost", &path)));
    }
    one.until_it_says("silent for too long").await;
    assert_eq!(one.post("asleep.localhost", "/keep/meanwhile").await.0, StatusCode::OK, "the other goes on");

    two.signal(Signal::CONT);
    let answers: Vec<_> = calls.join_all().await.into_iter().flatten().collect();
    assert!(!answers.is_empty(), "it answers what it has taken");
    for (status, body) in &answers {
        assert_eq!(*status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    }
    let (status, said) = two.ended().await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("lost its right to write"), "{said}");
    let kept = history::keys(&one, &app, "kept").await;
    assert_eq!(kept, ["before", "meanwhile"].map(str::to_owned).into());
    history::assert_gapless(&history::of(&one).await);
    one.stop().await;
    drop(database);
}

/// None when the connection was closed without an answer.
async fn answer_or_cut(request: reqwest::RequestBuilder) -> Option<(StatusCode, String)> {
    let answer = request.send().await.ok()?;
    Some((answer.status(), answer.text().await.ok()?))
}
