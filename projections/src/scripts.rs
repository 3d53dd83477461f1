//! Reading the versions of scripts.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};
use picloud_core::{
    event::{Actor, script::Import},
    id::{AppId, ScriptId, VersionId},
    limits::Limits,
    run::Program,
};
use sqlx::{PgPool, types::Json};

use crate::setup::{App, Script};

/// An immutable version.
#[derive(Clone, Debug)]
pub struct Version {
    /// Its id.
    pub id: VersionId,
    /// Counts from 1 within the script.
    pub number: u32,
    /// Rhai source.
    pub source: String,
    /// SHA-256 of the source, hexadecimal.
    pub sha256: String,
    /// What its imports mean.
    pub imports: Vec<Import>,
    /// What a run of it may use.
    pub limits: Limits,
    /// What the deployer says of it.
    pub message: Option<String>,
    /// Who deployed it.
    pub actor: Actor,
    /// When.
    pub created_at: DateTime<Utc>,
}

impl Version {
    /// Ready to be run.
    #[must_use]
    pub fn program(self, app: &App, script: &Script) -> Program {
        Program {
            app: app.id,
            app_slug: Arc::clone(&app.slug),
            script: script.id,
            name: script.name.as_str().into(),
            version: self.id,
            number: self.number,
            source: self.source.into(),
            limits: self.limits,
            env: Arc::clone(&app.env),
        }
    }
}

struct Row {
    id: uuid::Uuid,
    number: i32,
    source: String,
    sha256: String,
    imports: Json<Vec<Import>>,
    limits: Json<Limits>,
    message: Option<String>,
    actor: Json<Actor>,
    created_at: DateTime<Utc>,
}

impl From<Row> for Version {
    fn from(row: Row) -> Self {
        Self {
            id: row.id.into(),
            number: row.number.unsigned_abs(),
            source: row.source,
            sha256: row.sha256,
            imports: row.imports.0,
            limits: row.limits.0,
            message: row.message,
            actor: row.actor.0,
            created_at: row.created_at,
        }
    }
}

/// A script's versions below a number, newest first.
///
/// # Errors
/// When the database cannot be asked.
pub async fn versions(
    pool: &PgPool,
    app: AppId,
    script: ScriptId,
    below: Option<u32>,
    limit: usize,
) -> Result<Vec<Version>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select v.id, v.number, v.source, v.sha256, v.imports as "imports: Json<Vec<Import>>",
            v.limits as "limits: Json<Limits>", v.message, v.actor as "actor: Json<Actor>", v.created_at
        from state.version v
        join state.script s on s.id = v.script_id
        where s.app_id = $1 and v.script_id = $2 and ($3::int is null or v.number < $3)
        order by v.number desc
        limit $4"#,
        app.uuid(),
        script.uuid(),
        below.map(|number| number as i32),
        limit as i64
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Version::from).collect())
}

/// One version of a script.
///
/// # Errors
/// When the database cannot be asked.
pub async fn version(
    pool: &PgPool,
    app: AppId,
    script: ScriptId,
    version: VersionId,
) -> Result<Option<Version>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select v.id, v.number, v.source, v.sha256, v.imports as "imports: Json<Vec<Import>>",
            v.limits as "limits: Json<Limits>", v.message, v.actor as "actor: Json<Actor>", v.created_at
        from state.version v
        join state.script s on s.id = v.script_id
        where s.app_id = $1 and v.script_id = $2 and v.id = $3"#,
        app.uuid(),
        script.uuid(),
        version.uuid()
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Version::from))
}

/// What a script's newest version is, active or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latest {
    /// Its id.
    pub id: VersionId,
    /// Its number: the next is one more.
    pub number: u32,
    /// SHA-256 of the source, hexadecimal.
    pub sha256: String,
    /// What a run of it may use.
    pub limits: Limits,
}

/// The newest version of each script of an app.
///
/// # Errors
/// When the database cannot be asked.
pub async fn latest(pool: &PgPool, app: AppId) -> Result<HashMap<ScriptId, Latest>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select distinct on (v.script_id) v.script_id, v.id, v.number, v.sha256, v.limits as "limits: Json<Limits>"
        from state.version v
        join state.script s on s.id = v.script_id
        where s.app_id = $1
        order by v.script_id, v.number desc"#,
        app.uuid()
    )
    .fetch_all(pool)
    .await?;
    let latest = rows.into_iter().map(|row| {
        let number = row.number.unsigned_abs();
        (row.script_id.into(), Latest { id: row.id.into(), number, sha256: row.sha256, limits: row.limits.0 })
    });
    Ok(latest.collect())
}

/// The highest number a script's versions have; 0 when it has none.
///
/// # Errors
/// When the database cannot be asked.
pub async fn last_number(pool: &PgPool, script: ScriptId) -> Result<u32, sqlx::Error> {
    let number = sqlx::query_scalar!(
        r#"select coalesce(max(number), 0) as "number!" from state.version where script_id = $1"#,
        script.uuid()
    )
    .fetch_one(pool)
    .await?;
    Ok(number.unsigned_abs())
}
