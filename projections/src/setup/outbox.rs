//! Whether what is owed may run, on the whole instance.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// Whether nothing that is owed may begin. Without having ever been paused, all may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxPause {
    /// Whether it is so now.
    pub is_paused: bool,
    /// Why, as whoever paused it said.
    pub reason: Option<String>,
    /// When it was paused or resumed last.
    pub changed_at: Option<DateTime<Utc>>,
}

pub(super) async fn load(connection: &mut PgConnection) -> Result<OutboxPause, sqlx::Error> {
    let row =
        sqlx::query!("select is_paused, reason, changed_at from state.outbox_pause").fetch_optional(connection).await?;
    Ok(row.map_or_else(OutboxPause::default, |row| OutboxPause {
        is_paused: row.is_paused,
        reason: row.reason,
        changed_at: Some(row.changed_at),
    }))
}
