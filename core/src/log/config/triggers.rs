//! Triggers and queues: what they say, and up to where times were decided about.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{
    event::{cron, queue, trigger},
    id::TriggerId,
    log::Position,
};

/// Other triggers count from here on: whoever has not heard of it is sent back.
async fn changed(connection: &mut PgConnection, position: Position) -> Result<(), sqlx::Error> {
    sqlx::query!("update log.writer set triggers = $1", position.0).execute(connection).await?;
    Ok(())
}

pub(super) async fn created(
    connection: &mut PgConnection,
    app: Option<Uuid>,
    event: &trigger::Created,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into state.trigger (id, app_id, script_id, kind, definition, registrant, created_at, since, position)
        values ($1, $2, $3, $4, $5, $6, $7, $7, $8)",
        event.trigger.uuid(),
        app,
        event.definition.script.uuid(),
        event.definition.when.kind(),
        Json(&event.definition) as _,
        Json(&event.registrant) as _,
        at,
        position.0
    )
    .execute(&mut *connection)
    .await?;
    changed(connection, position).await
}

pub(super) async fn updated(
    connection: &mut PgConnection,
    event: &trigger::Updated,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    // Of times that it did not name before, none was missed.
    sqlx::query!(
        "update state.trigger
        set since = case when (definition -> 'when')::text = ($4::json -> 'when')::text then since else $7 end,
            script_id = $2, kind = $3, definition = $4, registrant = $5, position = $6
        where id = $1",
        event.trigger.uuid(),
        event.definition.script.uuid(),
        event.definition.when.kind(),
        Json(&event.definition) as _,
        Json(&event.registrant) as _,
        position.0,
        at
    )
    .execute(&mut *connection)
    .await?;
    changed(connection, position).await
}

pub(super) async fn enabled(
    connection: &mut PgConnection,
    event: &trigger::Enabled,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update state.trigger
        set is_enabled = true, disabled_why = null, registrant = $2, since = $3, position = $4
        where id = $1",
        event.trigger.uuid(),
        Json(&event.registrant) as _,
        at,
        position.0
    )
    .execute(&mut *connection)
    .await?;
    changed(connection, position).await
}

pub(super) async fn disabled(
    connection: &mut PgConnection,
    event: &trigger::Disabled,
    position: Position,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update state.trigger set is_enabled = false, disabled_why = $2, position = $3 where id = $1",
        event.trigger.uuid(),
        event.why,
        position.0
    )
    .execute(&mut *connection)
    .await?;
    changed(connection, position).await
}

pub(super) async fn paused(
    connection: &mut PgConnection,
    trigger: TriggerId,
    is_paused: bool,
    position: Position,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update state.trigger set is_paused = $2, position = $3 where id = $1",
        trigger.uuid(),
        is_paused,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn deleted(
    connection: &mut PgConnection,
    event: &trigger::Deleted,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update state.trigger set is_enabled = false, script_id = null, deleted_at = $2, position = $3 where id = $1",
        event.trigger.uuid(),
        at,
        position.0
    )
    .execute(&mut *connection)
    .await?;
    changed(connection, position).await
}

/// The position of the last decision about a trigger's times.
pub(super) async fn decided(connection: &mut PgConnection, trigger: TriggerId) -> Result<Position, sqlx::Error> {
    let position = sqlx::query_scalar!("select position from state.cron where trigger_id = $1", trigger.uuid())
        .fetch_optional(connection)
        .await?;
    Ok(position.map_or(Position::ZERO, Position))
}

pub(super) async fn fired(
    connection: &mut PgConnection,
    event: &cron::Fired,
    position: Position,
) -> Result<(), sqlx::Error> {
    // A trigger that went meanwhile has nothing to be remembered.
    sqlx::query!(
        "insert into state.cron (trigger_id, settled_at, position)
        select t.id, $2, $3 from state.trigger t where t.id = $1 and t.deleted_at is null
        on conflict (trigger_id) do update set settled_at = excluded.settled_at, position = excluded.position",
        event.trigger.uuid(),
        event.due_at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn queue_configured(
    connection: &mut PgConnection,
    app: Option<Uuid>,
    event: &queue::Configured,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into state.queue (app_id, name, max_concurrency, created_at, position) values ($1, $2, $3, $4, $5)
        on conflict (app_id, name) do update
        set max_concurrency = excluded.max_concurrency, position = excluded.position",
        app,
        event.queue,
        event.max_concurrency.map(|most| i32::try_from(most).unwrap_or(i32::MAX)),
        at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn queue_paused(
    connection: &mut PgConnection,
    app: Option<Uuid>,
    queue: &str,
    is_paused: bool,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into state.queue (app_id, name, is_paused, created_at, position) values ($1, $2, $3, $4, $5)
        on conflict (app_id, name) do update set is_paused = excluded.is_paused, position = excluded.position",
        app,
        queue,
        is_paused,
        at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}
