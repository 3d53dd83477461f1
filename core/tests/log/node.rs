//! A node's right to write: taken away, its commits are refused, and only then are its runs abandoned.

use picloud_core::{
    event::{Event, FailureReason},
    id::{AppId, InvocationId},
    log::{CommitError, node},
};
use sqlx::PgPool;

use crate::support::{TestNode, completed, hold_log, running, set, somebody_waits_for_the_log, soon, started, value};

async fn silent(database: &PgPool, node: &TestNode, seconds: f64) {
    sqlx::query("update live.nodes set heartbeat_at = now() - make_interval(secs => $2) where epoch = $1")
        .bind(node.epoch().uuid())
        .bind(seconds)
        .execute(database)
        .await
        .unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn a_silent_node_loses_its_right_and_one_that_lives_does_not(database: PgPool) {
    let (living, dead) = (TestNode::start(&database).await, TestNode::start(&database).await);
    let app = AppId::generate();
    dead.commit(vec![set(app, "a", "1")]).await.unwrap();
    silent(&database, &living, node::DEAD_AFTER.as_secs_f64() - 1.0).await;
    silent(&database, &dead, node::DEAD_AFTER.as_secs_f64() + 1.0).await;
    assert_eq!(node::revoke_silent(&database).await.unwrap(), [dead.epoch()]);
    assert_eq!(node::revoke_silent(&database).await.unwrap(), [], "once");

    assert!(living.node.heartbeat(&database).await.unwrap());
    assert!(!dead.node.heartbeat(&database).await.unwrap(), "it is told, however lively it is");
    assert!(!dead.committer.is_revoked());
    for _ in 0..2 {
        assert_eq!(dead.commit(vec![set(app, "a", "2")]).await, Err(CommitError::Revoked));
    }
    assert!(dead.committer.is_revoked());
    living.commit(vec![set(app, "b", "1")]).await.unwrap();
    assert_eq!(value(&database, app, "a").await.as_deref(), Some("1"));

    silent(&database, &living, 16.0).await;
    assert!(living.node.heartbeat(&database).await.unwrap());
    assert_eq!(node::revoke_silent(&database).await.unwrap(), [], "it said that it lives");
    living.stop().await;
    dead.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_node_that_retires_writes_no_more(database: PgPool) {
    let node = TestNode::start(&database).await;
    node.node.retire(&database).await.unwrap();
    assert!(!node.node.heartbeat(&database).await.unwrap());
    assert_eq!(node.commit(vec![set(AppId::generate(), "a", "1")]).await, Err(CommitError::Revoked));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn the_runs_of_a_dead_node_are_abandoned_and_no_others(database: PgPool) {
    let (living, dead) = (TestNode::start(&database).await, TestNode::start(&database).await);
    let (app, other) = (AppId::generate(), AppId::generate());
    let [own, one, two, ended] = [(); 4].map(|()| InvocationId::generate());
    living.commit(vec![started(app, own, living.epoch())]).await.unwrap();
    dead.commit(vec![started(app, one, dead.epoch()), started(app, ended, dead.epoch())]).await.unwrap();
    dead.commit(vec![started(other, two, dead.epoch()), completed(app, ended)]).await.unwrap();
    assert_eq!(node::abandon_orphans(&database, &living.committer, &living.node).await.unwrap(), 0, "nobody is dead");

    node::revoke(&database, dead.epoch()).await.unwrap();
    assert_eq!(node::abandon_orphans(&database, &living.committer, &living.node).await.unwrap(), 2);
    assert_eq!(running(&database).await, [own]);
    let abandoned: Vec<_> = living
        .log()
        .await
        .into_iter()
        .filter_map(|recorded| match &recorded.event.event {
            Event::InvocationFailed(failed) => {
                assert_eq!(failed.reason, FailureReason::Abandoned);
                Some((recorded.event.app, failed.invocation))
            }
            _ => None,
        })
        .collect();
    assert_eq!(abandoned, [(Some(app), one), (Some(other), two)]);
    assert_eq!(node::abandon_orphans(&database, &living.committer, &living.node).await.unwrap(), 0, "once");
    living.stop().await;
    dead.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_run_that_ends_while_its_node_is_declared_dead_is_not_abandoned_too(database: PgPool) {
    let (living, dead) = (TestNode::start(&database).await, TestNode::start(&database).await);
    let (app, run) = (AppId::generate(), InvocationId::generate());
    dead.commit(vec![started(app, run, dead.epoch())]).await.unwrap();
    // The dead node's last batch has been let in and is about to commit when its epoch is revoked.
    let mut batch = hold_log(&database).await;
    sqlx::query("delete from state.running where invocation = $1")
        .bind(run.uuid())
        .execute(batch.connection())
        .await
        .unwrap();
    node::revoke(&database, dead.epoch()).await.unwrap();
    let ending = async {
        somebody_waits_for_the_log(&database).await;
        batch.commit().await;
    };
    let (abandoned, ()) =
        soon(async { tokio::join!(node::abandon_orphans(&database, &living.committer, &living.node), ending) }).await;
    assert_eq!(abandoned.unwrap(), 0);
    assert_eq!(living.log().await.len(), 1, "its beginning, and no second end");
    living.stop().await;
    dead.stop().await;
}
