//! Drops the tables of events that are none of the log's any more.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::event::Class;

/// A table of events that no segment has.
struct Gone {
    class: String,
    low: i64,
    /// Of which table it is a partition, if still of one;
    is_attached: bool,
    /// and whether somebody began to part them, and was cut off.
    is_parting: bool,
}

/// Drops what was archived: how many tables. Whoever appends does not wait for it. When somebody reads one of them for long, it
/// stays until the next time.
///
/// The connection must be one of its own: partitions are parted by a statement that cannot be part of a transaction.
///
/// # Errors
/// When the database refuses, or somebody is in the way.
pub async fn drop_archived(connection: &mut PgConnection) -> Result<usize, sqlx::Error> {
    // What waits for a lock is in the way of all who come behind it.
    sqlx::query("set lock_timeout = '3s'").execute(&mut *connection).await?;
    forget_marks(connection).await?;
    let gone = gone(connection).await?;
    for Gone { class, low, is_attached, is_parting } in &gone {
        if *is_attached {
            let how = if *is_parting { "finalize" } else { "concurrently" };
            let parted = format!("alter table log.{class} detach partition log.{class}_{low} {how}");
            sqlx::raw_sql(AssertSqlSafe(parted)).execute(&mut *connection).await?;
        }
        sqlx::raw_sql(AssertSqlSafe(format!("drop table log.{class}_{low}"))).execute(&mut *connection).await?;
    }
    Ok(gone.len())
}

/// Whether there is something to be dropped.
///
/// # Errors
/// When the database cannot be asked.
pub async fn is_any_archived(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    Ok(!gone(connection).await?.is_empty())
}

async fn gone(connection: &mut PgConnection) -> Result<Vec<Gone>, sqlx::Error> {
    let classes = Class::ALL.map(|class| class.as_str().to_owned());
    sqlx::query_as!(
        Gone,
        r#"select n.class as "class!", n.low as "low!", i.inhrelid is not null as "is_attached!",
            coalesce(i.inhdetachpending, false) as "is_parting!"
        from pg_class c
        cross join lateral (
            select split_part(c.relname, '_', 1) as class, split_part(c.relname, '_', 2)::bigint as low
            where c.relname ~ '^[a-z]+_[0-9]+$'
        ) n
        left join pg_inherits i on i.inhrelid = c.oid
        where c.relnamespace = 'log'::regnamespace and c.relkind = 'r' and n.class = any ($1)
            and not exists (select from log.segments s where s.low = n.low and n.class = any (s.classes))
        order by n.low, n.class"#,
        &classes
    )
    .fetch_all(connection)
    .await
}

/// What told which event of a seal was changed is of no use without the events.
async fn forget_marks(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from live.seal_marks m using log.segments s
        where m.up_to >= s.low and m.up_to < s.high and not m.class = any (s.classes)"
    )
    .execute(connection)
    .await?;
    Ok(())
}
