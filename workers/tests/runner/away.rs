//! The log cannot be written: callers are told, nothing is half there, and it goes on afterwards.

use std::time::{Duration, Instant};

use picloud_core::{
    event::{Event, FailureReason},
    id::AppId,
    run::{Invoker as _, Unavailable},
};
use sqlx::PgPool;

use crate::support::{call, failure_in, kinds, lock_log, lock_stored_data, node, soon, waiting_for_stored_data};

#[sqlx::test(migrations = "../migrations")]
async fn callers_hear_of_it_within_seconds_and_nothing_is_half_written(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    let held = lock_log(&node.pool).await;
    let asked = Instant::now();
    let ends = [
        node.runner.invoke(call(app, r#"c.set("a", 1); c.set("b", 1)"#)),
        node.runner.invoke(call(app, r#"c.get("a"); c.get("b"); 1"#)),
        node.runner.invoke(call(app, r#"throw "no""#)),
    ];
    for end in soon(futures::future::join_all(ends)).await {
        assert_eq!(end.expect_err("the log is away"), Unavailable::Log);
    }
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    held.rollback().await.unwrap();
    assert_eq!(node.log().await.len(), 0);
    assert_eq!((node.value(app, "a").await, node.value(app, "b").await), (None, None));

    let call = call(app, r#"c.set("a", 1); c.set("b", 1)"#);
    let invocation = call.invocation;
    node.invoke(call).await.unwrap().result.unwrap();
    assert_eq!(
        kinds(&node.left_by(invocation).await),
        ["invocation.started", "kv.set", "kv.set", "invocation.completed"]
    );
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_run_whose_beginning_was_told_gets_its_end_when_the_log_is_back(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    let data = lock_stored_data(&node.pool).await;
    let call = call(app, r#"c.set("n", c.get_or("n", 0) + 1)"#);
    let invocation = call.invocation;
    let run = node.runner.invoke(call);
    node.has_begun(invocation).await;
    waiting_for_stored_data(&node.pool, 1).await;
    let log = lock_log(&node.pool).await;
    data.rollback().await.unwrap();
    assert_eq!(soon(run).await.expect_err("the log is away"), Unavailable::Log);
    assert_eq!(node.running().await, [invocation]);

    log.rollback().await.unwrap();
    node.tells(|event| event.root == Some(invocation) && matches!(event.event, Event::InvocationFailed(_))).await;
    let events = node.left_by(invocation).await;
    assert_eq!(kinds(&events), ["invocation.started", "invocation.failed"]);
    assert_eq!(failure_in(&events).reason, FailureReason::Abandoned);
    assert!(node.running().await.is_empty());
    assert_eq!(node.value(app, "n").await, None);
    node.stop().await;
}
