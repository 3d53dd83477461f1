//! Dead letters: what became of them.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{
    event::{dead_letter, outbox::Source},
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
