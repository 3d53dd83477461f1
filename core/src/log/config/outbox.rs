//! Whether what is owed may run, and what is still owed although its part of the log goes.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{
    event::outbox::{self, Enqueued},
    log::Position,
    outbox::Gate,
};

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

/// An item is said again. Whoever folds from here on has not heard of it before.
pub(super) async fn carried_forward(
    connection: &mut PgConnection,
    app: Option<Uuid>,
    item: &Enqueued,
    position: Position,
) -> Result<(), sqlx::Error> {
    let Some(carried) = &item.carried else { return Ok(()) };
    sqlx::query!(
        "insert into state.outbox (id, app_id, lane, priority, due_at, failed, is_watched, gate, position)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        on conflict (id) do update set position = excluded.position",
        item.item.uuid(),
        app,
        item.lane,
        item.priority,
        carried.due_at,
        Json(&carried.failed) as _,
        item.is_watched,
        Gate::of(item).uuid(),
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}
