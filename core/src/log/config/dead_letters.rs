//! Dead letters: what became of them, and how many there are.
//!
//! Whatever changes a letter's resolution counts it in the same statement: [`stands`] is the way to do that.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{
    event::{Actor, dead_letter, outbox::Source},
    id::DeadLetterId,
    log::{NewEvent, Position, Read},
    state::dead_letter::{Resolved, Standing, evolve},
};

/// Whether each letter among the reads is as it was seen.
pub(super) async fn are_unchanged(connection: &mut PgConnection, reads: &[Read]) -> Result<bool, sqlx::Error> {
    let seen = reads.iter().filter_map(|read| match read {
        Read::DeadLetter { dead_letter, version } => Some((dead_letter.uuid(), version.0)),
        Read::Kv { .. }
        | Read::KvRange { .. }
        | Read::Config { .. }
        | Read::Alert { .. }
        | Read::Cron { .. }
        | Read::Owed { .. }
        | Read::Lane { .. }
        | Read::LastSeal { .. } => None,
    });
    let (letters, versions): (Vec<Uuid>, Vec<i64>) = seen.unzip();
    if letters.is_empty() {
        return Ok(true);
    }
    let changed = sqlx::query_scalar!(
        r#"select exists (
            select from unnest($1::uuid[], $2::bigint[]) as seen (letter, version)
            where not exists (select from state.dead_letter l where l.id = seen.letter and l.position = seen.version)
        ) as "changed!""#,
        &letters,
        &versions
    )
    .fetch_one(connection)
    .await?;
    Ok(!changed)
}

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
        "with letter as (
            insert into state.dead_letter
                (id, app_id, item, data, actor, root, depth, script_id, source, source_id, reason, fingerprint, created_at,
                position)
            values ($1, $2, $3, $4::text::json, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
            returning app_id, script_id
        )
        insert into state.dead_letter_count as c (app_id, script_id, resolution, letters)
        select app_id, script_id, 'none', 1 from letter
        on conflict (app_id, script_id, resolution) do update set letters = c.letters + 1",
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

/// Something happened to a letter; of one that is gone nothing is kept.
pub(super) async fn changed(
    connection: &mut PgConnection,
    new: &NewEvent,
    letter: DeadLetterId,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let Some(before) = standing(connection, letter).await? else { return Ok(()) };
    let was = before.resolution().to_owned();
    match evolve(Some(before), new, position, at) {
        Some(after) => stands(connection, letter, &was, &after).await,
        None => gone(connection, letter).await,
    }
}

async fn standing(connection: &mut PgConnection, letter: DeadLetterId) -> Result<Option<Standing>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select resolution, resolved_at, resolved_by as "resolved_by: Json<Actor>", resolved_why, replay, job, handlers,
            handlers_failed, position
        from state.dead_letter where id = $1"#,
        letter.uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Standing {
        resolved: row.resolution.zip(row.resolved_at).map(|(resolution, at)| Resolved {
            resolution,
            at,
            by: row.resolved_by.map(|by| by.0),
            why: row.resolved_why,
            replay: row.replay.map(Into::into),
            job: row.job.map(Into::into),
        }),
        handlers: row.handlers.unsigned_abs(),
        handlers_failed: row.handlers_failed.unsigned_abs(),
        position: Position(row.position),
    }))
}

/// Writes how a letter stands, and counts it where it belongs now.
async fn stands(
    connection: &mut PgConnection,
    letter: DeadLetterId,
    was: &str,
    after: &Standing,
) -> Result<(), sqlx::Error> {
    let resolved = after.resolved.as_ref();
    // Counted only if it moves: a statement cannot change a row twice.
    sqlx::query!(
        "with letter as (
            update state.dead_letter
            set resolution = $4, resolved_at = $5, resolved_by = $6, resolved_why = $7, replay = $8, job = $9,
                handlers = $10, handlers_failed = $11, position = $12
            where id = $1
            returning app_id, script_id
        ), less as (
            update state.dead_letter_count c
            set letters = greatest(c.letters - 1, 0)
            from letter l
            where c.app_id = l.app_id and c.script_id = l.script_id and c.resolution = $2 and $2 <> $3
        )
        insert into state.dead_letter_count as c (app_id, script_id, resolution, letters)
        select app_id, script_id, $3, 1 from letter where $2 <> $3
        on conflict (app_id, script_id, resolution) do update set letters = c.letters + 1",
        letter.uuid(),
        was,
        after.resolution(),
        resolved.map(|resolved| &*resolved.resolution),
        resolved.map(|resolved| resolved.at),
        resolved.and_then(|resolved| resolved.by.as_ref()).map(Json) as _,
        resolved.and_then(|resolved| resolved.why.as_deref()),
        resolved.and_then(|resolved| resolved.replay).map(Uuid::from),
        resolved.and_then(|resolved| resolved.job).map(Uuid::from),
        i32::try_from(after.handlers).unwrap_or(i32::MAX),
        i32::try_from(after.handlers_failed).unwrap_or(i32::MAX),
        after.position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn gone(connection: &mut PgConnection, letter: DeadLetterId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with letter as (
            delete from state.dead_letter where id = $1
            returning app_id, script_id, coalesce(resolution, 'none') as resolution
        )
        update state.dead_letter_count c
        set letters = greatest(c.letters - 1, 0)
        from letter l
        where c.app_id = l.app_id and c.script_id = l.script_id and c.resolution = l.resolution",
        letter.uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}
