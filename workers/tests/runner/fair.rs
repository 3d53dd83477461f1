//! A run never outlives its limits, and an app never takes another's share.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use picloud_core::{
    event::{Event, FailureReason},
    id::AppId,
    limits::Limits,
    run::{Invoker as _, Program},
};
use picloud_workers::pool::Settings;
use sqlx::PgPool;

use crate::support::{Cluster, call, call_of, failed, failure_in, program_within, soon};

fn endless(app: AppId, timeout_ms: u64) -> Arc<Program> {
    let limits = Limits { timeout_ms, max_operations: u64::MAX, ..Limits::DEFAULT };
    program_within(app, "loop {}", limits)
}

#[sqlx::test(migrations = "../migrations")]
async fn a_short_call_is_answered_while_another_apps_endless_ones_go_on(database: PgPool) {
    let node = Cluster::new(&database).node_with(Settings { permits: 1, ..Settings::default() }).await;
    let (flooding, quiet) = (AppId::generate(), AppId::generate());
    let endless = endless(flooding, 2_000);
    let flood: Vec<_> = (0..4).map(|_| tokio::spawn(node.runner.invoke(call_of(&endless)))).collect();
    // One computes, on the only permit, and has done so for long enough to be told of.
    node.tells(|event| matches!(event.event, Event::InvocationStarted(_))).await;
    let answer = node.invoke(call(quiet, r#"c.set("n", 1); c.get("n")"#)).await;
    answer.unwrap().result.unwrap();
    assert!(flood.iter().all(|run| !run.is_finished()), "it had to wait for one of them to end");
    for run in flood {
        assert_eq!(failed(soon(run).await.unwrap()).reason, FailureReason::TimedOut);
    }
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn runs_that_share_a_permit_end_when_their_time_is_up_and_not_when_it_is_their_turn(database: PgPool) {
    // So coarse that a round of turns lasts longer than the limit.
    let slice = Duration::from_millis(150);
    let node = Cluster::new(&database).node_with(Settings { permits: 1, slice, ..Settings::default() }).await;
    // Apps take turns: all of them begin before the first is done.
    let calls: Vec<_> = (0..12).map(|_| call_of(&endless(AppId::generate(), 1_000))).collect();
    let invocations: Vec<_> = calls.iter().map(|call| call.invocation).collect();
    for end in soon(join_all(calls.into_iter().map(|call| node.runner.invoke(call)))).await {
        assert_eq!(failed(end).reason, FailureReason::TimedOut);
    }
    for invocation in invocations {
        let events = node.left_by(invocation).await;
        let lasted = Duration::from_micros(failure_in(&events).duration_us);
        // 100 ms, and as much again for a busy machine.
        assert!(lasted < Duration::from_millis(1_200), "{lasted:?}");
    }
    node.stop().await;
}
