//! Following the log: everything once, in order, whatever happens to whom.

use std::time::Duration;

use futures::future::join_all;
use picloud_core::{
    id::AppId,
    log::{Follow, Position, TailHealth},
};
use sqlx::{Connection as _, PgPool};
use tokio::time::sleep;

use crate::support::{TestNode, set, soon};

/// Follows up to a position; the positions it was told of.
async fn told(follow: &mut Follow, up_to: Position) -> Vec<i64> {
    let mut told = Vec::new();
    while follow.cursor() < up_to {
        let events = soon(follow.next()).await.unwrap().expect("the node is there");
        assert!(!events.is_empty());
        told.extend(events.iter().map(|event| event.position.0));
    }
    told
}

async fn write(node: &TestNode, times: usize) -> Position {
    let app = AppId::generate();
    let mut last = Position::ZERO;
    for n in 0..times {
        last = node.commit(vec![set(app, "a", &n.to_string()), set(app, "b", "1")]).await.unwrap().last;
    }
    last
}

/// Ends the connections of this database that listen; how many there were.
async fn kill_listeners(database: &PgPool, through: impl sqlx::PgExecutor<'_>) -> i64 {
    sqlx::query_scalar(
        "select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity
        where datname = $1 and query like 'LISTEN%'",
    )
    .bind(database.connect_options().get_database())
    .fetch_one(through)
    .await
    .unwrap()
}

