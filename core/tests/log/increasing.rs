//! Increasing numbers: what can be, what cannot, and who is to blame.

use picloud_core::{id::AppId, log::Commit};
use sqlx::PgPool;

use super::append::{NOT_A_NUMBER, STALE, together};
use crate::support::{TestNode, delete, increase, saw, set, set_for, stored, value};

#[sqlx::test(migrations = "../migrations")]
async fn a_number_is_increased_whatever_it_was(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    node.commit(vec![increase(app, "absent", 5)]).await.unwrap();
    assert_eq!(stored(&database, app, "absent").await, Some(("5".to_owned(), 1, false)));
    node.commit(vec![increase(app, "absent", -7)]).await.unwrap();
    assert_eq!(stored(&database, app, "absent").await, Some(("-2".to_owned(), 2, false)));

    node.commit(vec![set_for(app, "living", "10", 500), set_for(app, "expired", "10", -5)]).await.unwrap();
    node.commit(vec![increase(app, "living", 1), increase(app, "expired", 1)]).await.unwrap();
    assert_eq!(stored(&database, app, "living").await, Some(("11".to_owned(), 5, true)), "its expiry stays");
    assert_eq!(stored(&database, app, "expired").await, Some(("1".to_owned(), 6, false)), "it begins anew");

    node.commit(vec![set_for(app, "word", r#""ten""#, -5)]).await.unwrap();
    node.commit(vec![increase(app, "word", 3)]).await.unwrap();
    assert_eq!(value(&database, app, "word").await.as_deref(), Some("3"), "what has expired is no word any more");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn several_writes_of_a_key_in_one_commit_are_as_one_after_the_other(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    node.commit(vec![set(app, "c", "100"), set(app, "d", "1"), set(app, "e", "1")]).await.unwrap();
    node.commit(vec![
        set(app, "a", "1"),
        increase(app, "a", 2),
        set_for(app, "b", "1", -5),
        increase(app, "b", 2),
        increase(app, "b", 3),
        increase(app, "c", 1),
        increase(app, "c", 1),
        delete(app, "d"),
        increase(app, "d", 4),
        increase(app, "e", 1),
        delete(app, "e"),
        set_for(app, "f", "1", 500),
        increase(app, "f", 1),
    ])
    .await
    .unwrap();
    assert_eq!(stored(&database, app, "a").await, Some(("3".to_owned(), 5, false)));
    assert_eq!(
        stored(&database, app, "b").await,
        Some(("5".to_owned(), 8, false)),
        "had expired before it was increased"
    );
    assert_eq!(stored(&database, app, "c").await, Some(("102".to_owned(), 10, false)));
    assert_eq!(stored(&database, app, "d").await, Some(("4".to_owned(), 12, false)));
    assert_eq!(stored(&database, app, "e").await, None);
    assert_eq!(stored(&database, app, "f").await, Some(("2".to_owned(), 16, true)));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_no_integer_cannot_be_increased(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    for json in [
        r#""1""#,
        "1.5",
        "1e3",
        "true",
        "null",
        "[1]",
        "9223372036854775808",
        "9999999999999999999",
        "99999999999999999999",
    ] {
        node.commit(vec![set(app, "a", json)]).await.unwrap();
        for by in [1, i64::MIN] {
            let refused = node.commit(vec![increase(app, "a", by), set(app, "x", "1")]).await;
            assert_eq!(refused, NOT_A_NUMBER, "{json} {by}");
        }
        let refused = node.commit(vec![set(app, "b", json), increase(app, "b", 1)]).await;
        assert_eq!(refused, NOT_A_NUMBER, "{json} in one commit");
        // Nor may it be hidden by writing over it at once.
        assert_eq!(node.commit(vec![increase(app, "a", 1), set(app, "a", "1")]).await, NOT_A_NUMBER, "{json}");
        assert_eq!(node.commit(vec![increase(app, "a", 1), delete(app, "a")]).await, NOT_A_NUMBER, "{json}");
        assert_eq!(value(&database, app, "a").await.as_deref(), Some(json));
    }
    assert_eq!(value(&database, app, "x").await, None);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_sum_past_the_range_of_an_integer_is_refused_also_on_the_way(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    node.commit(vec![set(app, "a", "9223372036854775800"), set(app, "b", "-9223372036854775800")]).await.unwrap();
    assert_eq!(node.commit(vec![increase(app, "a", 8)]).await, NOT_A_NUMBER);
    assert_eq!(node.commit(vec![increase(app, "b", -9)]).await, NOT_A_NUMBER);
    assert_eq!(node.commit(vec![increase(app, "a", 8), increase(app, "a", -8)]).await, NOT_A_NUMBER);
    node.commit(vec![increase(app, "a", 7), increase(app, "b", -8)]).await.unwrap();
    assert_eq!(value(&database, app, "a").await, Some(i64::MAX.to_string()));
    assert_eq!(value(&database, app, "b").await, Some(i64::MIN.to_string()));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn in_one_batch_only_who_increases_the_wrong_thing_is_refused(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    node.commit(vec![set(app, "word", r#""x""#), set(app, "high", "9223372036854775800")]).await.unwrap();
    let commit = |events| node.committing(events);
    let answers = together(
        &node,
        &database,
        vec![
            commit(vec![increase(app, "fine", 1)]),
            commit(vec![increase(app, "word", 1), set(app, "x", "1")]),
            commit(vec![increase(app, "word", 2), set(app, "x", "1")]),
            commit(vec![increase(app, "high", 10)]),
            commit(vec![increase(app, "high", -20)]),
            commit(vec![increase(app, "high", 5)]),
            // Written over in this very batch: then it is a number for whoever comes later.
            commit(vec![set(app, "word", "7")]),
            commit(vec![increase(app, "word", 1)]),
            commit(vec![set(app, "number", r#""no""#)]),
            commit(vec![increase(app, "number", 1)]),
            commit(vec![increase(app, "fine", 1)]),
        ],
    )
    .await;
    let made: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(made, [true, false, false, false, true, true, true, true, true, false, true], "{answers:?}");
    assert!(answers.into_iter().filter(Result::is_err).all(|refused| refused == NOT_A_NUMBER));
    assert_eq!(value(&database, app, "high").await.as_deref(), Some("9223372036854775785"));
    assert_eq!(value(&database, app, "word").await.as_deref(), Some("8"));
    assert_eq!(value(&database, app, "fine").await.as_deref(), Some("2"));
    assert_eq!(value(&database, app, "x").await, None);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn who_follows_one_that_is_refused_is_judged_by_what_is_really_there(database: PgPool) {
    let node = TestNode::start(&database).await;
    let app = AppId::generate();
    let seen = node.commit(vec![set(app, "seen", "1"), set(app, "number", "5")]).await.unwrap().first;
    // Written behind the committer's back, so that only the database can find the first commit stale.
    sqlx::query("update state.kv set position = 0 where key = 'seen'").execute(&database).await.unwrap();
    let stale = Commit { reads: vec![saw(app, "seen", seen)], ..node.committing(vec![set(app, "number", r#""no""#)]) };
    let answers = together(&node, &database, vec![stale, node.committing(vec![increase(app, "number", 1)])]).await;
    assert_eq!(answers[0], STALE);
    assert!(answers[1].is_ok(), "{answers:?}");
    assert_eq!(value(&database, app, "number").await.as_deref(), Some("6"));
    node.stop().await;
}
