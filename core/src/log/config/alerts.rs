//! Who is told when something is wrong, and what they have been told.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    alert::{Condition, Notice},
    event::{alert, alert_channel, backup},
    id::AlertId,
    log::{NewEvent, Position},
};

/// The event that last changed the last alert of a matter on a channel; [`Position::ZERO`] when there was none.
pub(super) async fn version(
    connection: &mut PgConnection,
    channel: &str,
    condition: Condition,
    subject: &str,
) -> Result<Position, sqlx::Error> {
    let position = sqlx::query_scalar!(
        "select position from state.alert where channel = $1 and condition = $2 and subject = $3",
        channel,
        condition.as_str(),
        subject
    )
    .fetch_optional(connection)
    .await?;
    Ok(position.map_or(Position::ZERO, Position))
}

pub(super) async fn channel_set(
    connection: &mut PgConnection,
    event: &alert_channel::Set,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let conditions = event.conditions.as_deref();
    let conditions: Option<Vec<String>> = conditions.map(|all| all.iter().map(ToString::to_string).collect());
    sqlx::query!(
        "insert into state.alert_channel (name, kind, host, secret, conditions, cooldown_s, is_enabled, created_at, position)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        on conflict (name) do update
        set kind = excluded.kind,
            host = excluded.host,
            secret = excluded.secret,
            conditions = excluded.conditions,
            cooldown_s = excluded.cooldown_s,
            is_enabled = excluded.is_enabled,
            position = excluded.position",
        event.channel,
        event.kind.as_str(),
        event.host,
        event.secret.uuid(),
        conditions.as_deref(),
        event.cooldown_s as i32,
        event.enabled,
        at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What it was told, and has yet to be, goes with it.
pub(super) async fn channel_removed(
    connection: &mut PgConnection,
    event: &alert_channel::Removed,
) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from state.alert_channel where name = $1", event.channel).execute(connection).await?;
    Ok(())
}

/// Takes the place of the last alert of its matter.
pub(super) async fn raised(
    connection: &mut PgConnection,
    new: &NewEvent,
    event: &alert::Raised,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    // From the channel, for it may have gone since it was looked at.
    sqlx::query!(
        "insert into state.alert (channel, condition, subject, id, data, raised_at, told_up_to, owed, due_at, position)
        select name, $2, $3, $4, $5::text::json, $6, $7, $8, $6, $9 from state.alert_channel where name = $1
        on conflict (channel, condition, subject) do update
        set id = excluded.id,
            data = excluded.data,
            raised_at = excluded.raised_at,
            told_up_to = excluded.told_up_to,
            recovered_at = null,
            owed = excluded.owed,
            attempts = 0,
            due_at = excluded.due_at,
            last_error = null,
            position = excluded.position",
        event.channel,
        event.matter.condition().as_str(),
        event.matter.subject(),
        event.alert.uuid(),
        new.data,
        at,
        event.matter.up_to().unwrap_or(at),
        Notice::Raised.as_str(),
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Its end is told once its beginning was.
pub(super) async fn recovered(
    connection: &mut PgConnection,
    event: &alert::Recovered,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update state.alert
        set recovered_at = $2,
            owed = coalesce(owed, $3),
            due_at = coalesce(due_at, $2),
            position = $4
        where id = $1 and recovered_at is null",
        event.alert.uuid(),
        at,
        Notice::Recovered.as_str(),
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn rescheduled(
    connection: &mut PgConnection,
    event: &alert::Rescheduled,
    position: Position,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update state.alert set attempts = $3, due_at = $4, last_error = $5, position = $6 where id = $1 and owed = $2",
        event.alert.uuid(),
        event.notice.as_str(),
        i32::from(event.attempt),
        event.due_at,
        event.error,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A message was taken, or given up with an error. Of an alert that is over by now, that is owed next.
pub(super) async fn told(
    connection: &mut PgConnection,
    alert: AlertId,
    notice: Notice,
    error: Option<&str>,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let next = match notice {
        Notice::Raised => Some(Notice::Recovered.as_str()),
        Notice::Recovered => None,
    };
    sqlx::query!(
        "update state.alert
        set owed = case when recovered_at is not null then $3 end,
            due_at = case when recovered_at is not null and $3 is not null then $4::timestamptz end,
            attempts = 0,
            last_error = $5,
            position = $6
        where id = $1 and owed = $2",
        alert.uuid(),
        notice.as_str(),
        next,
        at,
        error,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn backup_failed(
    connection: &mut PgConnection,
    event: &backup::Failed,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into state.backup_failure (failed_at, error, position) values ($1, $2, $3)
        on conflict (only_row) do update
        set failed_at = excluded.failed_at, error = excluded.error, position = excluded.position",
        at,
        event.error,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}
