//! Dead letters: what became of them, and how many there are.
//!
//! Whatever changes a letter's resolution counts it in the same statement: [`decided`] is the way to do that.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{
    event::{dead_letter, outbox::Source},
    id::{DeadLetterId, JobId, OutboxId},
    log::{NewEvent, Position, Read},
};

/// Whether each letter among the reads is as it was seen.
pub(super) async fn are_unchanged(connection: &mut PgConnection, reads: &[Read]) -> Result<bool, sqlx::Error> {
    let seen = reads.iter().filter_map(|read| match read {
        Read::DeadLetter { dead_letter, version } => Some((dead_letter.uuid(), version.0)),
        Read::Kv { .. }
        | Read::KvRange { .. }
        | Read::Config { .. }
        | Read::Cron { .. }
        | Read::Owed { .. }
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

/// What was decided about a letter.
pub(super) struct Decision<'a> {
    pub(super) letter: DeadLetterId,
    /// As it stands in the database.
    pub(super) resolution: &'a str,
    pub(super) why: Option<&'a str>,
    /// The item that tries it again.
    pub(super) replay: Option<OutboxId>,
    pub(super) job: Option<JobId>,
}

/// Writes a decision, and counts the letter where it belongs now.
pub(super) async fn decided(
    connection: &mut PgConnection,
    new: &NewEvent,
    decision: Decision<'_>,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    // Counted only if it moves: a statement cannot change a row twice.
    sqlx::query!(
        "with letter as (
            select app_id, script_id, coalesce(resolution, 'none') as resolution from state.dead_letter where id = $1
        ), changed as (
            update state.dead_letter
            set resolution = $2, resolved_at = $3, resolved_by = $4, resolved_why = $5, replay = $6, job = $7, position = $8
            where id = $1
        ), less as (
            update state.dead_letter_count c
            set letters = greatest(c.letters - 1, 0)
            from letter l
            where c.app_id = l.app_id and c.script_id = l.script_id and c.resolution = l.resolution and l.resolution <> $2
        )
        insert into state.dead_letter_count as c (app_id, script_id, resolution, letters)
        select app_id, script_id, $2, 1 from letter where resolution <> $2
        on conflict (app_id, script_id, resolution) do update set letters = c.letters + 1",
        decision.letter.uuid(),
        decision.resolution,
        at,
        Json(&new.actor) as _,
        decision.why,
        decision.replay.map(Uuid::from),
        decision.job.map(Uuid::from),
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
    let decision = Decision {
        letter: event.dead_letter,
        resolution: "replayed",
        why: None,
        replay: Some(event.item),
        job: event.job,
    };
    decided(connection, new, decision, position, at).await
}

pub(super) async fn resolved(
    connection: &mut PgConnection,
    new: &NewEvent,
    event: &dead_letter::Resolved,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let decision = Decision {
        letter: event.dead_letter,
        resolution: event.resolution.as_str(),
        why: event.reason.as_deref(),
        replay: None,
        job: event.job,
    };
    decided(connection, new, decision, position, at).await
}

pub(super) async fn purged(connection: &mut PgConnection, event: &dead_letter::Purged) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with letter as (
            delete from state.dead_letter where id = $1
            returning app_id, script_id, coalesce(resolution, 'none') as resolution
        )
        update state.dead_letter_count c
        set letters = greatest(c.letters - 1, 0)
        from letter l
        where c.app_id = l.app_id and c.script_id = l.script_id and c.resolution = l.resolution",
        event.dead_letter.uuid()
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
    let letter = sqlx::query!(
        "update state.dead_letter set handlers_failed = handlers_failed + $2, position = $3
        where id = $1
        returning resolution, handlers, handlers_failed",
        event.dead_letter.uuid(),
        i32::from(has_failed),
        position.0
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(letter) = letter.filter(|letter| letter.resolution.is_none()) else { return Ok(()) };
    if has_failed && letter.handlers_failed < letter.handlers {
        return Ok(());
    }
    let decision = Decision {
        letter: event.dead_letter,
        resolution: if has_failed { "handler_failed" } else { "handled_by_script" },
        why: event.error.as_deref(),
        replay: None,
        job: None,
    };
    decided(connection, new, decision, position, at).await
}
