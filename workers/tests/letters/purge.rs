//! Letters that were closed long ago go, and what they held with them.

use picloud_core::{
    event::{
        Actor, Event,
        dead_letter::{Closing, Replayed, Resolved},
    },
    id::{DeadLetterId, OutboxId},
    log::NewEvent,
};
use picloud_projections::dead_letters::{self, Filter};
use picloud_workers::letters::purge;
use sqlx::PgPool;

use crate::support::{Cluster, TestNode};

/// Moves the decision about a letter into the past.
async fn decided_days_ago(node: &TestNode, letter: DeadLetterId, days: i32) {
    sqlx::query!(
        "update state.dead_letter set resolved_at = now() - make_interval(days => $2) where id = $1",
        letter.uuid(),
        days
    )
    .execute(&node.pool)
    .await
    .unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn a_letter_that_was_closed_thirty_days_ago_goes_and_nobody_can_read_what_it_held(database: PgPool) {
    let node = Cluster::new(&database).node().await;
    let app = node.app("shop").await;
    let ids = node.letters(app, 6).await;
    let [old, replayed, young, open, handler_failed, _] = ids[..] else { unreachable!("six were made") };
    let resolved = |dead_letter| Resolved { dead_letter, resolution: Closing::Ignored, reason: None, job: None };
    let again =
        Replayed { dead_letter: replayed, item: OutboxId::generate(), is_edited: false, version: None, job: None };
    let decisions = [resolved(old).into(), again.into(), resolved(young).into()];
    let by = |event: Event| NewEvent::new(Some(app), &Actor::SYSTEM, event);
    node.commit(decisions.into_iter().map(by).collect()).await;
    sqlx::query!("update state.dead_letter set resolution = 'handler_failed' where id = $1", handler_failed.uuid())
        .execute(&node.pool)
        .await
        .expect_err("a resolution has its time");
    sqlx::query!(
        "update state.dead_letter set resolution = 'handler_failed', resolved_at = now() where id = $1",
        handler_failed.uuid()
    )
    .execute(&node.pool)
    .await
    .unwrap();
    for (letter, days) in [(old, 31), (replayed, 31), (young, 29), (handler_failed, 400)] {
        decided_days_ago(&node, letter, days).await;
    }
    let before = dead_letters::of(&node.pool, app, &[old, young]).await.unwrap();
    let held = dead_letters::payloads(&node.keyring, app, &before.iter().collect::<Vec<_>>()).await.unwrap();
    assert!(held.iter().all(Result::is_ok), "{held:?}");

    assert_eq!(purge(&node.pool, &node.committer, &node.node, &node.keyring).await.unwrap(), 2);
    let left = dead_letters::of(&node.pool, app, &ids).await.unwrap();
    let left: Vec<_> = left.iter().rev().map(|letter| letter.created.dead_letter).collect();
    assert_eq!(left, [young, open, handler_failed, ids[5]]);
    // The event that made it a letter is there for ever; its key is not.
    let held = dead_letters::payloads(&node.keyring, app, &before.iter().collect::<Vec<_>>()).await.unwrap();
    for (letter, held) in before.iter().zip(&held) {
        assert_eq!(held.is_ok(), letter.created.dead_letter == young, "{held:?}");
    }
    let log = node.log().await;
    let purged = log.iter().filter(|event| event.event.event.kind() == "dead_letter.purged");
    let mut subjects: Vec<_> = purged.map(|event| event.event.subject.clone()).collect();
    subjects.sort();
    assert_eq!(subjects, [old.to_string(), replayed.to_string()]);
    let closed = Filter { resolution: Some("ignored".to_owned()), ..Filter::default() };
    assert_eq!(dead_letters::counted(&node.pool, app, &closed).await.unwrap(), Some(1));

    assert_eq!(purge(&node.pool, &node.committer, &node.node, &node.keyring).await.unwrap(), 0, "once");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn many_go_in_batches_whosever_they_are(database: PgPool) {
    let node = Cluster::new(&database).node().await;
    for slug in ["shop", "other"] {
        let app = node.app(slug).await;
        let ids = node.letters(app, 130).await;
        let resolved = ids
            .iter()
            .map(|id| Resolved { dead_letter: *id, resolution: Closing::Ignored, reason: None, job: None })
            .map(|event| NewEvent::new(Some(app), &Actor::SYSTEM, event));
        node.commit(resolved.collect()).await;
    }
    sqlx::query!("update state.dead_letter set resolved_at = now() - interval '31 days'")
        .execute(&node.pool)
        .await
        .unwrap();
    assert_eq!(purge(&node.pool, &node.committer, &node.node, &node.keyring).await.unwrap(), 260);
    let keys = sqlx::query_scalar!(r#"select count(*) as "n!" from live.secret_material where kind = 'letter_key'"#);
    assert_eq!(keys.fetch_one(&node.pool).await.unwrap(), 0);
    let counted =
        sqlx::query_scalar!(r#"select coalesce(sum(letters), 0)::bigint as "n!" from state.dead_letter_count"#);
    assert_eq!(counted.fetch_one(&node.pool).await.unwrap(), 0);
    node.stop().await;
}
