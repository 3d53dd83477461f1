//! What was kept for long enough goes, and nothing that is still needed with it.

use chrono::{TimeDelta, Utc};
use picloud_core::{
    event::{
        Class, Event, cron,
        outbox::{CarriedForward, Delivered, Enqueued, Exhausted},
        trigger,
    },
    id::{AppId, DeadLetterId, InvocationId, OutboxId},
    log::{
        Commit, CommitError, Position, Read, Rejected, outbox,
        read::Reader,
        retention::{Carried, ExportError, Hold, Leaf, archive, carry, drop_archived, due, export, holds},
        verify::{Finding, Wanted, Wrong, verify},
    },
    seal::SealKey,
};
use serde_json::json;
use sqlx::{Connection as _, PgConnection, PgPool};

use super::{
    outbox::{delivered, finish, ids, owed, rescheduled, turn},
    partitions::segments,
    seals::Sealing,
    triggers::{self, app_with_script},
};
use crate::support::{TestNode, completed, created, event, set, soon, started, value};

const OLD: TimeDelta = TimeDelta::zero();

fn in_lane(item: OutboxId, lane: &str) -> Enqueued {
    Enqueued { lane: Some(lane.to_owned()), ..owed(item) }
}

async fn is_due(node: &TestNode, class: Class) -> Option<Leaf> {
    due(&node.pool, &node.reader, class, OLD, Utc::now() + TimeDelta::seconds(1)).await.unwrap()
}

async fn held(database: &PgPool, leaf: Leaf) -> Option<Hold> {
    holds(&mut database.acquire().await.unwrap(), leaf).await.unwrap()
}

async fn direct(database: &PgPool) -> PgConnection {
    PgConnection::connect_with(database.connect_options().as_ref()).await.unwrap()
}

/// Appends until a place is behind the head.
async fn fill(node: &TestNode, app: AppId, up_to: i64) {
    while node.reader.head().await.unwrap().0 <= up_to {
        node.commit(vec![set(app, "filling", "1")]).await.unwrap();
    }
}

