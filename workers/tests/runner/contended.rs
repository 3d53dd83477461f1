//! Many runs that want the same key: all get through, none is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use picloud_core::{
    event::{FailureReason, kv},
    id::AppId,
    limits::Limits,
    run::Invoker as _,
};
use serde_json::value::RawValue;
use sqlx::PgPool;

use crate::support::{Cluster, TestNode, call_of, failure_in, json, node, program, program_within, runs_of, soon};

const COUNT: &str = r#"c.set("n", c.get_or("n", 0) + 1); c.get("n")"#;

/// So many calls at once, one after another on each of the nodes; what they answered, sorted.
async fn count(app: AppId, nodes: &[&TestNode], calls: usize) -> Vec<i64> {
    let program = program(app, COUNT);
    let callers = (0..calls).map(|n| nodes[n % nodes.len()].runner.invoke(call_of(&program)));
    let mut seen: Vec<i64> = soon(join_all(callers)).await.into_iter().map(|end| json(end).as_i64().unwrap()).collect();
    seen.sort_unstable();
    seen
}

#[sqlx::test(migrations = "../migrations")]
async fn a_hundred_callers_of_one_counter_all_succeed_and_none_is_lost(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    assert_eq!(count(app, &[&node], 100).await, (1..=100).collect::<Vec<_>>());
    assert_eq!(node.value(app, "n").await.as_deref(), Some("100"));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn on_two_nodes_as_well(database: PgPool) {
    let cluster = Cluster::new(&database);
    let (one, other) = (cluster.node().await, cluster.node().await);
    let app = AppId::generate();
    assert_eq!(count(app, &[&one, &other], 100).await, (1..=100).collect::<Vec<_>>());
    assert_eq!(one.value(app, "n").await.as_deref(), Some("100"));
    one.stop().await;
    other.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn contenders_go_through_one_after_another_and_few_are_tried_often(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    // Long enough that without turns most would be overtaken again and again.
    let program =
        program(app, r#"let n = c.get_or("n", 0); let x = 0; for i in 0..2000 { x += i; } c.set("n", n + 1)"#);
    let calls: Vec<_> = (0..50).map(|_| call_of(&program)).collect();
    let invocations: Vec<_> = calls.iter().map(|call| call.invocation).collect();
    for end in soon(join_all(calls.into_iter().map(|call| node.runner.invoke(call)))).await {
        end.unwrap().result.unwrap();
    }
    let mut tries = 0;
    for invocation in invocations {
        tries += runs_of(&node.left_by(invocation).await);
    }
    // One in vain, one that counts, and a few for who is overtaken by a first try.
    assert!(tries <= 4 * 50, "{tries} tries for 50 runs");
    assert_eq!(node.value(app, "n").await.as_deref(), Some("50"));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_run_that_is_always_overtaken_ends_as_a_conflict_when_its_time_is_up(database: PgPool) {
    let cluster = Cluster::new(&database);
    let (node, rival) = (cluster.node().await, cluster.node().await);
    let app = AppId::generate();
    let done = Arc::new(AtomicBool::new(false));
    let write = async || {
        let value = RawValue::from_string("7".to_owned()).unwrap();
        let set = kv::Set { collection: "c".into(), key: "n".into(), value, expires_at: None };
        rival.append(app, vec![set.into()]).await;
    };
    // Its connection is there before the run begins.
    write().await;
    let rivalry = async {
        while !done.load(Ordering::Relaxed) {
            write().await;
        }
    };
    let limits = Limits { timeout_ms: 2_000, max_operations: 10_000_000, ..Limits::DEFAULT };
    // It computes for as long as a few writes take.
    let source =
        r#"let n = c.get_or("n", 0); let x = 0; for i in 0..100000 { x += i; } c.set("n", n + 1); c.set("mine", 1)"#;
    let call = call_of(&program_within(app, source, limits));
    let invocation = call.invocation;
    let run = async {
        let failure = node.fail(call).await;
        done.store(true, Ordering::Relaxed);
        failure
    };
    let (failure, ()) = futures::future::join(run, rivalry).await;
    assert_eq!(failure.reason, FailureReason::Conflict, "{failure:?}");
    assert!(failure.message.contains("others changed what it had read"), "{}", failure.message);

    let events = node.left_by(invocation).await;
    let told = failure_in(&events);
    assert_eq!((told.reason, &told.message), (FailureReason::Conflict, &failure.message));
    assert!(told.runs > 1, "{told:?}");
    assert!(told.duration_us >= 1_900_000, "it had its time: {told:?}");
    assert!(Duration::from_micros(told.duration_us) < Duration::from_secs(6), "and no more: {told:?}");
    assert_eq!(node.value(app, "mine").await, None);
    node.stop().await;
    rival.stop().await;
}
