//! Runs as rows.

use picloud_core::{id::InvocationId, log::Position};
use serde::Deserialize;
use serde::de::{IntoDeserializer as _, value::Error as NotKnown};
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::fold::{End, Ended, Run, Running, slowness};
use crate::views::{Schema, origins::Origin};

/// A word of a closed vocabulary, as it stands in a table.
pub(in crate::views) fn word<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, sqlx::Error> {
    let read: Result<T, NotKnown> = T::deserialize(text.into_deserializer());
    read.map_err(|error| sqlx::Error::Decode(error.into()))
}

/// How a run began, from the columns that both tables have.
pub(super) fn origin(row: &PgRow) -> Result<Origin, sqlx::Error> {
    Ok(Origin {
        position: Position(row.try_get("position")?),
        at: row.try_get("started_at")?,
        app: row.try_get::<Uuid, _>("app_id")?.into(),
        script: row.try_get::<Uuid, _>("script")?.into(),
        version: row.try_get::<Uuid, _>("version")?.into(),
        invocation_type: word(row.try_get("invocation_type")?)?,
        route: row.try_get::<Option<Uuid>, _>("route")?.map(Into::into),
        trigger: row.try_get::<Option<Uuid>, _>("trigger")?.map(Into::into),
        item: row.try_get::<Option<Uuid>, _>("item")?.map(Into::into),
        attempt: row.try_get::<i16, _>("attempt")? as u16,
        actor: row.try_get("actor")?,
        request_id: row.try_get::<Option<Uuid>, _>("request_id")?.map(Into::into),
    })
}

/// The runs that had not ended at the checkpoint.
pub(super) async fn running(connection: &mut PgConnection, schema: Schema) -> Result<Running, sqlx::Error> {
    let rows = sqlx::query(schema.sql("select * from views.running")).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let id: InvocationId = row.try_get::<Uuid, _>("id")?.into();
            Ok((id, Run { id, origin: origin(row)?, said: row.try_get("said")? }))
        })
        .collect()
}

/// The columns that both tables have, an array each.
#[derive(Default)]
struct Columns<'a> {
    position: Vec<i64>,
    id: Vec<Uuid>,
    app: Vec<Uuid>,
    script: Vec<Uuid>,
    version: Vec<Uuid>,
    invocation_type: Vec<&'static str>,
    route: Vec<Option<Uuid>>,
    trigger: Vec<Option<Uuid>>,
    item: Vec<Option<Uuid>>,
    attempt: Vec<i16>,
    actor: Vec<Option<&'a str>>,
    request_id: Vec<Option<Uuid>>,
    started_at: Vec<chrono::DateTime<chrono::Utc>>,
    said: Vec<Option<&'a str>>,
}

impl<'a> FromIterator<&'a Run> for Columns<'a> {
    fn from_iter<I: IntoIterator<Item = &'a Run>>(runs: I) -> Self {
        let mut columns = Self::default();
        for Run { id, origin, said } in runs {
            columns.position.push(origin.position.0);
            columns.id.push(id.uuid());
            columns.app.push(origin.app.uuid());
            columns.script.push(origin.script.uuid());
            columns.version.push(origin.version.uuid());
            columns.invocation_type.push(origin.invocation_type.as_str());
            columns.route.push(origin.route.map(Into::into));
            columns.trigger.push(origin.trigger.map(Into::into));
            columns.item.push(origin.item.map(Into::into));
            columns.attempt.push(origin.attempt as i16);
            columns.actor.push(origin.actor.as_deref());
            columns.request_id.push(origin.request_id.map(Into::into));
            columns.started_at.push(origin.at);
            columns.said.push(Some(&**said).filter(|said| !said.is_empty()));
        }
        columns
    }
}

/// Writes runs that have begun, or that have said more.
pub(super) async fn begin<'a>(
    connection: &mut PgConnection,
    schema: Schema,
    runs: impl Iterator<Item = &'a Run>,
) -> Result<(), sqlx::Error> {
    let columns: Columns<'_> = runs.collect();
    if columns.id.is_empty() {
        return Ok(());
    }
    sqlx::query(schema.sql(
        "insert into views.running (position, id, app_id, script, version, invocation_type, route, trigger, item, attempt,
            actor, request_id, started_at, said)
        select position, id, app_id, script, version, invocation_type, route, trigger, item, attempt,
            actor, request_id, started_at, coalesce(said, '')
        from unnest($1::bigint[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::uuid[], $8::uuid[],
            $9::uuid[], $10::smallint[], $11::text[], $12::uuid[], $13::timestamptz[], $14::text[])
            as r (position, id, app_id, script, version, invocation_type, route, trigger, item, attempt, actor, request_id,
                started_at, said)
        on conflict (position) do update set said = excluded.said",
    ))
    .bind(columns.position)
    .bind(columns.id)
    .bind(columns.app)
    .bind(columns.script)
    .bind(columns.version)
    .bind(columns.invocation_type)
    .bind(columns.route)
    .bind(columns.trigger)
    .bind(columns.item)
    .bind(columns.attempt)
    .bind(columns.actor)
    .bind(columns.request_id)
    .bind(columns.started_at)
    .bind(columns.said)
    .execute(connection)
    .await?;
    Ok(())
}

