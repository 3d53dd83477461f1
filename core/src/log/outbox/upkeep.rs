//! Keeping the tables of the outbox small, and whole.

use sqlx::{PgExecutor, PgPool};

/// Forgets what is over: outcomes that nobody can ask for any more, leases and turns of items that are gone.
///
/// # Errors
/// When the database cannot be asked.
pub async fn sweep(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from state.outbox_ended where ended_at < now() - interval '1 day'").execute(pool).await?;
    sqlx::query!("delete from live.status_token where expires_at < now()").execute(pool).await?;
    // What a deleted app left behind, and what was claimed while it was cancelled.
    sqlx::query!("delete from state.outbox o using state.deleted_app d where d.id = o.app_id").execute(pool).await?;
    sqlx::query!("delete from state.outbox_ended o using state.deleted_app d where d.id = o.app_id")
        .execute(pool)
        .await?;
    sqlx::query!("delete from live.lease l where not exists (select from state.outbox o where o.id = l.item)")
        .execute(pool)
        .await?;
    sqlx::query!("delete from live.delayed d using state.deleted_app a where a.id = d.app_id").execute(pool).await?;
    sqlx::query!("delete from state.dead_letter l using state.deleted_app a where a.id = l.app_id")
        .execute(pool)
        .await?;
    sqlx::query!("delete from live.ready r using state.deleted_app a where a.id = r.app_id").execute(pool).await?;
    Ok(())
}

/// Lets items run again that nothing says may: what says it was lost, and follows from what is pending. Returns how many.
///
/// # Errors
/// When the database cannot be asked.
pub async fn recover(database: impl PgExecutor<'_>) -> Result<u64, sqlx::Error> {
    // One statement and so one moment: whoever takes an item from one of the three puts it into another, or ends it, in one.
    let found = sqlx::query!(
        "with lost as (
            select o.id, o.app_id, o.gate, o.priority, o.due_at
            from state.outbox o
            where not exists (select from live.ready r where r.item = o.id)
                and not exists (select from live.delayed d where d.item = o.id)
                and not exists (select from live.lease l where l.item = o.id)
                and (o.lane is null or not exists (
                    select from state.outbox b
                    where b.app_id = o.app_id and b.lane = o.lane and b.position < o.position
                ))
            order by o.position
        ), later as (
            insert into live.delayed (item, app_id, gate, priority, due_at)
            select l.id, l.app_id, l.gate, l.priority, l.due_at from lost l where l.due_at > clock_timestamp()
            on conflict do nothing
            returning item
        ), now as (
            insert into live.ready (item, app_id, gate, rank)
            select l.id, l.app_id, l.gate, live.next_rank(l.priority) from lost l where l.due_at <= clock_timestamp()
            on conflict do nothing
            returning item
        )
        select item from later union all select item from now"
    )
    .fetch_all(database)
    .await?;
    Ok(found.len() as u64)
}

/// Cleans up behind so many items: autovacuum comes once a minute, and by then claims would walk past all of them.
const DEAD_ROWS: i64 = 100_000;

/// Cleans up tables that many rows were deleted from.
///
/// # Errors
/// When the database cannot be asked.
pub async fn vacuum(pool: &PgPool) -> Result<(), sqlx::Error> {
    let tables = sqlx::query_scalar!(
        r#"select format('%I.%I', schemaname, relname) as "table!" from pg_stat_user_tables
        -- What a long reader keeps from being cleaned up is not tried again and again.
        where n_dead_tup > $1 and n_ins_since_vacuum > greatest($1, n_dead_tup / 2)
            and (schemaname, relname) in (('state', 'outbox'), ('live', 'ready'), ('live', 'delayed'), ('live', 'lease'))"#,
        DEAD_ROWS
    )
    .fetch_all(pool)
    .await?;
    for table in tables {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("vacuum {table}"))).execute(pool).await?;
    }
    Ok(())
}
