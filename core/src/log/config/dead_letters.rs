//! Dead letters: what became of them.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{
    event::{dead_letter, outbox::Source},
    id::DeadLetterId,
    log::{NewEvent, Position},
};

pub(super) async fn created(
    connection: &mut PgConnection,
    new: &NewEvent,
    event: &dead_letter::Created,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let source_id = match event.source {
        Source::AsyncRoute { route } => Some(route.uuid()),
        Source::Trigger { trigger } => Some(trigger.uuid()),
        Source::Invoke => None,
    };
    sqlx::query!(
        "insert into state.dead_letter
            (id, app_id, item, data, actor, root, depth, script_id, source, source_id, reason, fingerprint, created_at,
            position)
        values ($1, $2, $3, $4::text::json, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        event.dead_letter.uuid(),
        new.app.map(Uuid::from),
        event.item.uuid(),
        new.data,
        Json(&new.actor) as _,
        new.root.map(Uuid::from),
        new.depth as i16,
        event.script.uuid(),
        event.source.as_str(),
        source_id,
        event.reason.as_str(),
        event.fingerprint,
        at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn replayed(
    connection: &mut PgConnection,
    new: &NewEvent,
    event: &dead_letter::Replayed,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update state.dead_letter
        set resolution = 'replayed', resolved_at = $2, resolved_by = $3, replay = $4, position = $5
        where id = $1",
        event.dead_letter.uuid(),
        at,
        Json(&new.actor) as _,
        event.item.uuid(),
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn resolved(
    connection: &mut PgConnection,
    new: &NewEvent,
    event: &dead_letter::Resolved,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update state.dead_letter
        set resolution = $2, resolved_at = $3, resolved_by = $4, resolved_why = $5, position = $6
        where id = $1",
        event.dead_letter.uuid(),
        event.resolution.as_str(),
        at,
        Json(&new.actor) as _,
        event.reason,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Somebody is to take care of a letter.
pub(super) async fn handler_owed(connection: &mut PgConnection, letter: DeadLetterId) -> Result<(), sqlx::Error> {
    sqlx::query!("update state.dead_letter set handlers = handlers + 1 where id = $1", letter.uuid())
        .execute(connection)
        .await?;
    Ok(())
}

/// The first that succeeds closes the letter, unless somebody decided otherwise meanwhile; the last that fails says so.
pub(super) async fn handler_ended(
    connection: &mut PgConnection,
    new: &NewEvent,
    event: &dead_letter::HandlerEnded,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let has_failed = event.error.is_some();
    sqlx::query!(
        "update state.dead_letter set handlers_failed = handlers_failed + 1, position = $2 where id = $1 and $3",
        event.dead_letter.uuid(),
        position.0,
        has_failed
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "update state.dead_letter
        set resolution = case when $3 then 'handler_failed' else 'handled_by_script' end,
            resolved_at = $4, resolved_by = $5, resolved_why = $6, position = $2
        where id = $1 and resolution is null and (not $3 or handlers_failed >= handlers)",
        event.dead_letter.uuid(),
        position.0,
        has_failed,
        at,
        Json(&new.actor) as _,
        event.error
    )
    .execute(connection)
    .await?;
    Ok(())
}
