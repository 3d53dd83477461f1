//! Jobs, and how far they have come.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{
    event::job,
    log::{NewEvent, Position},
};

pub(super) async fn started(
    connection: &mut PgConnection,
    new: &NewEvent,
    event: &job::Started,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let letters: Vec<Uuid> = event.letters.iter().map(|letter| letter.uuid()).collect();
    sqlx::query!(
        "insert into state.job
            (id, app_id, event, actor, action, chosen, per_second, total, letters, started_at, position)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        event.job.uuid(),
        new.app.map(Uuid::from),
        new.id.uuid(),
        Json(&new.actor) as _,
        Json(&event.action) as _,
        Json(&event.chosen) as _,
        event.per_second as i32,
        letters.len() as i32,
        &letters,
        at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn progressed(
    connection: &mut PgConnection,
    event: &job::Progressed,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let counts = &event.counts;
    sqlx::query!(
        "update state.job
        set done = $2, skipped = $3, failed = $4, trouble = $5, progressed_at = $6, position = $7
        where id = $1",
        event.job.uuid(),
        counts.done as i32,
        counts.skipped as i32,
        counts.failed as i32,
        counts.trouble,
        at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn to_be_cancelled(
    connection: &mut PgConnection,
    new: &NewEvent,
    event: &job::CancellationRequested,
    position: Position,
) -> Result<(), sqlx::Error> {
    // Who asked first is who did it; what is over stays as it ended.
    sqlx::query!(
        "update state.job
        set cancellation = $2, cancelled_by = $3, position = $4
        where id = $1 and ended_at is null and cancellation is null",
        event.job.uuid(),
        new.id.uuid(),
        Json(&new.actor) as _,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn ended(
    connection: &mut PgConnection,
    event: &job::Ended,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let counts = &event.counts;
    sqlx::query!(
        "update state.job
        set done = $2, skipped = $3, failed = $4, trouble = $5, progressed_at = $6, ended_at = $6, outcome = $7, error = $8,
            letters = '{}', position = $9
        where id = $1",
        event.job.uuid(),
        counts.done as i32,
        counts.skipped as i32,
        counts.failed as i32,
        counts.trouble,
        at,
        event.outcome.as_str(),
        event.error,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}
