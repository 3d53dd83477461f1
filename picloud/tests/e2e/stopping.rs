//! SIGTERM: what has begun may end.

use std::{sync::Arc, time::Duration};

use reqwest::{Method, StatusCode};
use rustix::process::Signal;

use crate::{
    app,
    eventually::eventually,
    history,
    home::Home,
    service::{Start, answer},
};

/// Long enough to be stopped in; it cannot wait, so it counts.
const SLOW: &str = "let n = 0; while n < 700_000 { n += 1; } n";

#[tokio::test]
async fn a_run_that_has_begun_is_answered_before_the_service_ends() {
    let home = Arc::new(Home::new());
    let mut service = Start::new(&home).ready().await;
    let app = app::write(&home, "slow", &[("slow", "GET /", SLOW), ("count", "POST /count", app::COUNT)]);
    home.picloud(&["deploy", &app]).await;

    let slow = tokio::spawn(answer(service.call(Method::GET, "slow.localhost", "/")));
    // Its beginning is in the log soon, long before its end.
    eventually("the run has begun", || async {
        let events = service.admin("/apps/slow/events?kind=invocation.started").await;
        (!events["items"].as_array().unwrap().is_empty()).then_some(())
    })
    .await;
    service.signal(Signal::TERM);
    service.until_it_says("Stopping").await;
    assert!(!slow.is_finished(), "it is still running");
    let answered = tokio::time::timeout(Duration::from_secs(30), slow).await.expect("in time").unwrap();
    assert_eq!(answered, (StatusCode::OK, "700000".to_owned()));
    let (status, said) = service.ended().await;
    assert!(status.success(), "{said}");
    assert_eq!(home.postmaster(), None, "PostgreSQL has stopped too");

    let service = Start::new(&home).ready().await;
    let events = history::of(&service).await;
    history::assert_gapless(&events);
    assert_eq!(history::subjects(&events, "invocation.completed").len(), 1);
    assert_eq!(history::subjects(&events, "invocation.failed").len(), 0);
    service.stop().await;
}