async fn is(node: &TestNode, health: TailHealth) {
    soon(async {
        while node.tail.health() != health {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[sqlx::test(migrations = "../migrations")]
async fn history_and_what_comes_join_without_gap_or_duplicate(database: PgPool) {
    let nodes = [TestNode::start(&database).await, TestNode::start(&database).await];
    write(&nodes[0], 20).await;
    // Many that begin at many places, while both nodes write.
    let followers = (0..30).map(|n| {
        let node = &nodes[n % 2];
        async move {
            for _ in 0..n * 7 {
                tokio::task::yield_now().await;
            }
            let after = Position(n as i64);
            let mut follow = node.tail.follow(after);
            let told = told(&mut follow, Position(280)).await;
            assert_eq!(told, (after.0 + 1..=280).collect::<Vec<_>>(), "after {after}");
        }
    });
    let writers = nodes.iter().flat_map(|node| [write(node, 30), write(node, 30)]);
    soon(async { tokio::join!(join_all(followers), join_all(writers)) }).await;
    for node in nodes {
        node.stop().await;
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn who_falls_behind_further_than_is_kept_reads_what_it_missed(database: PgPool) {
    let node = TestNode::start(&database).await;
    let mut slow = node.tail.follow(Position::ZERO);
    let mut late = node.tail.follow(Position::ZERO);
    // A batch each: more of them than the ring holds.
    let mut last = write(&node, 5).await;
    assert_eq!(told(&mut late, Position(4)).await, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10][..late.cursor().0 as usize]);
    for _ in 0..11 {
        last = write(&node, 100).await;
    }
    assert_eq!(last, Position(2_210));
    let from = late.cursor().0;
    assert_eq!(told(&mut slow, last).await, (1..=2_210).collect::<Vec<_>>());
    assert_eq!(told(&mut late, last).await, (from + 1..=2_210).collect::<Vec<_>>());
    // And it is live again.
    let last = write(&node, 1).await;
    assert_eq!(told(&mut slow, last).await, [2_211, 2_212]);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_wait_that_is_given_up_loses_nothing(database: PgPool) {
    let node = TestNode::start(&database).await;
    let mut follow = node.tail.follow(Position::ZERO);
    let reader = async {
        let mut told = Vec::new();
        while follow.cursor() < Position(200) {
            // Dropped wherever it stands, as by a stream with a heartbeat.
            tokio::select! {
                biased;
                () = async { for _ in 0..3 { tokio::task::yield_now().await; } } => {}
                events = follow.next() => told.extend(events.unwrap().unwrap().iter().map(|event| event.position.0)),
            }
        }
        told
    };
    let (told, _) = soon(async { tokio::join!(reader, write(&node, 100)) }).await;
    assert_eq!(told, (1..=200).collect::<Vec<_>>());
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_another_node_appended_comes_by_notification(database: PgPool) {
    let (one, two) = (TestNode::start(&database).await, TestNode::start(&database).await);
    is(&one, TailHealth::Listening).await;
    let mut follow = one.tail.follow(Position::ZERO);
    for n in 1..=5 {
        let begun = std::time::Instant::now();
        let last = write(&two, 1).await;
        assert_eq!(told(&mut follow, last).await, [2 * n - 1, 2 * n]);
        assert_eq!(one.tail.position(), last);
        // The timer alone would take some seconds.
        assert!(n == 1 || begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    one.stop().await;
    two.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_lost_listener_is_replaced_and_nothing_is_missed(database: PgPool) {
    let (one, two) = (TestNode::start(&database).await, TestNode::start(&database).await);
    let mut follow = one.tail.follow(Position::ZERO);
    let mut all = Vec::new();
    for _ in 0..5 {
        // Both listen: there is something to lose.
        soon(async {
            while kill_listeners(&database, &database).await < 2 {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let last = write(&two, 3).await;
        all.extend(told(&mut follow, last).await);
    }
    assert_eq!(all, (1..=30).collect::<Vec<_>>());
    is(&one, TailHealth::Listening).await;
    one.stop().await;
    two.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_node_that_cannot_listen_says_so_until_it_can(database: PgPool) {
    let (one, two) = (TestNode::start(&database).await, TestNode::start(&database).await);
    write(&two, 1).await;
    is(&one, TailHealth::Listening).await;
    // Nobody else may connect: what is lost stays lost for a while.
    let name: String = sqlx::query_scalar("select current_database()").fetch_one(&database).await.unwrap();
    let allow = |yes: bool| sqlx::AssertSqlSafe(format!("alter database \"{name}\" allow_connections {yes}"));
    let options = database.connect_options().as_ref().clone().database("postgres");
    let mut elsewhere = sqlx::PgConnection::connect_with(&options).await.unwrap();
    sqlx::query(allow(false)).execute(&mut elsewhere).await.unwrap();
    // Through the connection that is open: the pool could need a new one.
    assert!(kill_listeners(&database, &mut elsewhere).await > 0);
    is(&one, TailHealth::Polling).await;
    // The other node's events still come, by the timer, over connections that are open already.
    let last = write(&two, 1).await;
    soon(one.tail.reached(last)).await;
    sqlx::query(allow(true)).execute(&mut elsewhere).await.unwrap();
    elsewhere.close().await.unwrap();
    is(&one, TailHealth::Listening).await;
    one.stop().await;
    two.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn everybody_is_told_before_a_position_counts_as_reached(database: PgPool) {
    let node = TestNode::start(&database).await;
    let mut live = node.tail.subscribe();
    for _ in 0..20 {
        let last = write(&node, 1).await;
        soon(node.tail.reached(last)).await;
        assert!(node.tail.position() >= last);
        let batch = live.try_recv().expect("it was told before");
        assert_eq!(batch.events().last().map(|event| event.position), Some(last));
    }
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn an_event_of_a_newer_version_parks_the_tail_right_before_it(database: PgPool) {
    let (one, two) = (TestNode::start(&database).await, TestNode::start(&database).await);
    let last = write(&two, 1).await;
    soon(one.tail.reached(last)).await;
    one.stop().await;
    // As a newer node would: three events in one batch, the second of which this version does not know.
    sqlx::query(
        "insert into log.events (position, id, at, kind, subject, data, actor, depth, class)
        select n, gen_random_uuid(), now(), case n when 4 then 'kv.forgotten' else 'kv.deleted' end, 's',
            '{\"collection\":\"c\",\"key\":\"k\"}', '{\"kind\":\"system\"}', 0, 'data'
        from generate_series(3, 5) n",
    )
    .execute(&database)
    .await
    .unwrap();
    sqlx::query("select pg_notify('picloud', '5 somebody')").execute(&database).await.unwrap();
    is(&two, TailHealth::Parked).await;
    assert_eq!(two.tail.position(), Position(3), "what lies before it was told");
    let mut follow = two.tail.follow(Position::ZERO);
    assert_eq!(told(&mut follow, Position(3)).await, [1, 2, 3]);
    // Whoever reads on by itself comes as far, and is told why no further.
    assert!(two.reader.range(Position(3), Position(5), 10).await.is_err());

    sqlx::query("update log.events set kind = 'kv.deleted' where position = 4").execute(&database).await.unwrap();
    sqlx::query("select pg_notify('picloud', '5 somebody')").execute(&database).await.unwrap();
    assert_eq!(told(&mut follow, Position(5)).await, [4, 5]);
    is(&two, TailHealth::Listening).await;
    two.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn who_follows_hears_that_the_node_goes_away(database: PgPool) {
    let node = TestNode::start(&database).await;
    let last = write(&node, 2).await;
    let tail = node.tail.clone();
    let mut follow = tail.follow(Position::ZERO);
    assert_eq!(told(&mut follow, last).await, [1, 2, 3, 4]);
    let (end, ()) = soon(async { tokio::join!(follow.next(), node.stop()) }).await;
    assert!(matches!(end, Ok(None)), "{end:?}");
    assert!(matches!(soon(tail.follow(last).next()).await, Ok(None)), "also who comes too late");
}
