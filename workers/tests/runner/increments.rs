//! Increments commute: nobody reads, so nobody is overtaken.

use futures::future::join_all;
use picloud_core::{event::FailureReason, id::AppId, run::Invoker as _};
use sqlx::PgPool;

use crate::support::{Cluster, call, call_of, failed, failure_in, json, kinds, lock_log, node, program, runs_of, soon};

#[sqlx::test(migrations = "../migrations")]
async fn many_callers_on_two_nodes_add_up_without_a_conflict(database: PgPool) {
    let cluster = Cluster::new(&database);
    let nodes = [cluster.node().await, cluster.node().await];
    let app = AppId::generate();
    let program = program(app, r#"c.increment("n", 1); "done""#);
    let calls: Vec<_> = (0..100).map(|_| call_of(&program)).collect();
    let invocations: Vec<_> = calls.iter().map(|call| call.invocation).collect();
    let callers = calls.into_iter().enumerate().map(|(n, call)| nodes[n % 2].runner.invoke(call));
    for end in soon(join_all(callers)).await {
        assert_eq!(json(end), "done");
    }
    assert_eq!(nodes[0].value(app, "n").await.as_deref(), Some("100"));
    for invocation in invocations {
        assert_eq!(runs_of(&nodes[0].left_by(invocation).await), 1);
    }
    let [one, other] = nodes;
    one.stop().await;
    other.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn an_increment_of_a_string_fails_alone_and_durably(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    node.run(app, r#"c.set("text", "ten"); c.set("full", 9223372036854775807)"#).await;
    let fine = program(app, r#"c.increment("n", 1); "done""#);
    // Held back until all are there, so that they share a batch.
    let held = lock_log(&node.pool).await;
    let first = node.runner.invoke(call_of(&fine));
    let bad: Vec<_> =
        ["text", "full"].map(|key| call(app, &format!(r#"c.set("mine", 1); c.increment("{key}", 1)"#))).into();
    let invocations: Vec<_> = bad.iter().map(|call| call.invocation).collect();
    let bad: Vec<_> = bad.into_iter().map(|call| node.runner.invoke(call)).collect();
    let others: Vec<_> = (0..10).map(|_| node.runner.invoke(call_of(&fine))).collect();
    held.rollback().await.unwrap();

    assert_eq!(json(soon(first).await), "done");
    for end in soon(join_all(others)).await {
        assert_eq!(json(end), "done");
    }
    for (end, invocation) in soon(join_all(bad)).await.into_iter().zip(invocations) {
        let failure = failed(end);
        assert_eq!(failure.reason, FailureReason::KvNotANumber, "{failure:?}");
        let events = node.left_by(invocation).await;
        assert_eq!(kinds(&events), ["invocation.started", "invocation.failed"]);
        assert_eq!(failure_in(&events).reason, FailureReason::KvNotANumber);
    }
    assert_eq!(node.value(app, "n").await.as_deref(), Some("11"));
    assert_eq!(node.value(app, "mine").await, None);
    assert_eq!(node.value(app, "text").await.as_deref(), Some("\"ten\""));
    node.stop().await;
}
