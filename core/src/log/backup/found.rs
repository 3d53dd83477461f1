//! What lies where an instance is to be restored.

use sqlx::PgConnection;

use super::tables;
use crate::log::settle;

/// What there is in a database that a restore would write over or mix with; nothing, when it is empty. Holds up whoever appends
/// to the end of the transaction.
///
/// # Errors
/// When the database cannot be asked.
pub async fn found(connection: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    if !is_ours(connection).await? {
        let others: Vec<String> = sqlx::query_scalar(
            "select nspname::text from pg_namespace where nspname in ('log', 'state', 'live', 'views') order by 1",
        )
        .fetch_all(connection)
        .await?;
        let named = others.iter().map(|schema| format!("`{schema}`")).collect::<Vec<_>>().join(", ");
        return Ok((!others.is_empty()).then(|| format!("schemas that are not PiCloud's: {named}")));
    }
    settle::lock(connection).await?;
    let head: i64 = sqlx::query_scalar("select log.find_head()").fetch_one(&mut *connection).await?;
    let apps: Vec<String> =
        sqlx::query_scalar("select slug from state.app order by slug").fetch_all(&mut *connection).await?;
    if head > 0 {
        let slugs = apps.iter().take(5).map(|slug| format!("`{slug}`")).collect::<Vec<_>>().join(", ");
        let more = if apps.len() > 5 { ", …" } else { "" };
        return Ok(Some(if apps.is_empty() {
            format!("a log of {head} events")
        } else {
            format!("a log of {head} events and the apps {slugs}{more}")
        }));
    }
    for source in tables::beside_the_log(connection).await? {
        let rows = source.count(connection).await?;
        if rows > 0 {
            return Ok(Some(format!("{rows} rows in `{}`", source.name)));
        }
    }
    Ok(None)
}

/// Whether a PiCloud made what is there.
pub(super) async fn is_ours(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select to_regclass('log.events') is not null and to_regclass('live.nodes') is not null")
        .fetch_one(connection)
        .await
}
