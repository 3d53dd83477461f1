//! What happened to one thing, by one actor, in one chain is found, whatever is remembered of where it is not.

use std::collections::HashSet;

use picloud_core::{
    event::{Actor, ActorKind, kv},
    id::{AppId, InvocationId},
    log::{
        NewEvent, Position, Recorded, lookup,
        read::{Direction, Filter, Reader},
    },
};
use serde_json::value::RawValue;
use sqlx::PgPool;

use super::partitions::segments;
use crate::support::{COLLECTION, GUARD, TestNode, event, set};

/// So many events make several ranges of pages.
const EVENTS: usize = 6_000;

/// Every so many events about the same thing, by the same actor, in the same chain; all the rest is about a fourth.
const THINGS: [usize; 3] = [40, 900, 2_500];

struct Written {
    apps: [AppId; 2],
    roots: [InvocationId; 4],
}

fn nth(n: usize) -> usize {
    THINGS.iter().rposition(|every| n.is_multiple_of(*every)).unwrap_or(3)
}

async fn write(node: &TestNode) -> Written {
    let written = Written {
        apps: [AppId::generate(), AppId::generate()],
        roots: std::array::from_fn(|_| InvocationId::generate()),
    };
    let events: Vec<NewEvent> = (0..EVENTS)
        .map(|n| {
            let which = nth(n);
            let value = RawValue::from_string(format!("{{\"n\": {n}, \"text\": \"{}\"}}", "x".repeat(250))).unwrap();
            let set = kv::Set { collection: COLLECTION.to_owned(), key: which.to_string(), value, expires_at: None };
            let id = Some(format!("key_{which}"));
            let actor = Actor { kind: ActorKind::ApiKey, id, request_id: None, address: None };
            let root = written.roots[which];
            NewEvent::new(Some(written.apps[n % 7 / 6]), &actor, set).following(None, root, 0)
        })
        .collect();
    for commit in events.chunks(300) {
        node.commit(commit.to_vec()).await.unwrap();
    }
    written
}

/// Filters of all kinds, each by what is frequent and by what is rare.
fn filters(written: &Written) -> Vec<Filter> {
    let subject = |which: usize| Filter { subject: Some(format!("kv:{COLLECTION}/{which}")), ..Filter::default() };
    let mut filters = vec![subject(7)];
    for which in 0..3 {
        filters.push(subject(which));
        filters.push(Filter { app: Some(Some(written.apps[1])), ..subject(which) });
        filters.push(Filter { kinds: vec!["kv".to_owned()], ..subject(which) });
        let by = Filter { actor: Some(format!("key_{which}")), ..Filter::default() };
        filters.push(Filter { app: Some(Some(written.apps[1])), ..by.clone() });
        filters.push(Filter { kinds: vec!["kv".to_owned(), "invocation".to_owned()], ..by.clone() });
        filters.push(by);
        filters.push(Filter { root: Some(written.roots[which].uuid()), ..Filter::default() });
        filters.push(Filter { root: Some(written.roots[which].uuid()), ..subject(2) });
    }
    let of = |app| Filter { app: Some(app), ..Filter::default() };
    filters.extend([of(None), of(Some(written.apps[0])), of(Some(AppId::generate()))]);
    for kind in ["kv.set", "kv.deleted", "seal", "outbox"] {
        filters.push(Filter { kinds: vec![kind.to_owned()], ..Filter::default() });
    }
    filters
}

async fn assert_all_is_found(reader: &Reader, written: &Written, log: &[Recorded]) {
    let head = log.last().unwrap().position;
    for filter in filters(written) {
        for direction in [Direction::Forward, Direction::Backward] {
            for (after, up_to, limit) in [(0, head.0, 1_000), (0, head.0, 3), (700, 5_000, 1_000)] {
                let within = log.iter().filter(|event| (after + 1..=up_to).contains(&event.position.0));
                let mut wanted: Vec<i64> =
                    within.filter(|event| filter.matches(event)).map(|event| event.position.0).collect();
                if direction == Direction::Backward {
                    wanted.reverse();
                }
                wanted.truncate(limit);
                let found = reader.list(&filter, direction, Position(after), Position(up_to), limit).await.unwrap();
                let found: Vec<i64> = found.iter().map(|event| event.position.0).collect();
                assert_eq!(found, wanted, "{filter:?} {direction:?} {after}..={up_to} {limit}");
            }
        }
    }
}

