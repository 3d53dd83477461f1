//! Items of the outbox: who may run them, in which order, and what becomes of them.

use std::collections::HashSet;

use chrono::{TimeDelta, Utc};
use picloud_core::{
    event::{
        FailureReason,
        outbox::{Attempt, Cancelled, Delivered, Enqueued, Payload, Rescheduled, Source},
    },
    id::{AppId, InvocationId, NodeEpoch, OutboxId, ScriptId},
    log::{
        Authority, Commit, CommitError, Committed, NewEvent, Position, Read, Rejected,
        node::revoke,
        outbox::{self, Turn, first_rank},
    },
    retry::RetryPolicy,
};
use serde_json::value::RawValue;
use sqlx::PgPool;
use uuid::Uuid;

use super::append::together;
use crate::support::{TestNode, event, set, soon, value};

const UNLEASED: Result<Committed, CommitError> = Err(CommitError::Rejected(Rejected::Unleased));

pub(super) fn script() -> ScriptId {
    ScriptId::from(Uuid::from_u128(1))
}

pub(super) fn turn(app: AppId, after: i64) -> Turn {
    Turn { app, gate: script().into(), after }
}

pub(super) fn owed(item: OutboxId) -> Enqueued {
    Enqueued {
        item,
        source: Source::Invoke,
        script: script(),
        version: None,
        lane: None,
        priority: 0,
        due_at: None,
        retry: RetryPolicy::default(),
        payload: Payload::Event(RawValue::from_string("{\"n\":1}".to_owned()).unwrap()),
        is_watched: false,
        replay_of: None,
        handles: None,
        carried: None,
    }
}

/// Makes items be owed, in order, each changed as wanted.
async fn owe(node: &TestNode, app: AppId, wanted: Vec<Enqueued>) {
    let events = wanted.into_iter().map(|enqueued| event(app, enqueued)).collect();
    node.commit(events).await.unwrap();
}

fn in_lane(item: OutboxId, lane: &str) -> Enqueued {
    Enqueued { lane: Some(lane.to_owned()), ..owed(item) }
}

pub(super) fn delivered(app: AppId, item: OutboxId) -> NewEvent {
    event(app, Delivered { item, attempt: 1, invocation: InvocationId::generate() })
}

pub(super) fn rescheduled(app: AppId, item: OutboxId, after: TimeDelta) -> NewEvent {
    let attempt = Attempt {
        number: 1,
        invocation: None,
        at: Utc::now(),
        reason: FailureReason::Threw,
        error: "boom".to_owned(),
        duration_us: 5,
    };
    event(app, Rescheduled { item, attempt, due_at: Utc::now() + after })
}

/// Claims what an app has.
async fn claim(node: &TestNode, app: AppId, each: usize) -> Vec<OutboxId> {
    let turn = turn(app, i64::MIN);
    let claimed = outbox::claim(&node.pool, node.epoch(), &[turn], each).await.unwrap();
    claimed.into_iter().map(|claimed| claimed.item.enqueued.item).collect()
}

/// Commits in the name of an item.
pub(super) async fn finish(node: &TestNode, item: OutboxId, events: Vec<NewEvent>) -> Result<Committed, CommitError> {
    soon(node.committer.commit(in_name_of(node, item, events))).await
}

fn in_name_of(node: &TestNode, item: OutboxId, events: Vec<NewEvent>) -> Commit {
    Commit::new(Authority { lease: Some(item), ..node.node.authority() }, events)
}

pub(super) fn ids<const N: usize>() -> [OutboxId; N] {
    std::array::from_fn(|_| OutboxId::generate())
}

