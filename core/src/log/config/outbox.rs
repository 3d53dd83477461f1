//! Whether what is owed may run.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{event::outbox, log::Position};

pub(super) async fn paused(
    connection: &mut PgConnection,
    event: &outbox::Paused,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    set(connection, true, event.reason.as_deref(), position, at).await
}

pub(super) async fn resumed(
    connection: &mut PgConnection,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    set(connection, false, None, position, at).await
}

async fn set(
    connection: &mut PgConnection,
    is_paused: bool,
    reason: Option<&str>,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into state.outbox_pause (is_paused, reason, changed_at, position) values ($1, $2, $3, $4)
        on conflict (only_row) do update
        set is_paused = excluded.is_paused,
            reason = excluded.reason,
            changed_at = excluded.changed_at,
            position = excluded.position",
        is_paused,
        reason,
        at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}
