//! The database that state is made anew in: made, prepared, dropped.
//!
//! It is named after the database that it lies beside, by its number, which no other of the cluster has: what a killed replay
//! left is known by its name. Nothing in it outlives a crash, nothing is written to the WAL that can be left out.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, postgres::PgPoolOptions};

use super::BesideError;
use crate::log::{backup, schema};

/// What its name begins with.
const PREFIX: &str = "picloud_replay_";

/// One folds, the others compare.
const POOL_SIZE: u32 = 4;

/// Of connections to it. The plans are the committer's; time is the log's, by functions that are found before the server's own.
const SESSION: [(&str, &str); 10] = [
    ("search_path", "log_time,pg_catalog,public"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    ("synchronous_commit", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
];

/// What time it is in there. The committer's function takes the later of the clock and the last event's time: where the clock
/// stands before all time, it is the time that it is told.
const LOG_TIME: &str = "
create schema log_time;
create table log_time.moment (at timestamptz not null);
insert into log_time.moment (at) values ('-infinity');
create function log_time.clock_timestamp() returns timestamptz language sql immutable
    return '-infinity'::timestamptz;
create function log_time.now() returns timestamptz language sql stable
    return (select at from log_time.moment);
create function log_time.nothing() returns trigger language plpgsql as $$
begin
    return null;
end
$$;
";

/// Creates one beside a database, in the place of what is left over; returns its name.
pub(super) async fn create(live: &PgPool) -> Result<String, BesideError> {
    let found: Option<i64> = sqlx::query_scalar("select max(version) from _sqlx_migrations").fetch_one(live).await?;
    let (found, known) = (found.unwrap_or_default(), schema::version());
    if found != known {
        return Err(BesideError::OtherVersion { found, known });
    }
    // Those of databases that are gone are nobody's.
    let left: Vec<String> = sqlx::query_scalar(
        "select datname::text from pg_database
        where datname like replace($1, '_', '\\_') || '%'
            and not exists (
                select from pg_database o
                where o.oid::text = substr(pg_database.datname, length($1) + 1) and o.datname <> current_database()
            )",
    )
    .bind(PREFIX)
    .fetch_all(live)
    .await?;
    let (oid, encoding, collate, ctype, role): (i64, String, String, String, String) = sqlx::query_as(
        "select oid::bigint, pg_encoding_to_char(encoding)::text, datcollate::text, datctype::text, current_user::text
        from pg_database where datname = current_database()",
    )
    .fetch_one(live)
    .await?;
    let name = format!("{PREFIX}{oid}");
    for left in left {
        let dropped = drop(live, &left).await;
        if left == name {
            dropped?;
        }
    }
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let sql = format!(
        "create database {name} template template0 encoding {} lc_collate {} lc_ctype {}",
        quoted(&encoding),
        quoted(&collate),
        quoted(&ctype)
    );
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(live).await {
        Ok(_) => Ok(name),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42501") => {
            Err(BesideError::MayNotCreate { role })
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes the tables in it, as the migrations leave them, and connections to it.
pub(super) async fn prepare(live: &PgPool, name: &str) -> Result<PgPool, BesideError> {
    let options = live.connect_options().as_ref().clone().database(name);
    let plain = PgPoolOptions::new().max_connections(1).connect_with(options.clone()).await;
    let plain = plain.map_err(|source| BesideError::NotReached { name: name.to_owned(), source })?;
    schema::migrate(&plain).await?;
    let mut connection = plain.acquire().await?;
    sqlx::raw_sql(LOG_TIME).execute(&mut *connection).await?;
    keep_nothing_live(&mut connection).await?;
    write_no_wal(&mut connection).await?;
    std::mem::drop(connection);
    plain.close().await;
    let pool = PgPoolOptions::new().max_connections(POOL_SIZE).idle_timeout(None).max_lifetime(None);
    Ok(pool.connect_lazy_with(options.options(SESSION)))
}

/// What is never folded is not collected either: nobody would take it out again.
async fn keep_nothing_live(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let tables: Vec<String> =
        sqlx::query_scalar("select tablename::text from pg_tables where schemaname = 'live' and tablename <> 'nodes'")
            .fetch_all(&mut *connection)
            .await?;
    for table in tables {
        let sql = format!(
            "create trigger nothing before insert on live.{table} for each row execute function log_time.nothing()"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Tables that others refer to come after these: what is kept may not refer to what is not.
async fn write_no_wal(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    for table in backup::state_tables(&mut *connection).await?.into_iter().rev() {
        let sql = format!("alter table state.{table} set unlogged");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await?;
    }
    Ok(())
}

pub(super) async fn stands_at(connection: &mut PgConnection, at: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query("update log_time.moment set at = $1").bind(at).execute(connection).await?;
    Ok(())
}

/// Drops one, whoever is still connected to it.
pub(super) async fn drop(live: &PgPool, name: &str) -> Result<(), sqlx::Error> {
    let sql = format!("drop database if exists {name} with (force)");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(live).await?;
    Ok(())
}