#[sqlx::test(migrations = "../migrations")]
async fn an_item_is_claimed_once_with_all_that_its_run_needs(database: PgPool) {
    let (node, other) = (TestNode::start(&database).await, TestNode::start(&database).await);
    let app = AppId::generate();
    let [item] = ids();
    let root = InvocationId::generate();
    let new = event(app, owed(item)).following(None, root, 3);
    node.commit(vec![new.clone()]).await.unwrap();
    let turn = [turn(app, i64::MIN)];
    let claimed = outbox::claim(&node.pool, node.epoch(), &turn, 10).await.unwrap();
    let [claimed] = &claimed[..] else { panic!("{claimed:?}") };
    let claimed = &claimed.item;
    assert_eq!((claimed.app, claimed.event, claimed.root, claimed.depth), (app, new.id, Some(root), 3));
    assert_eq!((claimed.attempt(), &claimed.actor), (1, &new.actor));
    let Payload::Event(payload) = &claimed.enqueued.payload else { panic!("{claimed:?}") };
    assert_eq!(payload.get(), "{\"n\":1}");
    assert!(outbox::claim(&other.pool, other.epoch(), &turn, 10).await.unwrap().is_empty());
    finish(&node, item, vec![delivered(app, item)]).await.unwrap();
    assert!(outbox::orphans(&node.pool).await.unwrap().is_empty());
    let left =
        sqlx::query_scalar::<_, i64>("select (select count(*) from state.outbox) + (select count(*) from live.lease)");
    assert_eq!(left.fetch_one(&database).await.unwrap(), 0);
    other.stop().await;
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_a_lost_lease_did_is_refused_whole_and_others_are_not(database: PgPool) {
    let (node, other) = (TestNode::start(&database).await, TestNode::start(&database).await);
    let app = AppId::generate();
    let [lost, held, gone] = ids();
    owe(&node, app, [lost, held, gone].map(owed).into()).await;
    assert_eq!(claim(&node, app, 10).await, [lost, held, gone]);
    outbox::give_back(&node.pool, node.epoch(), &[lost]).await.unwrap();
    assert_eq!(claim(&other, app, 10).await, [lost]);
    node.commit(vec![event(app, Cancelled { item: gone })]).await.unwrap();
    // In one batch with a commit that is good.
    let of = |item: OutboxId, key: &str| in_name_of(&node, item, vec![set(app, key, "1"), delivered(app, item)]);
    let answers = together(&node, &database, vec![of(lost, "lost"), of(held, "held"), of(gone, "gone")]).await;
    assert_eq!(answers[0], UNLEASED);
    assert!(answers[1].is_ok(), "{answers:?}");
    assert_eq!(answers[2], UNLEASED);
    for (key, there) in [("lost", false), ("held", true), ("gone", false)] {
        assert_eq!(value(&database, app, key).await.is_some(), there, "{key}");
    }
    finish(&other, lost, vec![set(app, "lost", "2"), delivered(app, lost)]).await.unwrap();
    other.stop().await;
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_lease_that_is_being_taken_away_counts_as_lost_and_holds_nobody_up(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let [item] = ids();
    owe(&node, app, vec![owed(item)]).await;
    claim(&node, app, 1).await;
    let mut taking = database.begin().await.unwrap();
    sqlx::query("delete from live.lease where item = $1").bind(item.uuid()).execute(&mut *taking).await.unwrap();
    assert_eq!(finish(&node, item, vec![delivered(app, item)]).await, UNLEASED);
    taking.rollback().await.unwrap();
    finish(&node, item, vec![delivered(app, item)]).await.unwrap();
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_failed_item_waits_until_it_is_due_and_remembers_what_failed(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let [soon_due, later] = ids();
    owe(&node, app, vec![owed(soon_due), owed(later)]).await;
    claim(&node, app, 10).await;
    finish(&node, soon_due, vec![rescheduled(app, soon_due, TimeDelta::milliseconds(-1))]).await.unwrap();
    finish(&node, later, vec![rescheduled(app, later, TimeDelta::hours(1))]).await.unwrap();
    assert!(claim(&node, app, 10).await.is_empty(), "neither was looked at yet");
    let promoted = outbox::promote(&node.pool).await.unwrap();
    assert_eq!(promoted.gates, [(app, script().into(), 0)]);
    assert!(promoted.next_in_s.is_some_and(|seconds| (3_500.0..=3_600.0).contains(&seconds)), "{promoted:?}");
    let turn = turn(app, i64::MIN);
    let claimed = outbox::claim(&node.pool, node.epoch(), &[turn], 10).await.unwrap();
    let [claimed] = &claimed[..] else { panic!("{claimed:?}") };
    assert_eq!((claimed.item.enqueued.item, claimed.item.attempt()), (soon_due, 2));
    assert_eq!(claimed.item.failed[0].error, "boom");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_owed_for_later_waits_too(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let [later] = ids();
    owe(&node, app, vec![Enqueued { due_at: Some(Utc::now() + TimeDelta::hours(1)), ..owed(later) }]).await;
    assert!(claim(&node, app, 10).await.is_empty());
    assert!(outbox::promote(&node.pool).await.unwrap().gates.is_empty());
    sqlx::query("update live.delayed set due_at = now()").execute(&database).await.unwrap();
    outbox::promote(&node.pool).await.unwrap();
    assert_eq!(claim(&node, app, 10).await, [later]);
    assert_eq!(outbox::promote(&node.pool).await.unwrap().next_in_s, None);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn items_of_a_lane_run_one_at_a_time_in_order_and_a_failing_one_holds_it(database: PgPool) {
    let node = TestNode::start(&database).await;
    let (app, another) = (AppId::generate(), AppId::generate());
    let [first, second, third, beside, elsewhere] = ids();
    // Some in one batch, one in another.
    owe(&node, app, vec![in_lane(first, "a"), in_lane(second, "a"), in_lane(beside, "b")]).await;
    owe(&node, app, vec![in_lane(third, "a")]).await;
    owe(&node, another, vec![in_lane(elsewhere, "a")]).await;
    assert_eq!(claim(&node, app, 10).await, [first, beside]);
    assert_eq!(claim(&node, another, 10).await, [elsewhere], "another app's lane is another");
    finish(&node, first, vec![rescheduled(app, first, TimeDelta::milliseconds(-1))]).await.unwrap();
    assert!(claim(&node, app, 10).await.is_empty(), "the one that failed holds its lane");
    outbox::promote(&node.pool).await.unwrap();
    assert_eq!(claim(&node, app, 10).await, [first]);
    // One that waits behind it is taken back: nothing moves.
    node.commit(vec![event(app, Cancelled { item: second })]).await.unwrap();
    assert!(claim(&node, app, 10).await.is_empty());
    finish(&node, first, vec![delivered(app, first)]).await.unwrap();
    assert_eq!(claim(&node, app, 10).await, [third]);
    finish(&node, third, vec![delivered(app, third)]).await.unwrap();
    assert!(claim(&node, app, 10).await.is_empty());
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn the_head_of_a_lane_that_is_taken_back_lets_the_next_one_go(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let [first, second, third] = ids();
    owe(&node, app, [first, second, third].map(|item| in_lane(item, "a")).into()).await;
    // Two of them end in one commit, as a batch of many may have it.
    node.commit(vec![event(app, Cancelled { item: first }), event(app, Cancelled { item: second })]).await.unwrap();
    assert_eq!(claim(&node, app, 10).await, [third]);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_higher_priority_goes_first_and_apps_take_turns(database: PgPool) {
    let node = TestNode::start(&database).await;
    let (busy, quiet) = (AppId::generate(), AppId::generate());
    let [low, high, usual, higher, other] = ids();
    let with = |item, priority| Enqueued { priority, ..owed(item) };
    owe(&node, busy, vec![with(low, -1), with(usual, 0), with(high, 7), with(higher, 8)]).await;
    owe(&node, quiet, vec![owed(other)]).await;
    let turns = [turn(busy, i64::MIN), turn(quiet, i64::MIN)];
    let claimed = outbox::claim(&node.pool, node.epoch(), &turns, 2).await.unwrap();
    let mut got: Vec<_> = claimed.iter().map(|claimed| claimed.item.enqueued.item).collect();
    got.sort_unstable();
    let mut wanted = vec![higher, high, other];
    wanted.sort_unstable();
    assert_eq!(got, wanted);
    // From the usual priority on: nothing that ranks before.
    let turn = [turn(busy, first_rank(0))];
    let claimed = outbox::claim(&node.pool, node.epoch(), &turn, 1).await.unwrap();
    assert_eq!(claimed[0].item.enqueued.item, usual);
    assert_eq!(outbox::waiting(&node.pool).await.unwrap(), [(busy, script().into())]);
    assert_eq!(claim(&node, busy, 10).await, [low]);
    assert!(outbox::waiting(&node.pool).await.unwrap().is_empty());
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn the_items_of_a_dead_node_are_found_and_nobody_elses(database: PgPool) {
    let (node, dead) = (TestNode::start(&database).await, TestNode::start(&database).await);
    let app = AppId::generate();
    let [mine, theirs] = ids();
    owe(&node, app, vec![owed(mine), owed(theirs)]).await;
    assert_eq!(claim(&node, app, 1).await, [mine]);
    assert_eq!(claim(&dead, app, 1).await, [theirs]);
    assert!(outbox::orphans(&node.pool).await.unwrap().is_empty());
    revoke(&node.pool, dead.epoch()).await.unwrap();
    let orphans = outbox::orphans(&node.pool).await.unwrap();
    assert_eq!(orphans.iter().map(|item| item.enqueued.item).collect::<Vec<_>>(), [theirs]);
    let refused = finish(&dead, theirs, vec![delivered(app, theirs)]).await;
    assert_eq!(refused, Err(CommitError::Revoked));
    node.commit(vec![rescheduled(app, theirs, TimeDelta::zero())]).await.unwrap();
    assert!(outbox::orphans(&node.pool).await.unwrap().is_empty());
    dead.stop().await;
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_cancelled_while_it_is_claimed_is_not_run(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let [item] = ids();
    owe(&node, app, vec![owed(item)]).await;
    // A claim that is not yet committed.
    let mut claim = database.begin().await.unwrap();
    sqlx::query("delete from live.ready where item = $1").bind(item.uuid()).execute(&mut *claim).await.unwrap();
    sqlx::query("insert into live.lease (item, epoch) values ($1, $2)")
        .bind(item.uuid())
        .bind(node.epoch().uuid())
        .execute(&mut *claim)
        .await
        .unwrap();
    let waits = async {
        let waiting = "select exists (
            select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
        )";
        while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&database).await.unwrap() {
            tokio::task::yield_now().await;
        }
        claim.commit().await.unwrap();
    };
    let (cancelled, ()) = tokio::join!(node.commit(vec![event(app, Cancelled { item })]), soon(waits));
    cancelled.unwrap();
    assert_eq!(finish(&node, item, vec![delivered(app, item)]).await, UNLEASED);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_somebody_may_ask_for_stays_for_a_day_with_how_it_ended(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let [watched, other] = ids();
    owe(&node, app, vec![Enqueued { is_watched: true, ..owed(watched) }, owed(other)]).await;
    claim(&node, app, 10).await;
    for item in [watched, other] {
        finish(&node, item, vec![delivered(app, item)]).await.unwrap();
    }
    let kept = async || {
        sqlx::query_as::<_, (Uuid, String)>("select id, outcome from state.outbox_ended")
            .fetch_all(&database)
            .await
            .unwrap()
    };
    assert_eq!(kept().await, [(watched.uuid(), "delivered".to_owned())]);
    outbox::sweep(&node.pool).await.unwrap();
    assert_eq!(kept().await.len(), 1);
    sqlx::query("update state.outbox_ended set ended_at = now() - interval '25 hours'")
        .execute(&database)
        .await
        .unwrap();
    outbox::sweep(&node.pool).await.unwrap();
    assert!(kept().await.is_empty());
    node.stop().await;
}

/// The items as the tables have them: which, how often they failed, and how they ended.
async fn items(database: &PgPool) -> Vec<(Uuid, i32, Option<String>, Position)> {
    sqlx::query_as::<_, (Uuid, i32, Option<String>, i64)>(
        "select id, jsonb_array_length(failed), null::text, position from state.outbox
        union all select id, jsonb_array_length(failed), outcome, position from state.outbox_ended
        order by position",
    )
    .fetch_all(database)
    .await
    .unwrap()
    .into_iter()
    .map(|(id, failed, outcome, position)| (id, failed, outcome, Position(position)))
    .collect()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_story_comes_to_the_same_in_one_commit_and_in_many(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let story = |[waits, fails, done, watched, taken]: [OutboxId; 5]| {
        vec![
            event(app, owed(waits)),
            event(app, owed(fails)),
            event(app, Enqueued { is_watched: true, ..owed(watched) }),
            event(app, owed(done)),
            event(app, in_lane(taken, "a")),
            rescheduled(app, fails, TimeDelta::hours(1)),
            delivered(app, done),
            rescheduled(app, fails, TimeDelta::hours(2)),
            rescheduled(app, watched, TimeDelta::hours(1)),
            delivered(app, watched),
            event(app, Cancelled { item: taken }),
        ]
    };
    let (one, many) = (ids::<5>(), ids::<5>());
    node.commit(story(one)).await.unwrap();
    let whole = items(&database).await;
    for event in story(many) {
        node.commit(vec![event]).await.unwrap();
    }
    let all = items(&database).await;
    let cut = &all[whole.len()..];
    let shape = |rows: &[(Uuid, i32, Option<String>, Position)], ids: [OutboxId; 5]| -> Vec<_> {
        rows.iter()
            .map(|(id, failed, outcome, _)| (ids.iter().position(|item| item.uuid() == *id), *failed, outcome.clone()))
            .collect()
    };
    assert_eq!(shape(&whole, one), shape(cut, many));
    assert_eq!(shape(cut, many), [(Some(0), 0, None), (Some(1), 2, None), (Some(3), 1, Some("delivered".to_owned()))]);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_may_run_follows_from_what_is_pending(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let [now, later, first, behind, running] = ids();
    let tomorrow = Utc::now() + TimeDelta::days(1);
    owe(&node, app, vec![owed(running)]).await;
    assert_eq!(claim(&node, app, 1).await, [running]);
    owe(
        &node,
        app,
        vec![owed(now), Enqueued { due_at: Some(tomorrow), ..owed(later) }, in_lane(first, "a"), in_lane(behind, "a")],
    )
    .await;
    assert_eq!(outbox::recover(&database).await.unwrap(), 0, "nothing was lost");
    sqlx::query("truncate live.ready, live.delayed").execute(&database).await.unwrap();
    assert!(claim(&node, app, 10).await.is_empty());
    assert_eq!(outbox::recover(&database).await.unwrap(), 3);
    assert_eq!(claim(&node, app, 10).await, [now, first]);
    let delayed: i64 = sqlx::query_scalar("select count(*) from live.delayed").fetch_one(&database).await.unwrap();
    assert_eq!(delayed, 1);
    finish(&node, first, vec![delivered(app, first)]).await.unwrap();
    assert_eq!(claim(&node, app, 10).await, [behind]);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_may_not_run_now_is_put_off_and_nobody_holds_it(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let [one, other] = ids();
    owe(&node, app, vec![owed(one), owed(other)]).await;
    claim(&node, app, 10).await;
    // Within a millisecond names come in any order.
    let leased: HashSet<_> = outbox::leased(&node.pool, node.epoch()).await.unwrap().into_iter().collect();
    assert_eq!(leased, HashSet::from([one, other]));
    let hour = std::time::Duration::from_secs(3_600);
    outbox::put_off(&node.pool, node.epoch(), one, hour).await.unwrap();
    assert_eq!(outbox::leased(&node.pool, node.epoch()).await.unwrap(), [other]);
    assert!(claim(&node, app, 10).await.is_empty());
    let next_in_s = outbox::promote(&node.pool).await.unwrap().next_in_s;
    assert!(next_in_s.is_some_and(|seconds| (3_500.0..=3_600.0).contains(&seconds)), "{next_in_s:?}");
    // Whoever does not hold it puts nothing off.
    outbox::put_off(&node.pool, NodeEpoch::generate(), other, hour).await.unwrap();
    assert_eq!(outbox::leased(&node.pool, node.epoch()).await.unwrap(), [other]);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_over_cannot_be_taken_back(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let [item, other] = ids();
    owe(&node, app, vec![owed(item), owed(other)]).await;
    let cancel = |items: &[OutboxId]| Commit {
        reads: items.iter().map(|item| Read::Owed { item: *item }).collect(),
        ..Commit::new(node.node.authority(), items.iter().map(|item| event(app, Cancelled { item: *item })).collect())
    };
    node.committer.commit(cancel(&[item])).await.unwrap();
    assert_eq!(node.committer.commit(cancel(&[other, item])).await, Err(CommitError::Rejected(Rejected::Stale)));
    node.committer.commit(cancel(&[other])).await.expect("nothing came of the commit that was refused");
    node.stop().await;
}
