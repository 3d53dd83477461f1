//! A run's effects are all there or not at all.

use picloud_core::{event::FailureReason, id::AppId, limits::Limits};
use sqlx::PgPool;

use crate::support::{call, call_of, failure_in, kinds, node, program_within};

#[sqlx::test(migrations = "../migrations")]
async fn all_effects_come_with_the_completion(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    node.run(app, r#"c.set("gone", 1)"#).await;
    let call = call(app, r#"c.set("a", [1, 2]); c.delete("gone"); c.increment("n", 3); c.increment("n", 4); "done""#);
    let invocation = call.invocation;
    node.invoke(call).await.unwrap().result.unwrap();

    let events = node.left_by(invocation).await;
    assert_eq!(
        kinds(&events),
        ["invocation.started", "invocation.journaled", "kv.set", "kv.deleted", "kv.increased", "invocation.completed"]
    );
    let first = events[0].position.0;
    assert!(events.iter().enumerate().all(|(n, event)| event.position.0 == first + n as i64), "nothing in between");
    let began = events[0].event.id;
    assert!(events[1..].iter().all(|event| event.event.cause == Some(began)), "all follow from its beginning");
    assert_eq!(node.value(app, "a").await.as_deref(), Some("[1,2]"));
    assert_eq!(node.value(app, "n").await.as_deref(), Some("7"));
    assert_eq!(node.value(app, "gone").await, None);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_run_that_fails_after_its_writes_wrote_nothing(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    let short = Limits { timeout_ms: 100, max_operations: 10_000_000, ..Limits::DEFAULT };
    let small = Limits { max_memory_bytes: 1024 * 1024, ..Limits::DEFAULT };
    let few = Limits { max_operations: 10_000, ..Limits::DEFAULT };
    let narrow = Limits { max_writes: 3, ..Limits::DEFAULT };
    let hog = r#"let all = []; for i in 0..9000 { let s = "x"; s.pad(1000, "x"); all.push(s); }"#;
    for (end, limits, reason, limit) in [
        ("throw \"no\"", Limits::DEFAULT, FailureReason::Threw, None),
        ("#{statusCode: \"many\"}", Limits::DEFAULT, FailureReason::BadResponse, None),
        ("loop {}", short, FailureReason::TimedOut, Some("timeout_ms")),
        (hog, small, FailureReason::OverMemory, Some("max_memory_bytes")),
        ("loop {}", few, FailureReason::OverOperations, Some("max_operations")),
        ("c.set(\"3\", 1); c.set(\"4\", 1);", narrow, FailureReason::OverLimit, Some("max_writes")),
    ] {
        let source = format!("c.set(\"a\", 1); c.increment(\"n\", 1);\n{end}");
        let call = call_of(&program_within(app, &source, limits));
        let invocation = call.invocation;
        let failure = node.fail(call).await;
        assert_eq!((failure.reason, failure.limit), (reason, limit), "{end}: {failure:?}");

        let events = node.left_by(invocation).await;
        assert_eq!(kinds(&events), ["invocation.started", "invocation.failed"], "{end}");
        let told = failure_in(&events);
        assert_eq!((told.reason, &told.message, told.line), (reason, &failure.message, failure.line), "{end}");
        assert_eq!(told.limit.as_deref(), limit, "{end}");
        assert_eq!((node.value(app, "a").await, node.value(app, "n").await), (None, None), "{end}");
    }
    assert!(node.running().await.is_empty());
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_a_run_logged_stays_when_it_fails(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    let call = call(app, r#"log::warn("close"); c.set("a", 1); throw "no""#);
    let invocation = call.invocation;
    node.fail(call).await;
    let events = node.left_by(invocation).await;
    assert_eq!(kinds(&events), ["invocation.started", "invocation.logged", "invocation.failed"]);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_body_that_is_not_what_it_says_fails_before_the_script_begins(database: PgPool) {
    let node = node(&database).await;
    let mut call = call(AppId::generate(), r#"log::info("began")"#);
    let invocation = call.invocation;
    call.request.headers.push(("content-type".into(), "application/json".into()));
    call.request.body = "{".into();
    assert_eq!(node.fail(call).await.reason, FailureReason::BadInput);
    assert_eq!(kinds(&node.left_by(invocation).await), ["invocation.started", "invocation.failed"]);
    node.stop().await;
}
