//! Triggers and queues: what they say, and up to where times were decided about.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{
    event::{
        Event, queue,
        trigger::{Definition, Registrant},
    },
    id::TriggerId,
    log::{NewEvent, Position},
    state::trigger::{Trigger, evolve},
};

/// Something happened to a trigger.
pub(super) async fn changed(
    connection: &mut PgConnection,
    new: &NewEvent,
    trigger: TriggerId,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let before = find(connection, trigger).await?;
    let Some(after) = evolve(before, new, position, at) else { return Ok(()) };
    write(connection, new, &after).await?;
    if after.deleted_at.is_some() {
        // Nothing is decided about its times any more.
        sqlx::query!("delete from state.cron where trigger_id = $1", trigger.uuid()).execute(&mut *connection).await?;
    }
    if !matches!(new.event, Event::TriggerPaused(_) | Event::TriggerResumed(_)) {
        // Other triggers count from here on: whoever has not heard of it is sent back.
        sqlx::query!("update log.writer set triggers = $1", position.0).execute(connection).await?;
    }
    Ok(())
}

async fn find(connection: &mut PgConnection, trigger: TriggerId) -> Result<Option<Trigger>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select definition as "definition: Json<Definition>", registrant as "registrant: Json<Registrant>", is_enabled,
            disabled_why, is_paused, created_at, since, position, deleted_at
        from state.trigger where id = $1"#,
        trigger.uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Trigger {
        id: trigger,
        definition: row.definition.0,
        registrant: row.registrant.0,
        is_enabled: row.is_enabled,
        disabled_why: row.disabled_why,
        is_paused: row.is_paused,
        created_at: row.created_at,
        since: row.since,
        position: Position(row.position),
        deleted_at: row.deleted_at,
    }))
}

async fn write(connection: &mut PgConnection, new: &NewEvent, trigger: &Trigger) -> Result<(), sqlx::Error> {
    // What it says is written by those events only that say it: a newer version may say more than is understood here.
    let is_defined = matches!(new.event, Event::TriggerCreated(_) | Event::TriggerUpdated(_));
    let is_registered = is_defined || matches!(new.event, Event::TriggerEnabled(_));
    let script = trigger.deleted_at.is_none().then(|| trigger.definition.script.uuid());
    sqlx::query!(
        "insert into state.trigger as t
            (id, app_id, script_id, kind, definition, registrant, is_enabled, disabled_why, is_paused, created_at, since,
            position, deleted_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        on conflict (id) do update
        set script_id = excluded.script_id,
            kind = excluded.kind,
            definition = case when $14 then excluded.definition else t.definition end,
            registrant = case when $15 then excluded.registrant else t.registrant end,
            is_enabled = excluded.is_enabled,
            disabled_why = excluded.disabled_why,
            is_paused = excluded.is_paused,
            since = excluded.since,
            position = excluded.position,
            deleted_at = excluded.deleted_at",
        trigger.id.uuid(),
        new.app.map(Uuid::from),
        script,
        trigger.definition.when.kind(),
        Json(&trigger.definition) as _,
        Json(&trigger.registrant) as _,
        trigger.is_enabled,
        trigger.disabled_why,
        trigger.is_paused,
        trigger.created_at,
        trigger.since,
        trigger.position.0,
        trigger.deleted_at,
        is_defined,
        is_registered
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The position of the last decision about a trigger's times.
pub(super) async fn decided(connection: &mut PgConnection, trigger: TriggerId) -> Result<Position, sqlx::Error> {
    let position = sqlx::query_scalar!("select position from state.cron where trigger_id = $1", trigger.uuid())
        .fetch_optional(connection)
        .await?;
    Ok(position.map_or(Position::ZERO, Position))
}

/// A trigger's times were decided about up to here.
pub(super) async fn settled(
    connection: &mut PgConnection,
    trigger: TriggerId,
    due_at: DateTime<Utc>,
    position: Position,
) -> Result<(), sqlx::Error> {
    // A trigger that went meanwhile has nothing to be remembered.
    sqlx::query!(
        "insert into state.cron (trigger_id, settled_at, position)
        select t.id, $2, $3 from state.trigger t where t.id = $1 and t.deleted_at is null
        on conflict (trigger_id) do update set settled_at = excluded.settled_at, position = excluded.position",
        trigger.uuid(),
        due_at,
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