/// Makes all that leaves lack by which events are found.
pub(super) async fn keep(node: &TestNode) {
    let mut connection = node.pool.acquire().await.unwrap();
    let head = node.reader.head().await.unwrap();
    while lookup::keep(&mut connection, head).await.unwrap() {}
}

async fn drop_index(database: &PgPool, index: &str) {
    let drop = sqlx::AssertSqlSafe(format!("drop index log.{index}"));
    sqlx::query(drop).execute(database).await.unwrap();
}

async fn indexes(database: &PgPool, leaf: &str) -> Vec<String> {
    let ask =
        "select indexname::text from pg_indexes where tablename = $1 and indexname ~ '_(lookup|by_.*)$' order by 1";
    sqlx::query_scalar(ask).bind(leaf).fetch_all(database).await.unwrap()
}

/// Ranges of a leaf about which something is remembered: placing them all again does nothing for these.
async fn unsummarized(database: &PgPool, leaf: &str) -> i32 {
    let ask = "select brin_summarize_new_values(format('log.%I', $1 || '_lookup')::regclass)";
    sqlx::query_scalar(ask).bind(leaf).fetch_one(database).await.unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn whatever_is_looked_up_is_found_with_lookups_and_without(database: PgPool) {
    segments(&database, &[2_000, 100_000]).await;
    let node = TestNode::start(&database).await;
    let written = write(&node).await;
    let log = node.log().await;
    // Nothing is summarized.
    assert_all_is_found(&node.reader, &written, &log).await;
    keep(&node).await;
    assert_all_is_found(&node.reader, &written, &log).await;
    // Something came after it.
    node.commit(
        vec![log[0].event.as_ref().clone()]
            .into_iter()
            .map(|event| NewEvent { id: picloud_core::id::EventId::generate(), ..event })
            .collect(),
    )
    .await
    .unwrap();
    assert_all_is_found(&node.reader, &written, &node.log().await).await;
    // A closed leaf that has none yet, and an open one from before there were any.
    drop_index(&database, "data_1_by_keys").await;
    drop_index(&database, "data_2001_lookup").await;
    let log = node.log().await;
    assert_all_is_found(&node.reader, &written, &log).await;
    assert_all_is_found(&Reader::new(database.clone()), &written, &log).await;
    // One from before lookups knew of actors.
    let older = "create index data_2001_lookup on log.data_2001 using brin ((position + 0) int8_minmax_ops,
        subject collate \"C\" text_bloom_ops, root uuid_bloom_ops) with (pages_per_range = 64)";
    sqlx::query(older).execute(&database).await.unwrap();
    assert_all_is_found(&Reader::new(database), &written, &log).await;
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_closed_leaf_gets_indexes_and_an_open_one_is_summarized(database: PgPool) {
    segments(&database, &[2_000, 100_000]).await;
    let node = TestNode::start(&database).await;
    write(&node).await;
    keep(&node).await;
    for class in ["config", "data", "run"] {
        let leaf = format!("{class}_1");
        let wanted = ["keys", "root", "subject"].map(|by| format!("{leaf}_by_{by}"));
        assert_eq!(indexes(&database, &leaf).await, wanted);
    }
    assert_eq!(indexes(&database, "data_2001").await, ["data_2001_lookup"]);
    assert_eq!(unsummarized(&database, "data_2001").await, 1, "of what is open all that is full is summarized");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_lookup_that_is_read_is_dropped_later(database: PgPool) {
    segments(&database, &[2_000, 100_000]).await;
    let node = TestNode::start(&database).await;
    write(&node).await;
    let mut reader = database.begin().await.unwrap();
    sqlx::query("select from log.data_1 limit 1").execute(&mut *reader).await.unwrap();
    keep(&node).await;
    assert!(indexes(&database, "data_1").await.contains(&"data_1_lookup".to_owned()));
    reader.rollback().await.unwrap();
    keep(&node).await;
    assert!(!indexes(&database, "data_1").await.contains(&"data_1_lookup".to_owned()));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn looking_something_up_uses_what_is_remembered(database: PgPool) {
    segments(&database, &[2_000, 100_000]).await;
    let node = TestNode::start(&database).await;
    let written = write(&node).await;
    keep(&node).await;
    let used = "select coalesce(sum(idx_scan), 0)::bigint from pg_stat_user_indexes where indexrelname ~ $1";
    let (all, mut seen) = (filters(&written), HashSet::new());
    for filter in all {
        let is_remembered = filter.subject.is_some() || filter.root.is_some() || filter.actor.is_some();
        // One of each shape will do.
        let Filter { app, kinds, subject, actor, root, .. } = &filter;
        if !seen.insert((app.is_some(), kinds.is_empty(), subject.is_some(), actor.is_some(), root.is_some())) {
            continue;
        }
        for (leaves, (after, up_to)) in [("_1_by_", (0, 2_000)), ("data_2001_lookup", (2_000, 6_000))] {
            // What is open is walked for anything else, and seals are elsewhere.
            if leaves == "data_2001_lookup" && !is_remembered {
                continue;
            }
            let used = async || sqlx::query_scalar::<_, i64>(used).bind(leaves).fetch_one(&database).await.unwrap();
            let before = used().await;
            // The figures come when a connection has been idle for a moment.
            let counted = async {
                while used().await == before {
                    let (after, up_to) = (Position(after), Position(up_to));
                    node.reader.list(&filter, Direction::Backward, after, up_to, 10).await.unwrap();
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            };
            let counted = tokio::time::timeout(GUARD, counted).await;
            counted.unwrap_or_else(|_| panic!("{leaves} is not used for {filter:?}"));
        }
    }
    node.stop().await;
}

/// Snapshots of so many entries, each said twice, with something between them.
async fn write_snapshots(node: &TestNode, app: AppId, entries: usize) {
    for n in 0..2 {
        let snapshots = (0..entries).map(|key| {
            let value = Some(RawValue::from_string(n.to_string()).unwrap());
            let (collection, key) = (COLLECTION.to_owned(), key.to_string());
            event(app, kv::Snapshot { collection, key, value, expires_at: None, changed_at: None })
        });
        node.commit(snapshots.collect()).await.unwrap();
        node.commit((0..20).map(|key| set(app, &key.to_string(), "1")).collect()).await.unwrap();
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn snapshots_are_told_once_and_of_an_entry_the_last_one_last(database: PgPool) {
    segments(&database, &[25, 100_000]).await;
    let node = TestNode::start(&database).await;
    let apps = [AppId::generate(), AppId::generate()];
    for app in apps {
        write_snapshots(&node, app, 7).await;
    }
    let log = node.log().await;
    let head = log.last().unwrap().position;
    for (after, up_to, limit) in [(0, head.0, 3), (0, head.0, 1_000), (5, head.0 - 40, 1)] {
        let (mut seen, mut told) = (Vec::new(), None);
        loop {
            let mut page = node.reader.snapshots(Position(after), Position(up_to), told.as_ref(), limit).await.unwrap();
            assert!(page.len() <= limit);
            seen.extend(page.iter().cloned());
            told = page.pop();
            if told.is_none() {
                break;
            }
        }
        let within = log.iter().filter(|event| (after + 1..=up_to).contains(&event.position.0));
        let mut wanted: Vec<&Recorded> = within.filter(|event| event.event.event.kind() == "kv.snapshot").collect();
        let is_behind = |event: &Recorded| event.position.0 > 25;
        let place = |event: &Recorded| (is_behind(event), event.event.app, event.event.subject.clone(), event.position);
        wanted.sort_by_key(|event| place(event));
        assert!(!wanted.is_empty());
        let positions = |events: &mut dyn Iterator<Item = &Recorded>| -> Vec<i64> {
            events.map(|event| event.position.0).collect()
        };
        assert_eq!(positions(&mut seen.iter()), positions(&mut wanted.into_iter()), "{after}..={up_to} {limit}");
    }
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn few_snapshots_are_found_without_reading_what_else_there_is(database: PgPool) {
    let node = TestNode::start(&database).await;
    write(&node).await;
    write_snapshots(&node, AppId::generate(), 3).await;
    let used = "select coalesce(sum(idx_scan), 0)::bigint from pg_stat_user_indexes
        where relname = 'data_1' and indexrelname like 'data_1%app_id_subject_position%'";
    let used = async || sqlx::query_scalar::<_, i64>(used).fetch_one(&database).await.unwrap();
    let head = node.reader.head().await.unwrap();
    // The figures come when a connection has been idle for a moment.
    let counted = async {
        while used().await == 0 {
            assert_eq!(node.reader.snapshots(Position::ZERO, head, None, 100).await.unwrap().len(), 6);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(GUARD, counted).await.expect("the index of snapshots is used");
    node.stop().await;
}
