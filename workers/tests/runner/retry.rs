//! A run that waits to try again: others compute meanwhile, and it is answered in the end.

use picloud_core::{
    event::{Event, FailureReason},
    id::AppId,
    limits::Limits,
    run::{Invoker as _, RetryHint},
};
use picloud_workers::pool::Settings;
use serde_json::json;
use sqlx::PgPool;

use crate::support::{Cluster, call, call_of, failed, json as answered, kinds, node, program, program_within, soon};

#[sqlx::test(migrations = "../migrations")]
async fn a_run_that_waits_to_try_again_leaves_the_only_permit_to_others(database: PgPool) {
    let node = Cluster::new(&database).node_with(Settings { permits: 1, ..Settings::default() }).await;
    let limits = Limits { timeout_ms: 2_000, ..Limits::DEFAULT };
    let patient = program_within(AppId::generate(), "retry::run(#{}, || { throw retry::after(60) })", limits);
    let waiting = tokio::spawn(node.runner.invoke(call_of(&patient)));
    // It has lasted for long enough to be told of.
    node.tells(|event| matches!(event.event, Event::InvocationStarted(_))).await;
    let answer = node.invoke(call(AppId::generate(), r#"c.set("n", 1); c.get("n")"#)).await;
    answer.unwrap().result.unwrap();
    assert!(!waiting.is_finished(), "it had to wait for the other to end");
    let failure = failed(soon(waiting).await.unwrap());
    assert_eq!((failure.reason, failure.retry), (FailureReason::TimedOut, None));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_run_that_has_to_wait_is_not_run_where_it_is_asked_for_and_writes_once(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    let source = r#"
        let tries = 0;
        retry::run(#{base_ms: 1}, || {
            tries += 1;
            if tries < 3 { throw "not yet" }
        });
        c.increment("runs", 1);
        tries
    "#;
    let program = program(app, source);
    // Compiled by the first: the second is tried where it is asked for, and given up there.
    for _ in 0..2 {
        let call = call_of(&program);
        let invocation = call.invocation;
        assert_eq!(answered(node.invoke(call).await), json!(3));
        let left = node.left_by(invocation).await;
        assert_eq!(kinds(&left), ["invocation.started", "kv.increased", "invocation.completed"]);
    }
    assert_eq!(node.value(app, "runs").await.as_deref(), Some("2"));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_a_script_asks_for_reaches_whoever_wanted_the_run(database: PgPool) {
    let node = node(&database).await;
    let later = program(AppId::generate(), r#"c.set("n", 1); throw retry::after(30)"#);
    // On a thread of its own, and where it is asked for.
    for _ in 0..2 {
        let failure = node.fail(call_of(&later)).await;
        assert_eq!((failure.reason, failure.retry), (FailureReason::Threw, Some(RetryHint::After(30))));
        assert_eq!(failure.message, "asked to be tried again after 30 s");
    }
    node.stop().await;
}
