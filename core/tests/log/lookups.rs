//! What a commit costs does not hang on what there was before it.

use std::time::Duration;

use chrono::TimeDelta;
use picloud_core::{
    event::{kv, outbox::Cancelled},
    id::{AppId, OutboxId},
    log::{Authority, Commit, outbox},
};
use sqlx::{AssertSqlSafe, Connection as _, PgPool};
use tokio::time::sleep;

use super::outbox::{delivered, owed, rescheduled, turn};
use crate::support::{COLLECTION, TestNode, event, set};

/// More than a commit of a few events has to look at, and less than there was.
const FEW: i64 = 300;
const MANY: i32 = 20_000;

/// How many pages of indexes of tables with quick turnover were looked at, by anybody who has said so yet. (Entries would not
/// do: those that an index is walked past are not counted.)
async fn pages_read(database: &PgPool) -> i64 {
    let read = "select coalesce(sum(idx_blks_hit + idx_blks_read), 0)::bigint from pg_statio_user_indexes
        where (schemaname, relname) in
            (('state', 'outbox'), ('state', 'kv'), ('live', 'ready'), ('live', 'lease'), ('live', 'delayed'))";
    sqlx::query_scalar(read).fetch_one(database).await.unwrap()
}

/// Owes so many items, takes them as a worker would, and ends them in every way; and writes and deletes as many entries.
async fn turn_over(node: &TestNode, app: AppId, many: usize) {
    let items: Vec<OutboxId> = (0..many).map(|_| OutboxId::generate()).collect();
    node.commit(items.iter().map(|item| event(app, owed(*item))).collect()).await.unwrap();
    let claimed = outbox::claim(&node.pool, node.epoch(), &[turn(app, i64::MIN)], many).await.unwrap();
    assert_eq!(claimed.len(), many);
    let authority = Authority { lease: Some(items[0]), ..node.node.authority() };
    node.committer.commit(Commit::new(authority, vec![delivered(app, items[0])])).await.unwrap();
    node.commit(vec![rescheduled(app, items[1], TimeDelta::hours(1))]).await.unwrap();
    node.commit(items[1..].iter().map(|item| event(app, Cancelled { item: *item })).collect()).await.unwrap();
    let keys: Vec<String> = (0..many).map(|key| key.to_string()).collect();
    node.commit(keys.iter().map(|key| set(app, key, "1")).collect()).await.unwrap();
    let deleted = |key: &String| event(app, kv::Deleted { collection: COLLECTION.to_owned(), key: key.clone() });
    node.commit(keys.iter().map(deleted).collect()).await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn what_died_under_a_held_snapshot_is_not_read_again_and_again(database: PgPool) {
    let app = AppId::generate();
    let mut reader = database.acquire().await.unwrap().detach();
    sqlx::raw_sql("begin isolation level repeatable read; select 1").execute(&mut reader).await.unwrap();
    // A session of its own: at its end it has said all that it read.
    let mut before = database.acquire().await.unwrap().detach();
    for row in [
        "state.outbox (id, app_id, priority, due_at, is_watched, gate, position)
            select gen_random_uuid(), $1, 0, now(), false, $1, n",
        "state.kv (app_id, collection, key, value, position) select $1, 'things', 'k' || n, '1', n",
        "live.ready (item, app_id, gate, rank) select gen_random_uuid(), $1, $1, n",
        "live.lease (item, epoch) select gen_random_uuid(), $1",
        "live.delayed (item, app_id, gate, priority, due_at) select gen_random_uuid(), $1, $1, 0, now()",
    ] {
        let insert = format!("insert into {row} from generate_series(1, $2::int) n where $1::uuid is not null");
        sqlx::query(AssertSqlSafe(insert)).bind(app.uuid()).bind(MANY).execute(&mut before).await.unwrap();
        let table = row.split(' ').next().unwrap();
        sqlx::query(AssertSqlSafe(format!("delete from {table}"))).execute(&mut before).await.unwrap();
    }
    // Nothing is left alive: plans that are made now are made for tables that are as good as empty.
    sqlx::raw_sql("analyze").execute(&mut before).await.unwrap();
    before.close().await.unwrap();

    let node = TestNode::start(&database).await;
    let read = pages_read(&database).await;
    turn_over(&node, app, 3).await;
    // A session says what it has read a second later at the soonest, with what it does then.
    sleep(Duration::from_millis(1_100)).await;
    turn_over(&node, app, 3).await;
    let mut now = read;
    for _ in 0..50 {
        now = pages_read(&database).await;
        if now > read {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert!(now > read, "nothing was told of the commits");
    assert!(now - read < FEW, "a few items took {} pages of indexes", now - read);
    node.stop().await;
    reader.close().await.unwrap();
}
