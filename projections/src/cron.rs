//! Up to where the times of cron triggers have been decided about.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use picloud_core::{
    id::{AppId, TriggerId},
    log::Position,
};
use sqlx::PgPool;

/// The last decision about a trigger's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Times up to here are done with.
    pub at: DateTime<Utc>,
    /// Where the log says so.
    pub position: Position,
}

/// The last decisions about all triggers, and what time it is for whoever decides: the database's, the same for all nodes.
///
/// # Errors
/// When the database cannot be asked.
pub async fn settled(pool: &PgPool) -> Result<(HashMap<TriggerId, Settled>, DateTime<Utc>), sqlx::Error> {
    let rows = sqlx::query!(
        r#"select clock_timestamp() as "now!", c.trigger_id as "trigger_id?", c.settled_at as "settled_at?",
            c.position as "position?"
        from (select) only_row left join state.cron c on true"#
    )
    .fetch_all(pool)
    .await?;
    let now = rows.first().map_or(DateTime::UNIX_EPOCH, |row| row.now);
    let settled = rows.into_iter().filter_map(|row| {
        let (trigger, at, position) = (row.trigger_id?, row.settled_at?, row.position?);
        Some((trigger.into(), Settled { at, position: Position(position) }))
    });
    Ok((settled.collect(), now))
}

/// Whether something of a lane has not ended.
///
/// # Errors
/// When the database cannot be asked.
pub async fn is_busy(pool: &PgPool, app: AppId, lane: &str) -> Result<bool, sqlx::Error> {
    let busy = sqlx::query_scalar!(
        r#"select exists (
            select from state.outbox where app_id = $1 and lane = $2
        ) as "busy!""#,
        app.uuid(),
        lane
    );
    busy.fetch_one(pool).await
}
