//! What a database of an earlier version holds, after the migrations since.

use picloud_core::{
    event::outbox::Enqueued,
    id::{AppId, NodeEpoch},
    log::outbox,
};
use sqlx::PgPool;
use uuid::Uuid;

use super::outbox::{delivered, finish, ids, owed, script, turn};
use crate::support::{TestNode, event};

#[sqlx::test(migrations = false)]
async fn what_was_owed_before_an_upgrade_is_still_and_older_nodes_may_not_write(database: PgPool) {
    let all = || sqlx::migrate!("../migrations").migrations.into_owned();
    let older = all().into_iter().filter(|migration| migration.version < 12).collect();
    sqlx::migrate::Migrator::with_migrations(older).run(&database).await.unwrap();
    let (app, [pending, ended]) = (AppId::generate(), ids());
    let epoch = NodeEpoch::generate();
    sqlx::query("insert into live.nodes (epoch, name, version) values ($1, 'old', '0')")
        .bind(epoch.uuid())
        .execute(&database)
        .await
        .unwrap();
    // As its committer left them: each item with a copy of what its event says.
    for (position, item, is_over) in [(1_i64, pending, false), (2, ended, true)] {
        let new = event(app, Enqueued { is_watched: true, ..owed(item) });
        sqlx::query(
            "with event as (
                insert into log.events (position, id, at, app_id, kind, subject, data, actor, depth, class)
                values ($1, $2, now(), $3, 'outbox.enqueued', $4, $5::json, $6::json, 2, 'run')
            ), waits as (
                insert into live.ready (item, app_id, gate, rank) select $7, $3, $8, $1 where not $9
            )
            insert into state.outbox (id, app_id, event, data, actor, depth, enqueued_at, priority, due_at, is_watched,
                ended_at, outcome, gate, position)
            values ($7, $3, $2, $5::json, $6::json, 2, now(), 0, now(), true,
                case when $9 then now() end, case when $9 then 'delivered' end, $8, $1)",
        )
        .bind(position)
        .bind(new.id.uuid())
        .bind(app.uuid())
        .bind(&new.subject)
        .bind(&new.data)
        .bind(&*new.actor_json)
        .bind(item.uuid())
        .bind(script().uuid())
        .bind(is_over)
        .execute(&database)
        .await
        .unwrap();
    }

    sqlx::migrate::Migrator::with_migrations(all()).run(&database).await.unwrap();
    let is_revoked = sqlx::query_scalar::<_, bool>("select revoked_at is not null from live.nodes where epoch = $1");
    assert!(is_revoked.bind(epoch.uuid()).fetch_one(&database).await.unwrap());
    let over = sqlx::query_as::<_, (Uuid, String)>("select id, outcome from state.outbox_ended");
    assert_eq!(over.fetch_all(&database).await.unwrap(), [(ended.uuid(), "delivered".to_owned())]);
    let node = TestNode::start(&database).await;
    let claimed = outbox::claim(&node.pool, node.epoch(), &[turn(app, i64::MIN)], 10).await.unwrap();
    let [claimed] = &claimed[..] else { panic!("{claimed:?}") };
    assert_eq!((claimed.item.enqueued.item, claimed.item.depth), (pending, 2));
    finish(&node, pending, vec![delivered(app, pending)]).await.unwrap();
    node.stop().await;
}
