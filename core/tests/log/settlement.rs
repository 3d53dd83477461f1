//! A connection that is lost while committing: what was acknowledged is there once, what was refused is not.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use picloud_core::{
    id::{AppId, EventId},
    log::{CommitError, Committed, CommitterConfig, Position},
};
use sqlx::PgPool;

use crate::support::{
    TestNode, created, hold_log, increase, lossy::Lossy, set, somebody_waits_for_the_log, soon, value,
};

/// Ends the committer's connection, whatever it is doing; whether there was one.
async fn kill_committer(database: &PgPool) -> bool {
    sqlx::query_scalar::<_, bool>(
        "select coalesce(bool_or(pg_terminate_backend(pid)), false) from pg_stat_activity
        where datname = current_database() and query like '%log.commit_batch%' and pid <> pg_backend_pid()",
    )
    .fetch_one(database)
    .await
    .unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn whatever_is_killed_acknowledged_is_there_once_and_refused_is_not(database: PgPool) {
    const KILLS: usize = 60;
    const WRITERS: usize = 8;
    let nodes = [TestNode::start(&database).await, TestNode::start(&database).await];
    let app = AppId::generate();
    let done = AtomicBool::new(false);
    let made_since = AtomicUsize::new(0);

    let writers = (0..WRITERS).map(|writer| {
        let (done, made_since, node) = (&done, &made_since, &nodes[writer % 2]);
        async move {
            let mut answers: Vec<(EventId, Result<Committed, CommitError>)> = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let events = vec![increase(app, "n", 1), set(app, &format!("w{writer}"), &answers.len().to_string())];
                let id = events[0].id;
                let answer = node.commit(events).await;
                if answer.is_ok() {
                    made_since.fetch_add(1, Ordering::Relaxed);
                }
                answers.push((id, answer));
            }
            answers
        }
    });
    let killer = async {
        let mut kills = 0;
        while kills < KILLS {
            // Not before something was made since the last one, so that killing never keeps all from being made.
            if made_since.load(Ordering::Relaxed) > 0 && kill_committer(&database).await {
                made_since.store(0, Ordering::Relaxed);
                kills += 1;
            }
            tokio::task::yield_now().await;
        }
        done.store(true, Ordering::Relaxed);
    };
    let (answers, ()) = tokio::time::timeout(Duration::from_secs(60), async {
        tokio::join!(futures::future::join_all(writers), killer)
    })
    .await
    .expect("it ends");

    let log = nodes[0].log().await;
    let positions: Vec<i64> = log.iter().map(|event| event.position.0).collect();
    assert_eq!(positions, (1..=log.len() as i64).collect::<Vec<_>>(), "without gap or duplicate");
    let ids: HashSet<EventId> = log.iter().map(|event| event.event.id).collect();
    assert_eq!(ids.len(), log.len(), "nothing twice");
    let places: HashMap<EventId, i64> = log.iter().map(|event| (event.event.id, event.position.0)).collect();

    let mut made = 0;
    let mut refused = 0;
    for (id, answer) in answers.into_iter().flatten() {
        match answer {
            Ok(committed) => {
                assert_eq!(places.get(&id), Some(&committed.first.0), "acknowledged, and not where it was said to be");
                made += 1;
            }
            Err(CommitError::Unavailable) => {
                assert_eq!(places.get(&id), None, "refused, and made all the same");
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(log.len(), 2 * made);
    assert_eq!(value(&database, app, "n").await, Some(made.to_string()), "state says what the log says");
    assert!(refused > 0, "no kill hit a commit under way: the test shows nothing");
    for node in nodes {
        node.stop().await;
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_commit_whose_connection_is_lost_before_it_had_the_log_was_not_made(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    node.commit(vec![set(app, "a", "0")]).await.unwrap();
    let held = hold_log(&database).await;
    let lost = async {
        somebody_waits_for_the_log(&database).await;
        assert!(kill_committer(&database).await);
        held.release().await;
    };
    let (answer, ()) = soon(async { tokio::join!(node.commit(vec![set(app, "a", "1")]), lost) }).await;
    assert_eq!(answer, Err(CommitError::Unavailable));
    assert_eq!(value(&database, app, "a").await.as_deref(), Some("0"));
    node.commit(vec![set(app, "a", "2")]).await.unwrap();
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn an_outcome_that_cannot_be_found_out_in_time_is_said_to_be_unknown(database: PgPool) {
    let config = CommitterConfig { settle_for: Duration::from_millis(100), ..CommitterConfig::default() };
    let node = TestNode::with(&database, config).await;
    let app = AppId::generate();
    node.commit(vec![set(app, "a", "0")]).await.unwrap();
    // Whoever wants to know has to wait for the log, and it is held for longer than that.
    let held = hold_log(&database).await;
    let lost = async {
        somebody_waits_for_the_log(&database).await;
        assert!(kill_committer(&database).await);
    };
    let (answer, ()) = soon(async { tokio::join!(node.commit(vec![set(app, "a", "1")]), lost) }).await;
    assert_eq!(answer, Err(CommitError::Unknown));
    held.release().await;
    node.commit(vec![set(app, "a", "2")]).await.unwrap();
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_commit_whose_answer_was_lost_is_found_and_acknowledged(database: PgPool) {
    let lossy = Lossy::before(&database.connect_options()).await;
    let node = TestNode::committing_through(&database, lossy.options(), CommitterConfig::default()).await;
    let app = AppId::generate();
    let mut follow = node.tail.follow(Position::ZERO);
    for n in 0..5 {
        // So that the statement is prepared on the connection that is to be lost, and one answer is all there is.
        node.commit(vec![increase(app, "n", 1)]).await.unwrap();
        lossy.lose_answer(1);
        let made = node.commit(vec![increase(app, "n", 1), increase(app, "m", 1)]).await.unwrap();
        assert!(lossy.has_lost());
        assert_eq!((made.first.0, made.last.0), (3 * n + 2, 3 * n + 3));
    }
    assert_eq!(value(&database, app, "n").await.as_deref(), Some("10"));
    assert_eq!(node.log().await.len(), 15);
    // Whoever follows hears of them as of any other.
    let mut told = 0;
    while told < 15 {
        told += soon(follow.next()).await.unwrap().unwrap().len();
    }
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn wherever_configuring_loses_its_connection_it_was_made_or_it_was_not(database: PgPool) {
    let lossy = Lossy::before(&database.connect_options()).await;
    let node = TestNode::committing_through(&database, lossy.options(), CommitterConfig::default()).await;
    let (mut made, mut refused) = (Vec::new(), Vec::new());
    let mut n = 0;
    loop {
        let app = AppId::generate();
        // So that the statements are prepared on the connection that is to be lost.
        node.commit(vec![created(app, &format!("before{n}"))]).await.unwrap();
        n += 1;
        lossy.lose_answer(n);
        let slug = format!("app{n}");
        match node.commit(vec![created(AppId::generate(), &slug)]).await {
            Ok(_) => made.push(slug),
            Err(CommitError::Unavailable) => refused.push(slug),
            Err(error) => panic!("{error}"),
        }
        if !lossy.has_lost() {
            break;
        }
    }
    // One answer for each: begin, append, insert, commit.
    assert_eq!(refused, ["app1", "app2", "app3"]);
    assert_eq!(made, ["app4", "app5"]);
    let slugs: Vec<String> = sqlx::query_scalar("select slug from state.app where slug like 'app%' order by slug")
        .fetch_all(&database)
        .await
        .unwrap();
    assert_eq!(slugs, made);
    let head = node.reader.head().await.unwrap();
    assert_eq!(node.log().await.len() as i64, head.0);
    lossy.lose_answer(0);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_database_that_has_lost_what_it_acknowledged_gets_nothing_more_from_who_knows_better(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    node.commit(vec![set(app, "a", "1")]).await.unwrap();
    node.commit(vec![set(app, "b", "1")]).await.unwrap();
    // As after a failover to a replica that had not received the last commit.
    sqlx::query("delete from log.events where position = 2").execute(&database).await.unwrap();
    assert!(kill_committer(&database).await);
    assert_eq!(node.commit(vec![set(app, "c", "1")]).await, Err(CommitError::Revoked));
    assert_eq!(node.commit(vec![set(app, "d", "1")]).await, Err(CommitError::Revoked));
    assert!(node.committer.is_revoked());
    node.stop().await;

    let next = TestNode::start(&database).await;
    let made = next.commit(vec![set(app, "e", "1")]).await.unwrap();
    assert_eq!(made.first, Position(2), "who starts anew goes on where the database is");
    next.stop().await;
}
