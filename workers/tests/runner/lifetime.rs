//! When a run is told of, and what ends it.

use std::time::{Duration, Instant};

use picloud_core::{
    event::{Event, FailureReason},
    id::AppId,
    log::node::{abandon_orphans, revoke},
    run::{Invoker as _, Unavailable},
};
use sqlx::PgPool;

use crate::support::{
    Cluster, GUARD, call, failure_in, json, kinds, lock_stored_data, node, soon, waiting_for_stored_data,
};

#[sqlx::test(migrations = "../migrations")]
async fn a_run_that_takes_long_is_in_the_log_before_it_ends(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    let held = lock_stored_data(&node.pool).await;
    let call = call(app, r#"c.set("n", c.get_or("n", 0) + 1); "done""#);
    let invocation = call.invocation;
    let run = node.runner.invoke(call);
    node.has_begun(invocation).await;
    assert_eq!(kinds(&node.left_by(invocation).await), ["invocation.started"]);
    assert_eq!(node.running().await, [invocation]);

    held.rollback().await.unwrap();
    assert_eq!(json(soon(run).await), "done");
    let events = node.left_by(invocation).await;
    assert_eq!(
        kinds(&events),
        ["invocation.started", "invocation.journaled", "kv.set", "invocation.completed"],
        "its beginning is told once"
    );
    assert!(node.running().await.is_empty());
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_run_goes_on_when_nobody_waits_for_it(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    let call = call(app, r#"c.set("n", 1)"#);
    let invocation = call.invocation;
    drop(node.runner.invoke(call));
    node.tells(|event| event.root == Some(invocation) && matches!(event.event, Event::InvocationCompleted(_))).await;
    assert_eq!(node.value(app, "n").await.as_deref(), Some("1"));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_a_vanished_node_ran_is_ended_by_another(database: PgPool) {
    let cluster = Cluster::new(&database);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let app = AppId::generate();
    let call = call(app, r#"c.get("n"); c.set("n", 1)"#);
    let invocation = call.invocation;
    let survivor = cluster.node().await;
    let held = lock_stored_data(&survivor.pool).await;
    let gone = runtime.spawn(async move {
        let node = cluster.node().await;
        drop(node.runner.invoke(call));
        node.has_begun(invocation).await;
        node
    });
    let gone = soon(gone).await.unwrap();
    let epoch = gone.node.epoch();
    waiting_for_stored_data(&survivor.pool, 1).await;
    // All its tasks stop where they are: it says no goodbye.
    runtime.shutdown_background();
    drop(gone);
    held.rollback().await.unwrap();

    assert_eq!(abandon_orphans(&survivor.pool, &survivor.committer, &survivor.node).await.unwrap(), 0, "it may live");
    assert_eq!(survivor.running().await, [invocation]);
    revoke(&survivor.pool, epoch).await.unwrap();
    assert_eq!(abandon_orphans(&survivor.pool, &survivor.committer, &survivor.node).await.unwrap(), 1);
    let events = survivor.left_by(invocation).await;
    assert_eq!(kinds(&events), ["invocation.started", "invocation.failed"]);
    assert_eq!(failure_in(&events).reason, FailureReason::Abandoned);
    assert!(survivor.running().await.is_empty());
    assert_eq!(survivor.value(app, "n").await, None);
    survivor.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_revoked_node_writes_nothing(database: PgPool) {
    let cluster = Cluster::new(&database);
    let (node, survivor) = (cluster.node().await, cluster.node().await);
    let app = AppId::generate();
    revoke(&survivor.pool, node.node.epoch()).await.unwrap();
    let end = node.invoke(call(app, r#"c.set("n", 1)"#)).await;
    assert_eq!(end.expect_err("revoked"), Unavailable::Log);
    assert_eq!(survivor.value(app, "n").await, None);
    assert!(survivor.log().await.is_empty());
    node.stop().await;
    survivor.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn draining_waits_for_the_durable_end_of_what_was_taken_and_takes_no_more(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    let held = lock_stored_data(&node.pool).await;
    let taken = node.runner.invoke(call(app, r#"c.set("n", c.get_or("n", 0) + 1); "done""#));
    waiting_for_stored_data(&node.pool, 1).await;

    let runner = node.runner.clone();
    let early = tokio::task::spawn_blocking(move || runner.drain(Instant::now() + Duration::from_millis(50)));
    let left = soon(early).await.unwrap().expect_err("one has not ended");
    assert_eq!((left.running, left.queued), (1, 0));
    assert_eq!(node.invoke(call(app, "1")).await.expect_err("closed"), Unavailable::ShuttingDown);

    let runner = node.runner.clone();
    let drained = tokio::task::spawn_blocking(move || runner.drain(Instant::now() + GUARD));
    held.rollback().await.unwrap();
    soon(drained).await.unwrap().expect("it ends");
    // Without waiting for anything else.
    assert_eq!(node.value(app, "n").await.as_deref(), Some("1"));
    assert_eq!(json(soon(taken).await), "done");
    node.stop().await;
}
