//! Segments: the log goes on from one into the next, and is found again wherever it stands.

use chrono::{DateTime, Utc};
use picloud_core::{
    event::{Actor, env, kv},
    id::{AppId, InvocationId, RequestId},
    log::{
        NewEvent, Position, Recorded, partitions,
        read::{Direction, Filter},
    },
};
use sqlx::PgPool;

use crate::support::{TestNode, completed, created, event, set, started, value};

/// Replaces the segments of a fresh database.
pub(super) async fn segments(database: &PgPool, sizes: &[i64]) {
    let lows: Vec<i64> =
        sqlx::query_scalar("delete from log.segments returning low").fetch_all(database).await.unwrap();
    for low in lows {
        for class in ["config", "data", "run"] {
            let drop = sqlx::AssertSqlSafe(format!("drop table log.{class}_{low}"));
            sqlx::query(drop).execute(database).await.unwrap();
        }
    }
    for size in sizes {
        sqlx::query("select log.add_segment($1)").bind(size).execute(database).await.unwrap();
    }
}

/// As retention does it.
pub(super) async fn drop_leaf(database: &PgPool, class: &str, low: i64) {
    let drop = sqlx::AssertSqlSafe(format!("drop table log.{class}_{low}"));
    sqlx::query(drop).execute(database).await.unwrap();
    sqlx::query("update log.segments set classes = array_remove(classes, $1) where low = $2")
        .bind(class)
        .bind(low)
        .execute(database)
        .await
        .unwrap();
}

async fn segment_lows(database: &PgPool) -> Vec<i64> {
    sqlx::query_scalar("select low from log.segments order by low").fetch_all(database).await.unwrap()
}

