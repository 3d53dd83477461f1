//! When the log cannot be written, or not as fast as is asked: callers are told, and nothing grows.

use std::time::{Duration, Instant};

use futures::future::join_all;
use picloud_core::{
    id::AppId,
    log::{CommitError, CommitterConfig},
};
use sqlx::PgPool;

use crate::support::{TestNode, hold_log, set, somebody_waits_for_the_log, soon, value};

#[sqlx::test(migrations = "../migrations")]
async fn one_commit_more_than_may_wait_is_told_so_at_once(database: PgPool) {
    let node = TestNode::with(&database, CommitterConfig { queue_commits: 8, ..CommitterConfig::default() }).await;
    let app = AppId::generate();
    node.commit(vec![set(app, "a", "0")]).await.unwrap();
    let held = hold_log(&database).await;
    let first = node.committer.commit(node.committing(vec![set(app, "first", "1")]));
    let (first, (answers, refused_within)) = soon(async {
        tokio::join!(first, async {
            somebody_waits_for_the_log(&database).await;
            let many = (0..100).map(|n| node.committer.commit(node.committing(vec![set(app, &format!("k{n}"), "1")])));
            let begun = Instant::now();
            let mut waiting: Vec<_> = many.map(Box::pin).collect();
            // Polled once: whoever has no room knows already.
            let busy =
                waiting.iter_mut().filter_map(|commit| futures::FutureExt::now_or_never(commit.as_mut())).count();
            let refused_within = begun.elapsed();
            assert_eq!(busy, 100 - 8);
            held.release().await;
            waiting.truncate(8);
            (join_all(waiting).await, refused_within)
        })
    })
    .await;
    assert!(first.is_ok() && answers.iter().all(Result::is_ok), "{first:?} {answers:?}");
    assert!(refused_within < Duration::from_millis(500), "{refused_within:?}");
    for n in 0..100 {
        assert_eq!(value(&database, app, &format!("k{n}")).await.is_some(), n < 8, "{n}");
    }
    // And it goes on.
    node.commit(vec![set(app, "a", "2")]).await.unwrap();
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn the_queue_is_bounded_by_memory_too(database: PgPool) {
    let node = TestNode::with(&database, CommitterConfig { queue_bytes: 64 << 10, ..CommitterConfig::default() }).await;
    let app = AppId::generate();
    let held = hold_log(&database).await;
    let large = format!("\"{}\"", "x".repeat(20 << 10));
    let mut waiting: Vec<_> = (0..4)
        .map(|n| Box::pin(node.committer.commit(node.committing(vec![set(app, &format!("k{n}"), &large)]))))
        .collect();
    let answered: Vec<_> = waiting.iter_mut().map(|commit| futures::FutureExt::now_or_never(commit.as_mut())).collect();
    assert_eq!(answered, [None, None, None, Some(Err(CommitError::Busy))]);
    held.release().await;
    waiting.truncate(3);
    assert!(soon(join_all(waiting)).await.iter().all(Result::is_ok));
    // What was answered gave its memory back.
    for n in 0..10 {
        node.commit(vec![set(app, &format!("later{n}"), &large)]).await.unwrap();
    }
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_log_that_another_holds_is_unavailable_within_seconds_and_recovers(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    node.commit(vec![set(app, "a", "0")]).await.unwrap();
    let held = hold_log(&database).await;
    let begun = Instant::now();
    assert_eq!(node.commit(vec![set(app, "a", "1")]).await, Err(CommitError::Unavailable));
    let waited = begun.elapsed();
    assert!((Duration::from_millis(1_500)..Duration::from_secs(4)).contains(&waited), "{waited:?}");
    assert!(node.committer.is_stuck());
    held.release().await;
    assert_eq!(value(&database, app, "a").await.as_deref(), Some("0"), "what was not acknowledged was not made");

    // Nobody commits, for the node says it is stuck: it finds out by itself that it is not.
    soon(async {
        while node.committer.is_stuck() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    node.commit(vec![set(app, "a", "2")]).await.unwrap();
    assert_eq!(value(&database, app, "a").await.as_deref(), Some("2"));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_busy_app_does_not_make_the_others_wait_for_its_queue(database: PgPool) {
    let config = CommitterConfig { batch_events: 10, ..CommitterConfig::default() };
    let node = TestNode::with(&database, config).await;
    let (busy, quiet) = (AppId::generate(), AppId::generate());
    let held = hold_log(&database).await;
    let mut flood: Vec<_> = (0..200)
        .map(|n| Box::pin(node.committer.commit(node.committing(vec![set(busy, &format!("k{n}"), "1")]))))
        .collect();
    for commit in &mut flood {
        assert_eq!(futures::FutureExt::now_or_never(commit.as_mut()), None);
    }
    let late = node.committer.commit(node.committing(vec![set(quiet, "a", "1")]));
    let (flood, late, ()) = soon(async { tokio::join!(join_all(flood), late, held.release()) }).await;
    let before = flood.iter().filter(|made| made.as_ref().unwrap().first < late.as_ref().unwrap().first).count();
    // The batch under way and its turn in the next.
    assert!(before <= 20, "{before} of 200 went first");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_waits_when_the_node_closes_is_still_made(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let held = hold_log(&database).await;
    let mut waiting: Vec<_> = (0..20)
        .map(|n| Box::pin(node.committer.commit(node.committing(vec![set(app, &format!("k{n}"), "1")]))))
        .collect();
    for commit in &mut waiting {
        assert_eq!(futures::FutureExt::now_or_never(commit.as_mut()), None);
    }
    node.committer.close();
    assert_eq!(node.commit(vec![set(app, "late", "1")]).await, Err(CommitError::Unavailable));
    let (answers, ()) = soon(async { tokio::join!(join_all(waiting), held.release()) }).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(value(&database, app, "late").await, None);
    node.stop().await;
}
