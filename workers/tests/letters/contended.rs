//! Others decide meanwhile; nodes go away.

use std::collections::BTreeSet;

use picloud_core::{
    event::{
        Actor, Event,
        dead_letter::{Closing, Resolved},
        job::Action,
    },
    log::{Commit, NewEvent, Position, Read, node::revoke},
};
use sqlx::PgPool;

use crate::support::{Cluster, replayed, soon};

#[sqlx::test(migrations = "../migrations")]
async fn a_letter_belongs_to_who_decides_first_and_nobody_decides_twice(database: PgPool) {
    let mut node = Cluster::new(&database).node().await;
    node.works();
    let app = node.app("shop").await;
    let letters = node.letters(app, 300).await;
    let (job, _, _) = node.start(app, Action::ReplayLetters, &letters, 2_000).await;
    // From the other end, one by one, each as it was seen.
    let mut by_hand = BTreeSet::new();
    for letter in letters.iter().rev() {
        let seen = sqlx::query!("select resolution, position from state.dead_letter where id = $1", letter.uuid());
        let seen = seen.fetch_one(&node.pool).await.unwrap();
        if seen.resolution.is_some() {
            break;
        }
        let resolved = Resolved { dead_letter: *letter, resolution: Closing::Ignored, reason: None, job: None };
        let event = NewEvent::new(Some(app), &Actor::SYSTEM, resolved);
        let reads = vec![Read::DeadLetter { dead_letter: *letter, version: Position(seen.position) }];
        let commit = Commit { reads, ..Commit::new(node.node.authority(), vec![event]) };
        if soon(node.committer.commit(commit)).await.is_ok() {
            by_hand.insert(*letter);
        }
    }
    let (ended, events) = node.until_ended(job).await;
    let by_job: BTreeSet<_> = replayed(&events).into_iter().collect();
    assert_eq!(replayed(&events).len(), by_job.len(), "none twice");
    assert!(by_job.is_disjoint(&by_hand) && !by_hand.is_empty());
    assert_eq!(by_job.len() + by_hand.len(), 300);
    assert_eq!((ended.counts.done as usize, ended.counts.skipped as usize), (by_job.len(), by_hand.len()));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_letter_that_is_closed_between_the_look_and_the_commit_is_left_alone(database: PgPool) {
    let mut node = Cluster::new(&database).node().await;
    node.works();
    let app = node.app("shop").await;
    let letters = node.letters(app, 3).await;
    let (job, _, _) = node.start(app, Action::ReplayLetters, &letters, 2).await;
    node.until(|event| matches!(event, Event::DeadLetterReplayed(_))).await;

    // As another node's committer does: the job's next commit has to wait, what it looked at is an older letter then.
    let mut other = node.pool.begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(7305804402)").execute(&mut *other).await.unwrap();
    soon(async {
        let waits = "select exists (select from pg_locks where locktype = 'advisory' and not granted
            and database = (select oid from pg_database where datname = current_database()))";
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&node.pool).await.unwrap() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    sqlx::query!(
        "update state.dead_letter set resolution = 'ignored', resolved_at = now(), position = position + 1 where id = $1",
        letters[1].uuid()
    )
    .execute(&mut *other)
    .await
    .unwrap();
    // The counters with it.
    sqlx::query!(
        "update state.dead_letter_count set resolution = 'ignored'
        where script_id = (select script_id from state.dead_letter where id = $1)",
        letters[1].uuid()
    )
    .execute(&mut *other)
    .await
    .unwrap();
    other.commit().await.unwrap();

    let (ended, events) = node.until_ended(job).await;
    assert_eq!((ended.counts.done, ended.counts.skipped), (2, 1));
    assert_eq!(replayed(&events), [letters[0], letters[2]]);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_a_dead_node_began_another_brings_to_its_end_and_nothing_is_done_twice(database: PgPool) {
    let cluster = Cluster::new(&database);
    let (mut one, mut two) = (cluster.node().await, cluster.node().await);
    let app = one.app("shop").await;
    let letters = one.letters(app, 200).await;
    one.works();
    let (job, _, _) = one.start(app, Action::ReplayLetters, &letters, 100).await;
    one.until(|event| matches!(event, Event::DeadLetterReplayed(replayed) if replayed.dead_letter == letters[30]))
        .await;
    two.works();
    revoke(&one.pool, one.node.epoch()).await.unwrap();
    let (ended, _) = two.until_ended(job).await;
    assert_eq!((ended.counts.done, ended.counts.skipped, ended.counts.failed), (200, 0, 0));
    let events = two.log().await;
    assert_eq!(replayed(&events), letters, "each once, in order");
    let ends = events.iter().filter(|event| event.event.event.kind() == "job.ended").count();
    assert_eq!(ends, 1);
    one.stop().await;
    two.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_node_that_stops_leaves_its_jobs_to_the_next(database: PgPool) {
    let cluster = Cluster::new(&database);
    let mut one = cluster.node().await;
    one.works();
    let app = one.app("shop").await;
    let letters = one.letters(app, 100).await;
    let (job, _, _) = one.start(app, Action::ReplayLetters, &letters, 50).await;
    one.until(|event| matches!(event, Event::DeadLetterReplayed(_))).await;
    let node = one.node;
    one.stop().await;
    node.retire(&database).await.unwrap();
    let mut two = cluster.node().await;
    assert!(two.job(job).await.ended.is_none(), "it was stopped in the midst of it");
    two.works();
    let (ended, _) = two.until_ended(job).await;
    assert_eq!(ended.counts.done, 100);
    assert_eq!(replayed(&two.log().await), letters);
    two.stop().await;
}
