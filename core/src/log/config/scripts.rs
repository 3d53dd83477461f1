//! Scripts, and the versions that are stored with them.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{
    event::{
        Event,
        script::{Deployed, ScriptKind},
    },
    id::ScriptId,
    log::{NewEvent, Position},
    state::script::{Script, evolve},
};

/// Something happened to a script.
pub(super) async fn changed(
    connection: &mut PgConnection,
    new: &NewEvent,
    script: ScriptId,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let before = find(connection, script).await?;
    match evolve(before, new, position, at) {
        Some(script) => write(connection, new, &script).await?,
        None => {
            sqlx::query!("delete from state.script where id = $1", script.uuid()).execute(&mut *connection).await?;
        }
    }
    if let Event::ScriptDeployed(deployed) = &new.event {
        stored(connection, new, deployed, position, at).await?;
    }
    Ok(())
}

async fn find(connection: &mut PgConnection, script: ScriptId) -> Result<Option<Script>, sqlx::Error> {
    let row = sqlx::query!(
        "select name, kind, active_version, is_paused, created_at, position from state.script where id = $1",
        script.uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Script {
        id: script,
        name: row.name,
        kind: if row.kind == ScriptKind::Module.as_str() { ScriptKind::Module } else { ScriptKind::Endpoint },
        active: row.active_version.map(Into::into),
        is_paused: row.is_paused,
        created_at: row.created_at,
        position: Position(row.position),
    }))
}

async fn write(connection: &mut PgConnection, new: &NewEvent, script: &Script) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into state.script (id, app_id, name, kind, active_version, is_paused, created_at, position)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (id) do update
        set active_version = excluded.active_version, is_paused = excluded.is_paused, position = excluded.position",
        script.id.uuid(),
        new.app.map(Uuid::from),
        script.name,
        script.kind.as_str(),
        script.active.map(Uuid::from),
        script.is_paused,
        script.created_at,
        script.position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A version is as it was stored for as long as its script is.
async fn stored(
    connection: &mut PgConnection,
    new: &NewEvent,
    version: &Deployed,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into state.version
            (id, script_id, number, source, sha256, imports, limits, message, actor, created_at, position)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        version.version.uuid(),
        version.script.uuid(),
        version.number as i32,
        version.source,
        version.sha256,
        Json(&version.imports) as _,
        Json(&version.limits) as _,
        version.message,
        Json(&new.actor) as _,
        at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}