async fn tables(database: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select relname::text from pg_class
        where relnamespace = 'log'::regnamespace and relkind = 'r' and relname ~ '_[0-9]+$' order by relname",
    )
    .fetch_all(database)
    .await
    .unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_old_enough_is_due_the_oldest_first(database: PgPool) {
    segments(&database, &[10, 10, 1_000]).await;
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    fill(&node, app, 8).await;
    assert_eq!(is_due(&node, Class::Run).await, None, "it is not full");
    fill(&node, app, 25).await;
    let first = Leaf { class: Class::Run, low: Position(1), high: Position(11) };
    assert_eq!(is_due(&node, Class::Run).await, Some(first));
    let hour = due(&node.pool, &node.reader, Class::Run, TimeDelta::hours(1), Utc::now()).await.unwrap();
    assert_eq!(hour, None, "all of it happened less than an hour ago");
    archive(&node.pool, &node.committer, &node.node, first, None).await.unwrap();
    let second = Leaf { low: Position(11), high: Position(21), ..first };
    assert_eq!(is_due(&node, Class::Run).await, Some(second));
    assert_eq!(is_due(&node, Class::Data).await, Some(Leaf { class: Class::Data, ..first }), "each class by itself");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_still_owed_is_said_again_and_is_what_it_was(database: PgPool) {
    segments(&database, &[12, 1_000]).await;
    let node = TestNode::start(&database).await;
    let (app, other) = (AppId::generate(), AppId::generate());
    let [failed, watched, first, second, third, elsewhere] = ids();
    let root = InvocationId::generate();
    let new = event(app, owed(failed)).following(None, root, 3);
    node.commit(vec![new.clone(), event(app, in_lane(first, "mail")), event(app, in_lane(second, "mail"))])
        .await
        .unwrap();
    let due_at = Utc::now() + TimeDelta::hours(1);
    let later = Enqueued { due_at: Some(due_at), is_watched: true, ..owed(watched) };
    node.commit(vec![event(app, later), event(other, in_lane(elsewhere, "mail"))]).await.unwrap();
    assert_eq!(outbox::claim(&node.pool, node.epoch(), &[turn(app, i64::MIN)], 1).await.unwrap().len(), 1);
    finish(&node, failed, vec![rescheduled(app, failed, TimeDelta::zero())]).await.unwrap();
    let before = item(&node, failed).await;
    fill(&node, app, 13).await;
    // Behind the part that goes, and behind the others of its lane.
    node.commit(vec![event(app, in_lane(third, "mail"))]).await.unwrap();
    let leaf = is_due(&node, Class::Run).await.unwrap();
    assert_eq!(held(&database, leaf).await, Some(Hold::Owed));

    let carried = carry(&node.pool, &node.committer, &node.node, leaf).await.unwrap();
    assert_eq!(carried, Carried { items: 6, triggers: 0, left: vec![] }, "the whole lane");
    assert_ne!(held(&database, leaf).await, Some(Hold::Owed));
    let again = carry(&node.pool, &node.committer, &node.node, leaf).await.unwrap();
    assert_eq!(again, Carried::default());

    let after = item(&node, failed).await;
    assert_eq!((after.2, &after.3, after.4, after.5), (before.2, &before.3, before.4, before.5));
    assert!(after.0 > leaf.high.0 && before.0 < leaf.high.0);
    let said = node.reader.at(&[Position(after.0)]).await.unwrap().remove(&Position(after.0)).unwrap();
    let Event::OutboxCarriedForward(CarriedForward(said_again)) = &said.event.event else { panic!("{said:?}") };
    let carried = said_again.carried.as_ref().unwrap();
    assert_eq!((carried.since, carried.failed.len()), (before.6, 1));
    assert_eq!((said.event.cause, said.event.root, said.event.depth), (Some(new.id), Some(root), 3));
    assert_eq!(said.event.actor, new.actor);

    // What runs it gets the same, its lane in the same order.
    outbox::promote(&node.pool).await.unwrap();
    let turns = [turn(app, i64::MIN)];
    let mut order = Vec::new();
    loop {
        let claimed = outbox::claim(&node.pool, node.epoch(), &turns, 10).await.unwrap();
        if claimed.is_empty() {
            break;
        }
        for claimed in claimed {
            let item = claimed.item.enqueued.item;
            if item == failed {
                assert_eq!(claimed.item.enqueued_at, before.6);
                assert_eq!((claimed.item.attempt(), claimed.item.root), (2, Some(root)));
            }
            finish(&node, item, vec![delivered(app, item)]).await.unwrap();
            order.push(item);
        }
    }
    order.retain(|item| *item != failed);
    assert_eq!(order, [first, second, third]);
    node.stop().await;
}

type Stored = (i64, uuid::Uuid, Option<String>, String, chrono::DateTime<Utc>, bool, chrono::DateTime<Utc>);

/// An item as it lies in state, and when it was owed.
async fn item(node: &TestNode, item: OutboxId) -> Stored {
    sqlx::query_as(
        "select o.position, o.id, o.lane, o.failed::text, o.due_at, o.is_watched, e.at
        from state.outbox o join log.run e on e.position = o.position where o.id = $1",
    )
    .bind(item.uuid())
    .fetch_one(&node.pool)
    .await
    .unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_lane_is_said_again_only_as_it_is(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let [first, second] = ids();
    let last = node.commit(vec![event(app, in_lane(first, "mail"))]).await.unwrap().last;
    let lane = |last| Read::Lane { app, lane: "mail".to_owned(), last };
    let commit = |last| {
        let mut commit = Commit::new(node.node.authority(), vec![set(app, "a", "1")]);
        commit.reads.push(lane(last));
        commit
    };
    soon(node.committer.commit(commit(last))).await.unwrap();
    let newest = node.commit(vec![event(app, in_lane(second, "mail"))]).await.unwrap().last;
    let stale = soon(node.committer.commit(commit(last))).await.unwrap_err();
    assert_eq!(stale, CommitError::Rejected(Rejected::Stale), "somebody joined it");
    soon(node.committer.commit(commit(newest))).await.unwrap();
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn times_that_were_decided_about_are_remembered(database: PgPool) {
    segments(&database, &[12, 1_000]).await;
    let node = TestNode::start(&database).await;
    let (app, script) = app_with_script(&node).await;
    let trigger = triggers::trigger(&node, app, script, json!({ "kind": "cron", "schedule": "* * * * *" })).await;
    let due_at = Utc::now() - TimeDelta::days(40);
    let fired = cron::Fired { trigger, due_at, passed_over: 0, is_skipped: false };
    let mut commit = Commit::new(node.node.authority(), vec![event(app, fired)]);
    commit.reads.push(Read::Cron { trigger, version: Position::ZERO });
    soon(node.committer.commit(commit)).await.unwrap();
    // Of one that is deleted nobody asks.
    let deleted = triggers::trigger(&node, app, script, json!({ "kind": "cron", "schedule": "* * * * *" })).await;
    let fired = cron::Fired { trigger: deleted, due_at, passed_over: 0, is_skipped: true };
    let mut commit = Commit::new(node.node.authority(), vec![event(app, fired)]);
    commit.reads.push(Read::Cron { trigger: deleted, version: Position::ZERO });
    soon(node.committer.commit(commit)).await.unwrap();
    node.commit(vec![event(app, trigger::Deleted { trigger: deleted })]).await.unwrap();
    fill(&node, app, 13).await;
    let leaf = is_due(&node, Class::Run).await.unwrap();
    assert_eq!(held(&database, leaf).await, Some(Hold::Owed));
    let carried = carry(&node.pool, &node.committer, &node.node, leaf).await.unwrap();
    assert_eq!(carried, Carried { items: 1, triggers: 1, left: vec![] }, "and the run that it owes");
    let (settled_at, position): (chrono::DateTime<Utc>, i64) =
        sqlx::query_as("select settled_at, position from state.cron").fetch_one(&database).await.unwrap();
    assert_eq!(settled_at.timestamp_micros(), due_at.timestamp_micros());
    assert!(position > leaf.high.0, "{position}");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn nothing_goes_that_is_still_needed(database: PgPool) {
    segments(&database, &[10, 1_000]).await;
    let sealing = Sealing::with(&database, SealKey::from_seed(&[7; 32])).await;
    let node = &sealing.node;
    let (app, run, [watched]) = (AppId::generate(), InvocationId::generate(), ids());
    let watched_item = Enqueued { is_watched: true, ..owed(watched) };
    node.commit(vec![event(app, watched_item), started(app, run, node.epoch())]).await.unwrap();
    assert_eq!(outbox::claim(&node.pool, node.epoch(), &[turn(app, i64::MIN)], 1).await.unwrap().len(), 1);
    fill(node, app, 12).await;
    let leaf = is_due(node, Class::Run).await.unwrap();
    assert_eq!(held(&database, leaf).await, Some(Hold::Running));
    node.commit(vec![completed(app, run)]).await.unwrap();
    assert_eq!(held(&database, leaf).await, Some(Hold::Owed));
    finish(node, watched, vec![event(app, Delivered { item: watched, attempt: 1, invocation: run })]).await.unwrap();
    assert_eq!(held(&database, leaf).await, Some(Hold::Asked));
    sqlx::query("delete from state.outbox_ended").execute(&database).await.unwrap();
    sealing.sealed().await;
    assert_eq!(held(&database, leaf).await, None);
    let ahead = Leaf { class: Class::Data, low: Position(11), high: Position(1_011) };
    assert_eq!(held(&database, ahead).await, Some(Hold::Unsealed));
    sealing.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_went_is_gone_and_the_rest_is_proven_as_before(database: PgPool) {
    segments(&database, &[10, 10, 1_000]).await;
    let key = SealKey::from_seed(&[7; 32]);
    let wanted = Wanted { trusted: vec![key.public()], ..Wanted::default() };
    let sealing = Sealing::with(&database, key).await;
    let node = &sealing.node;
    let (app, run) = (AppId::generate(), InvocationId::generate());
    node.commit(vec![created(app, "shop"), started(app, run, node.epoch())]).await.unwrap();
    node.commit(vec![completed(app, run), set(app, "a", "1")]).await.unwrap();
    fill(node, app, 22).await;
    sealing.sealed().await;
    // One that knows which segments there are.
    let reader = Reader::new(node.pool.clone());
    let before = reader.range(Position::ZERO, Position(1_000), 1_000).await.unwrap();
    assert_eq!(before[..4].iter().map(|recorded| recorded.position.0).collect::<Vec<_>>(), [1, 2, 3, 4]);

    let leaf = is_due(node, Class::Run).await.unwrap();
    archive(&node.pool, &node.committer, &node.node, leaf, None).await.unwrap();
    assert_eq!(node.reader.floor(Class::Run).await.unwrap(), Position(10));
    assert_eq!(node.reader.floor(Class::Data).await.unwrap(), Position::ZERO);
    let mut connection = direct(&database).await;
    assert_eq!(drop_archived(&mut connection).await.unwrap(), 1);
    assert_eq!(drop_archived(&mut connection).await.unwrap(), 0);
    assert!(!tables(&database).await.contains(&"run_1".to_owned()));

    let after = sealing.sealed().await;
    let kept = before[..10].iter().filter(|recorded| recorded.event.event.class() != Class::Run).count();
    assert_eq!(reader.range(Position::ZERO, Position(10), 1_000).await.unwrap().len(), kept);
    let archived: Vec<_> =
        after.iter().filter(|recorded| matches!(recorded.event.event, Event::PartitionArchived(_))).collect();
    let [archived] = &archived[..] else { panic!("{archived:?}") };
    let Event::PartitionArchived(said) = &archived.event.event else { panic!("{archived:?}") };
    assert_eq!((said.class, said.low, said.high, said.events), (Class::Run, 1, 11, 2));

    let verified = verify(&mut connection, &wanted, |_| {}).await.unwrap();
    assert_eq!((verified.findings, verified.dropped), (vec![], 2));
    // Somebody else takes a part away: nothing says that it was time.
    sqlx::query("drop table log.data_11").execute(&database).await.unwrap();
    sqlx::query("update log.segments set classes = array_remove(classes, 'data') where low = 11")
        .execute(&database)
        .await
        .unwrap();
    let verified = verify(&mut connection, &wanted, |_| {}).await.unwrap();
    let wrong = Wrong::Dropped { class: Class::Data, up_to: Position(20) };
    assert_eq!(verified.findings, [Finding { position: Position(11), wrong }]);
    sealing.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_goes_is_in_a_file_before_as_it_was_sealed(database: PgPool) {
    segments(&database, &[12, 1_000]).await;
    let sealing = Sealing::with(&database, SealKey::from_seed(&[7; 32])).await;
    let node = &sealing.node;
    let (app, run) = (AppId::generate(), InvocationId::generate());
    let odd = set(app, "a", "{\"line\":\n \"ends\", \"größer\": 1.50}");
    node.commit(vec![created(app, "shop"), started(app, run, node.epoch()), odd]).await.unwrap();
    sealing.sealed().await;
    node.commit(vec![completed(app, run)]).await.unwrap();
    fill(node, app, 13).await;
    let log = sealing.sealed().await;
    let folder = tempfile::tempdir().unwrap();
    let mut connection = direct(&database).await;
    for class in [Class::Run, Class::Data, Class::Config] {
        let leaf = Leaf { class, low: Position(1), high: Position(13) };
        let exported = export(&mut connection, leaf, folder.path()).await.unwrap();
        assert_eq!(exported.file, format!("{class}_1-12.ndjson.zst"));
        let packed = std::fs::read(folder.path().join(&exported.file)).unwrap();
        assert_eq!(exported.bytes, packed.len() as u64);
        let text = String::from_utf8(zstd::decode_all(&packed[..]).unwrap()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let there = log.iter().filter(|event| event.position < leaf.high && event.event.event.class() == class);
        let there: Vec<_> = there.map(|event| json!([event.position.0, event.event.id, event.event.data])).collect();
        let read: Vec<_> = lines.iter().map(|line| json!([line["position"], line["id"], line["data"]])).collect();
        assert_eq!(read, there);
    }

    sqlx::query("update log.run_1 set data = '{\"other\":1}'").execute(&database).await.unwrap();
    let leaf = Leaf { class: Class::Run, low: Position(1), high: Position(13) };
    let before = std::fs::read(folder.path().join("run_1-12.ndjson.zst")).unwrap();
    let refused = export(&mut connection, leaf, folder.path()).await.unwrap_err();
    assert!(matches!(refused, ExportError::Differs { .. }), "{refused}");
    assert_eq!(std::fs::read(folder.path().join("run_1-12.ndjson.zst")).unwrap(), before, "what was there stays");
    let nowhere = folder.path().join("nowhere");
    let refused = export(&mut connection, leaf, &nowhere).await.unwrap_err();
    assert!(refused.to_string().contains("nowhere/run_1-12.ndjson.zst.part"), "{refused}");
    // And the connection is of use as before.
    assert_eq!(drop_archived(&mut connection).await.unwrap(), 0);
    sealing.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn positions_are_not_given_out_again_when_all_is_gone(database: PgPool) {
    segments(&database, &[4, 4, 1_000]).await;
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    fill(&node, app, 4).await;
    let leaf = is_due(&node, Class::Data).await.unwrap();
    let archived = archive(&node.pool, &node.committer, &node.node, leaf, None).await.unwrap();
    node.stop().await;
    drop_archived(&mut direct(&database).await).await.unwrap();
    let node = TestNode::start(&database).await;
    let next = node.commit(vec![set(app, "a", "1")]).await.unwrap();
    assert_eq!(next.first, archived.last.plus(1));
    assert_eq!(value(&database, app, "a").await.as_deref(), Some("1"));
    node.stop().await;
}

/// Whoever reads for long is in the way of what goes, and of nothing else.
#[sqlx::test(migrations = "../migrations")]
async fn a_long_reader_delays_what_goes_and_not_the_log(database: PgPool) {
    segments(&database, &[10, 1_000]).await;
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let letter = Exhausted { item: OutboxId::generate(), dead_letter: DeadLetterId::generate() };
    node.commit(vec![event(app, letter)]).await.unwrap();
    fill(&node, app, 12).await;
    let leaf = is_due(&node, Class::Run).await.unwrap();
    archive(&node.pool, &node.committer, &node.node, leaf, None).await.unwrap();

    let mut reading = direct(&database).await;
    let mut reading = reading.begin().await.unwrap();
    let read: i64 = sqlx::query_scalar("select count(*) from log.run").fetch_one(&mut *reading).await.unwrap();
    assert_eq!(read, 1);
    let mut connection = direct(&database).await;
    let dropping = async {
        let refused = drop_archived(&mut connection).await.unwrap_err();
        assert_eq!(refused.as_database_error().and_then(|error| error.code()).as_deref(), Some("55P03"));
    };
    let appending = async {
        for n in 0..200 {
            soon(node.commit(vec![set(app, "a", &n.to_string()), event(app, owed(OutboxId::generate()))]))
                .await
                .unwrap();
        }
        // Made in good time, too: a segment behind the others.
        sqlx::query("select log.add_segment(1000)").execute(&database).await.unwrap();
    };
    tokio::join!(dropping, appending);
    let seen: i64 = sqlx::query_scalar("select count(*) from log.run").fetch_one(&mut *reading).await.unwrap();
    assert!(seen >= 1, "{seen}");
    reading.rollback().await.unwrap();

    // What was begun is ended.
    assert_eq!(drop_archived(&mut connection).await.unwrap(), 1);
    assert!(!tables(&database).await.contains(&"run_1".to_owned()));
    node.stop().await;
}
