//! The database that state is made anew in: its time is the log's, it is alone, and it goes again.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use picloud_core::{
    event::{Actor, Event, app, kv},
    id::AppId,
    log::{
        NewEvent, Position, Recorded, alone,
        beside::{Beside, BesideError},
        jobs, no_longer_alone, outbox,
    },
};
use picloud_projections::{
    kv as entries,
    state::{RebuildError, rebuild},
};
use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use crate::{
    put_right::set,
    writer::{Writer, compared, differing},
};

fn expiring(key: &str, expires_at: DateTime<Utc>) -> Event {
    let value = RawValue::from_string("5".to_owned()).unwrap();
    kv::Set { collection: "carts".to_owned(), key: key.to_owned(), value, expires_at: Some(expires_at) }.into()
}

/// Databases that lie beside this one.
async fn left(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select d.datname::text from pg_database d, pg_database o
        where o.datname = current_database() and d.datname = 'picloud_replay_' || o.oid",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn time_is_what_the_events_say_there(pool: PgPool) {
    let app = AppId::generate();
    let then = DateTime::<Utc>::from_timestamp(1_500_000_000, 0).unwrap();
    let at = |seconds| then + TimeDelta::seconds(seconds);
    let increased = |key: &str| kv::Increased { collection: "carts".to_owned(), key: key.to_owned(), by: 1 };
    let log: Vec<Recorded> = [
        (0, expiring("early", at(10))),
        (0, expiring("late", at(1_000))),
        (5, expiring("kept", at(5_000))),
        // One has expired by then, the other has not.
        (20, increased("early").into()),
        (20, increased("late").into()),
        (21, expiring("swept", at(30))),
    ]
    .into_iter()
    .enumerate()
    .map(|(n, (seconds, event))| Recorded {
        position: Position(n as i64 + 1),
        at: at(seconds),
        event: Arc::new(NewEvent::new(Some(app), &Actor::SYSTEM, event)),
    })
    .collect();
    let mut beside = Beside::make(&pool).await.unwrap();
    beside.fold(&log[..2]).await.unwrap();
    beside.fold(&log[2..]).await.unwrap();
    assert_eq!(beside.position(), Position(6));
    let rows = async |beside: &Beside| -> Vec<(String, String, bool)> {
        sqlx::query_as("select key, value::text, expires_at is not null from state.kv order by key")
            .fetch_all(beside.pool())
            .await
            .unwrap()
    };
    let row = |key: &str, value: &str, expires| (key.to_owned(), value.to_owned(), expires);
    let all = [row("early", "1", false), row("kept", "5", true), row("late", "6", true), row("swept", "5", true)];
    assert_eq!(rows(&beside).await, all);
    // A sweep, by the same statements as the service's, takes what had expired by then, and not what has by now.
    beside.stands_at(at(120)).await.unwrap();
    entries::sweep(beside.pool()).await.unwrap();
    entries::sweep_deleted(beside.pool()).await.unwrap();
    outbox::sweep(beside.pool()).await.unwrap();
    jobs::sweep(beside.pool()).await.unwrap();
    assert_eq!(rows(&beside).await, all[..3]);
    beside.drop().await.unwrap();
    assert_eq!(left(&pool).await, [""; 0]);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_a_killed_replay_left_is_cleared_away(pool: PgPool) {
    let killed = Beside::make(&pool).await.unwrap();
    assert_eq!(left(&pool).await.len(), 1);
    assert_eq!(differing(&compared(&pool).await), [""; 0]);
    assert_eq!(left(&pool).await, [""; 0]);
    // Whoever still had it open was put out.
    sqlx::query("select 1").execute(killed.pool()).await.unwrap_err();
}

#[sqlx::test(migrations = "../migrations")]
async fn two_at_once_are_one_too_many(pool: PgPool) {
    let mut other = PgConnection::connect_with(&pool.connect_options()).await.unwrap();
    assert!(alone(&mut other, "replay").await.unwrap());
    let refused = rebuild(&pool, &[], false, |_| {}).await;
    assert!(matches!(refused, Err(RebuildError::UnderWay)), "{refused:?}");
    no_longer_alone(other).await.unwrap();
    assert_eq!(differing(&compared(&pool).await), [""; 0]);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_log_without_its_beginning_is_refused(pool: PgPool) {
    sqlx::query("update log.segments set classes = array_remove(classes, 'config') where low = 1")
        .execute(&pool)
        .await
        .unwrap();
    let refused = rebuild(&pool, &[], false, |_| {}).await;
    let Err(error @ RebuildError::Gone { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("events of class `config` up to position 1000000 are gone"), "{error}");
    assert_eq!(left(&pool).await, [""; 0]);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_database_of_another_version_is_refused(pool: PgPool) {
    sqlx::query("delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)")
        .execute(&pool)
        .await
        .unwrap();
    let refused = rebuild(&pool, &[], false, |_| {}).await;
    assert!(matches!(refused, Err(RebuildError::Beside(BesideError::OtherVersion { .. }))), "{refused:?}");
}

#[sqlx::test(migrations = "../migrations")]
async fn who_may_not_create_databases_is_told_what_to_grant(pool: PgPool) {
    let role = format!("poor_{}", AppId::generate().uuid().simple());
    let made = format!(
        "create role {role} login; grant usage on schema log, state to {role};
        grant select on all tables in schema log, state, public to {role}"
    );
    sqlx::raw_sql(AssertSqlSafe(made)).execute(&pool).await.unwrap();
    let poor = PgPool::connect_with((*pool.connect_options()).clone().username(&role)).await.unwrap();
    let refused = rebuild(&poor, &[], false, |_| {}).await;
    poor.close().await;
    sqlx::raw_sql(AssertSqlSafe(format!("drop owned by {role}; drop role {role}"))).execute(&pool).await.unwrap();
    let Err(error @ RebuildError::Beside(BesideError::MayNotCreate { .. })) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains(&format!("alter role \"{role}\" createdb")), "{error}");
}

#[sqlx::test(migrations = "../migrations")]
async fn what_cannot_be_folded_is_told_with_its_place(pool: PgPool) {
    let writer = Writer::start(&pool).await;
    let app = AppId::generate();
    writer.commit(Some(app), vec![app::Created { app, slug: "shop".to_owned() }.into()]).await.unwrap();
    writer.commit(Some(app), vec![set("a", "1")]).await.unwrap();
    let counted = kv::Increased { collection: "carts".to_owned(), key: "a".to_owned(), by: 1 };
    writer.commit(Some(app), vec![counted.into()]).await.unwrap();
    // Somebody has changed what was counted from there on.
    sqlx::query("update log.data_1 set data = replace(data::text, '\"value\":1', '\"value\":\"x\"')::json")
        .execute(&pool)
        .await
        .unwrap();
    let refused = rebuild(&pool, &[], false, |_| {}).await.map(drop).unwrap_err().to_string();
    let wanted = "the events from position 3 to 3 cannot be folded into state: what is increased is no integer";
    assert!(refused.starts_with(wanted), "{refused}");
    assert_eq!(left(&pool).await, [""; 0]);
    writer.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_outlived_its_app_is_in_nobodys_way(pool: PgPool) {
    let writer = Writer::start(&pool).await;
    let app = AppId::generate();
    writer.commit(Some(app), vec![app::Created { app, slug: "shop".to_owned() }.into()]).await.unwrap();
    writer.commit(Some(app), vec![set("a", "\"x\"")]).await.unwrap();
    writer.commit(Some(app), vec![app::Deleted { app, slug: "shop".to_owned() }.into()]).await.unwrap();
    entries::sweep_deleted(&pool).await.unwrap();
    // A run that was under way found nothing where a text had been.
    let counted = kv::Increased { collection: "carts".to_owned(), key: "a".to_owned(), by: 1 };
    writer.commit(Some(app), vec![counted.into()]).await.unwrap();
    assert_eq!(differing(&compared(&pool).await), [""; 0]);
    writer.stop().await;
}