/// Runs that had begun are over.
pub(super) async fn leave(
    connection: &mut PgConnection,
    schema: Schema,
    runs: &[InvocationId],
) -> Result<(), sqlx::Error> {
    if runs.is_empty() {
        return Ok(());
    }
    let runs: Vec<Uuid> = runs.iter().map(|run| run.uuid()).collect();
    sqlx::query(schema.sql("delete from views.running where id = any ($1)")).bind(runs).execute(connection).await?;
    Ok(())
}

/// Writes runs that have ended.
pub(super) async fn insert(connection: &mut PgConnection, schema: Schema, ended: &[Ended]) -> Result<(), sqlx::Error> {
    let columns: Columns<'_> = ended.iter().map(|ended| &ended.run).collect();
    let ok = |ended: &Ended| match &ended.end {
        End::Ok { status, operations } => Some((*status as i16, *operations as i64)),
        End::Failed { .. } => None,
    };
    let failed = |ended: &'_ Ended| match &ended.end {
        End::Failed { reason, .. } => Some(reason.as_str()),
        End::Ok { .. } => None,
    };
    sqlx::query(schema.sql(
        "insert into views.invocation (position, id, app_id, script, version, invocation_type, route, trigger, item, attempt,
            actor, request_id, started_at, ended_position, ended_at, duration_us, runs, http_status, operations, reason, message, line,
            over_limit, slowness, words)
        select position, id, app_id, script, version, invocation_type, route, trigger, item, attempt, actor, request_id,
            started_at, ended_position, ended_at, duration_us, runs, http_status, operations, reason, message, line, over_limit, slowness,
            to_tsvector('simple', said)
        from unnest($1::bigint[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::uuid[], $8::uuid[],
            $9::uuid[], $10::smallint[], $11::text[], $12::uuid[], $13::timestamptz[], $14::bigint[], $15::timestamptz[],
            $16::bigint[], $17::integer[], $18::smallint[], $19::bigint[], $20::text[], $21::text[], $22::integer[],
            $23::text[], $24::smallint[], $25::text[])
            as r (position, id, app_id, script, version, invocation_type, route, trigger, item, attempt, actor, request_id,
                started_at, ended_position, ended_at, duration_us, runs, http_status, operations, reason, message, line, over_limit, slowness,
                said)",
    ))
    .bind(columns.position)
    .bind(columns.id)
    .bind(columns.app)
    .bind(columns.script)
    .bind(columns.version)
    .bind(columns.invocation_type)
    .bind(columns.route)
    .bind(columns.trigger)
    .bind(columns.item)
    .bind(columns.attempt)
    .bind(columns.actor)
    .bind(columns.request_id)
    .bind(columns.started_at)
    .bind(ended.iter().map(|ended| ended.position.0).collect::<Vec<_>>())
    .bind(ended.iter().map(|ended| ended.at).collect::<Vec<_>>())
    .bind(ended.iter().map(|ended| ended.duration_us as i64).collect::<Vec<_>>())
    .bind(ended.iter().map(|ended| ended.runs as i32).collect::<Vec<_>>())
    .bind(ended.iter().map(|ended| ok(ended).map(|(status, _)| status)).collect::<Vec<_>>())
    .bind(ended.iter().map(|ended| ok(ended).map(|(_, operations)| operations)).collect::<Vec<_>>())
    .bind(ended.iter().map(failed).collect::<Vec<_>>())
    .bind(ended.iter().map(|ended| ended.end.message()).collect::<Vec<_>>())
    .bind(ended.iter().map(|ended| ended.end.line()).collect::<Vec<_>>())
    .bind(ended.iter().map(|ended| ended.end.limit()).collect::<Vec<_>>())
    .bind(ended.iter().map(|ended| slowness(ended.duration_us)).collect::<Vec<_>>())
    .bind(columns.said)
    .execute(connection)
    .await?;
    Ok(())
}

impl End {
    fn message(&self) -> Option<&str> {
        match self {
            Self::Failed { message, .. } => Some(message),
            Self::Ok { .. } => None,
        }
    }

    fn line(&self) -> Option<i32> {
        match self {
            Self::Failed { line, .. } => line.map(|line| line as i32),
            Self::Ok { .. } => None,
        }
    }

    fn limit(&self) -> Option<&str> {
        match self {
            Self::Failed { limit, .. } => limit.as_deref(),
            Self::Ok { .. } => None,
        }
    }
}
