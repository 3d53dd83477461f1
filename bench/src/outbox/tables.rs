//! What the outbox's tables weigh, and how much of that is dead.

use serde::Serialize;
use sqlx::PgPool;

#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct Table {
    pub name: String,
    pub live_rows: i64,
    pub dead_rows: i64,
    pub table_bytes: i64,
    pub index_bytes: i64,
    pub vacuums: i64,
}

/// As PostgreSQL's statistics have them, a second late at most.
pub async fn all(pool: &PgPool) -> anyhow::Result<Vec<Table>> {
    let tables = sqlx::query_as(
        "select schemaname || '.' || relname as name, n_live_tup as live_rows, n_dead_tup as dead_rows,
            pg_table_size(relid) as table_bytes, pg_indexes_size(relid) as index_bytes,
            vacuum_count + autovacuum_count as vacuums
        from pg_stat_user_tables
        where schemaname || '.' || relname in ('state.outbox', 'state.outbox_ended', 'live.ready', 'live.lease', 'live.delayed')
        order by 1",
    );
    Ok(tables.fetch_all(pool).await?)
}