fn positions(events: &[Recorded]) -> Vec<i64> {
    events.iter().map(|event| event.position.0).collect()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_commit_may_lie_on_both_sides_of_a_boundary(database: PgPool) {
    segments(&database, &[10, 5, 100]).await;
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    for n in 0..6 {
        let run = InvocationId::generate();
        node.commit(vec![started(app, run, node.epoch()), set(app, "a", &n.to_string()), completed(app, run)])
            .await
            .unwrap();
    }
    assert_eq!(positions(&node.log().await), (1..=18).collect::<Vec<_>>());
    let leaves: Vec<(String, i64)> =
        sqlx::query_as("select tableoid::regclass::text, count(*) from log.events group by 1 order by 1")
            .fetch_all(&database)
            .await
            .unwrap();
    let wanted = [
        ("log.data_1", 3),
        ("log.data_11", 2),
        ("log.data_16", 1),
        ("log.run_1", 7),
        ("log.run_11", 3),
        ("log.run_16", 2),
    ];
    assert_eq!(leaves, wanted.map(|(leaf, events)| (leaf.to_owned(), events)));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn running_out_of_segments_is_healed(database: PgPool) {
    segments(&database, &[4]).await;
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    for n in 1..=4 {
        node.commit(vec![set(app, "a", &n.to_string()), set(app, "b", "1"), set(app, "c", "1")]).await.unwrap();
    }
    assert_eq!(positions(&node.log().await), (1..=12).collect::<Vec<_>>());
    assert_eq!(value(&database, app, "a").await.as_deref(), Some("4"));
    assert_eq!(segment_lows(&database).await, [1, 5]);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn running_out_of_segments_while_configuring_is_healed(database: PgPool) {
    segments(&database, &[1]).await;
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    node.commit(vec![created(app, "shop"), event(app, env::Set { name: "A".into(), value: "1".into() })])
        .await
        .unwrap();
    assert_eq!(positions(&node.log().await), [1, 2]);
    let names: Vec<String> = sqlx::query_scalar("select name from state.env").fetch_all(&database).await.unwrap();
    assert_eq!(names, ["A"]);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn two_segments_lie_ahead_of_the_head(database: PgPool) {
    segments(&database, &[10]).await;
    let node = TestNode::start(&database).await;
    let mut connection = database.acquire().await.unwrap();
    let app = AppId::generate();
    let head = node.commit((0..7).map(|_| set(app, "a", "1")).collect()).await.unwrap().last;
    let room = partitions::room(&mut connection, head).await.unwrap();
    assert_eq!((room.segments_ahead, room.positions_left), (0, 3));

    let room = partitions::ensure_ahead(&mut connection, head).await.unwrap();
    assert_eq!((room.segments_ahead, room.positions_left), (2, 3 + 2 * partitions::MIN_SIZE));
    assert_eq!(partitions::room(&mut connection, head).await.unwrap(), room);
    // There is enough now.
    assert_eq!(partitions::ensure_ahead(&mut connection, head).await.unwrap(), room);
    assert_eq!(segment_lows(&database).await, [1, 11, 11 + partitions::MIN_SIZE]);
    drop(connection);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_segment_is_made_while_the_log_is_read_and_written(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    node.commit(vec![set(app, "a", "1")]).await.unwrap();
    // A long reader of everything.
    let mut reader = database.begin().await.unwrap();
    sqlx::query("select count(*) from log.events").execute(&mut *reader).await.unwrap();
    let mut connection = database.acquire().await.unwrap();
    sqlx::query("set lock_timeout = '2s'").execute(&mut *connection).await.unwrap();
    partitions::add(&mut connection, 1_000).await.unwrap();
    node.commit(vec![set(app, "a", "2")]).await.unwrap();
    reader.rollback().await.unwrap();
    drop(connection);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn who_takes_over_finds_the_head_wherever_it_lies(database: PgPool) {
    segments(&database, &[4, 4, 4, 100, 100]).await;
    let app = AppId::generate();
    // One node after the other, each takes over: at the start of a segment, in it, at its very end, before empty ones.
    for n in 0..14 {
        let node = TestNode::start(&database).await;
        assert_eq!(node.reader.head().await.unwrap(), Position(n));
        assert_eq!(node.commit(vec![set(app, "a", "1")]).await.unwrap().last, Position(n + 1));
        node.stop().await;
    }
    // What is over is dropped, a leaf at a time, from an idle log as well: positions are not given out again.
    sqlx::query("update log.meta set floor = 14").execute(&database).await.unwrap();
    for low in [1, 5, 9, 13] {
        drop_leaf(&database, "run", low).await;
        drop_leaf(&database, "data", low).await;
    }
    let node = TestNode::start(&database).await;
    assert_eq!(node.reader.head().await.unwrap(), Position(14));
    assert_eq!(node.tail.position(), Position(14));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_was_dropped_is_passed_over_by_who_reads_and_follows(database: PgPool) {
    segments(&database, &[6, 6, 100]).await;
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    for _ in 0..5 {
        let run = InvocationId::generate();
        node.commit(vec![started(app, run, node.epoch()), set(app, "a", "1"), completed(app, run)]).await.unwrap();
    }
    // Also by who has looked before, and remembers what there was.
    node.log().await;
    drop_leaf(&database, "run", 1).await;
    drop_leaf(&database, "data", 7).await;
    drop_leaf(&database, "run", 7).await;
    assert_eq!(positions(&node.log().await), [2, 5, 13, 14, 15]);
    node.stop().await;
    let node = TestNode::start(&database).await;
    assert_eq!(positions(&node.log().await), [2, 5, 13, 14, 15]);
    let mut follow = node.tail.follow(Position::ZERO);
    let mut told = Vec::new();
    while follow.cursor() < Position(15) {
        told.extend(positions(&crate::support::soon(follow.next()).await.unwrap().unwrap()));
    }
    assert_eq!(told, [2, 5, 13, 14, 15]);
    node.stop().await;
}

/// Events of three apps and the instance, of all classes, by several actors, over four segments.
async fn varied(node: &TestNode) -> (Vec<AppId>, InvocationId) {
    let apps: Vec<AppId> = (0..3).map(|_| AppId::generate()).collect();
    let root = InvocationId::generate();
    let request = RequestId::generate();
    let key = picloud_core::id::ApiKeyId::generate();
    for n in 0..14 {
        let app = apps[n % 3];
        let actor = if n % 2 == 0 { Actor::SYSTEM } else { Actor::api_key(key, request, None) };
        let by = |event: NewEvent| NewEvent {
            actor_json: serde_json::to_string(&actor).unwrap().into(),
            actor: actor.clone(),
            ..event
        };
        let gone = kv::Deleted { collection: "c".into(), key: n.to_string() };
        let mut events = vec![by(set(app, &n.to_string(), "1")), by(event(app, gone)).following(None, root, 1)];
        match n % 4 {
            0 => events.push(by(started(app, root, node.epoch()))),
            1 => events.push(by(completed(app, root))),
            2 => events.push(by(created(AppId::generate(), &format!("app{n}")))),
            _ => events.push(NewEvent::new(None, &actor, kv::Deleted { collection: "i".into(), key: "i".into() })),
        }
        node.commit(events).await.unwrap();
    }
    (apps, root)
}

#[sqlx::test(migrations = "../migrations")]
async fn every_filter_finds_what_it_says_both_ways_and_a_page_at_a_time(database: PgPool) {
    segments(&database, &[9, 10, 11, 100, 100]).await;
    let node = TestNode::start(&database).await;
    let (apps, root) = varied(&node).await;
    let log = node.log().await;
    assert_eq!(log.len(), 42);
    let at: DateTime<Utc> = log[20].at;
    let actor = log.iter().find_map(|event| event.event.actor.id.clone());

    let all = Filter::default;
    let kinds = |kinds: &[&str]| Filter { kinds: kinds.iter().map(ToString::to_string).collect(), ..all() };
    let filters = [
        all(),
        Filter { app: Some(Some(apps[1])), ..all() },
        Filter { app: Some(None), ..all() },
        kinds(&["kv"]),
        kinds(&["kv.set"]),
        kinds(&["kv.deleted", "invocation"]),
        kinds(&["app.created"]),
        kinds(&["k"]),
        kinds(&["kv.se"]),
        Filter { subject: Some("kv:things/3".into()), ..all() },
        Filter { actor: actor.clone(), ..all() },
        Filter { root: Some(root.uuid()), ..all() },
        Filter { since: Some(at), ..all() },
        Filter { until: Some(at), ..all() },
        Filter {
            app: Some(Some(apps[0])),
            root: Some(root.uuid()),
            actor,
            since: Some(at),
            ..kinds(&["kv", "invocation.started"])
        },
    ];
    let mut found_any = 0;
    for filter in filters {
        for (after, up_to) in [(0, 42), (5, 31), (8, 9), (9, 9), (41, 1_000)] {
            let mut wanted: Vec<i64> = log
                .iter()
                .filter(|event| event.position.0 > after && event.position.0 <= up_to && filter.matches(event))
                .map(|event| event.position.0)
                .collect();
            found_any += wanted.len();
            let (after, up_to) = (Position(after), Position(up_to));

            let found = node.reader.list(&filter, Direction::Forward, after, up_to, 100).await.unwrap();
            assert_eq!(positions(&found), wanted, "{filter:?}");
            let mut paged = Vec::new();
            let mut cursor = after;
            loop {
                let page = node.reader.list(&filter, Direction::Forward, cursor, up_to, 4).await.unwrap();
                assert!(page.len() <= 4);
                let Some(last) = page.last() else { break };
                cursor = last.position;
                paged.extend(positions(&page));
            }
            assert_eq!(paged, wanted, "{filter:?}");

            wanted.reverse();
            let found = node.reader.list(&filter, Direction::Backward, after, up_to, 100).await.unwrap();
            assert_eq!(positions(&found), wanted, "{filter:?}");
            let newest = node.reader.list(&filter, Direction::Backward, after, up_to, 2).await.unwrap();
            assert_eq!(positions(&newest), wanted[..wanted.len().min(2)], "{filter:?}");
        }
    }
    assert!(found_any > 300, "{found_any}");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn an_event_is_found_by_its_id(database: PgPool) {
    segments(&database, &[9, 10, 11, 100]).await;
    let node = TestNode::start(&database).await;
    varied(&node).await;
    for event in node.log().await {
        let found = node.reader.find(event.event.id).await.unwrap().expect("it is there");
        assert_eq!((found.position, found.at), (event.position, event.at));
        assert_eq!(found.event.data, event.event.data);
    }
    assert!(node.reader.find(picloud_core::id::EventId::generate()).await.unwrap().is_none());
    node.stop().await;
}
