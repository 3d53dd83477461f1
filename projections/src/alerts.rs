//! What channels were told, and what there is to tell them.

use chrono::{DateTime, Utc};
use picloud_core::{
    alert::{Condition, Last, Matter, Notice},
    event::alert::Raised,
    id::{AlertId, AppId},
    log::Position,
};
use sqlx::{PgConnection, types::Json};

/// The last alert of a matter on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who was told, or is to be.
    pub channel: String,
    /// Of what kind the matter is,
    pub condition: Condition,
    /// and what it is about.
    pub subject: String,
    /// The alert.
    pub alert: AlertId,
    /// What was wrong.
    pub matter: Matter,
    /// When it was raised.
    pub raised_at: DateTime<Utc>,
    /// What happened up to here was told, in this alert or one before.
    pub told_up_to: DateTime<Utc>,
    /// When it was over.
    pub recovered_at: Option<DateTime<Utc>>,
    /// What the channel has yet to be told.
    pub owed: Option<Owed>,
    /// Why the last attempt at telling it failed, if it did.
    pub last_error: Option<String>,
    /// The event that last changed it.
    pub position: Position,
}

/// What a channel has yet to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// What.
    pub notice: Notice,
    /// How many attempts have failed.
    pub attempts: u16,
    /// When the next is due.
    pub due_at: DateTime<Utc>,
}

impl Told {
    /// As decisions see it.
    #[must_use]
    pub const fn last(&self) -> Last {
        Last { raised_at: self.raised_at, is_open: self.recovered_at.is_none(), is_owed: self.owed.is_some() }
    }
}

/// All that was told last, and what time the database has. Few: one for each matter that there ever was, on each channel.
///
/// # Errors
/// When the database cannot be asked.
pub async fn told(connection: &mut PgConnection) -> Result<(Vec<Told>, DateTime<Utc>), sqlx::Error> {
    let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(&mut *connection).await?;
    let rows = sqlx::query!(
        r#"select channel, condition, subject, id, data as "data: Json<Raised>", raised_at, told_up_to, recovered_at, owed,
            attempts, due_at, last_error, position
        from state.alert order by channel, raised_at, id"#
    )
    .fetch_all(connection)
    .await?;
    let told = rows.into_iter().filter_map(|row| {
        let notice = row.owed.as_deref().and_then(Notice::read);
        let owed = notice.zip(row.due_at).map(|(notice, due_at)| Owed {
            notice,
            attempts: u16::try_from(row.attempts).unwrap_or(u16::MAX),
            due_at,
        });
        Some(Told {
            channel: row.channel,
            // Of a later version: its nodes see to it.
            condition: Condition::read(&row.condition)?,
            subject: row.subject,
            alert: row.id.into(),
            matter: row.data.0.matter,
            raised_at: row.raised_at,
            told_up_to: row.told_up_to,
            recovered_at: row.recovered_at,
            owed,
            last_error: row.last_error,
            position: Position(row.position),
        })
    });
    Ok((told.collect(), now))
}

/// A channel that may be told of an app's letters, those that came to need somebody after some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The channel.
    pub channel: String,
    /// The app.
    pub app: AppId,
    /// What came up to then was told.
    pub since: DateTime<Utc>,
}

/// The apps that have letters nobody has seen to.
///
/// # Errors
/// When the database cannot be asked.
pub async fn apps_with_letters(connection: &mut PgConnection) -> Result<Vec<AppId>, sqlx::Error> {
    let apps = sqlx::query_scalar!(
        "select distinct app_id from state.dead_letter_count where resolution in ('none', 'handler_failed') and letters > 0"
    )
    .fetch_all(connection)
    .await?;
    Ok(apps.into_iter().map(Into::into).collect())
}

/// For those who ask, where there is something to tell: the channel, and what that is. Letters that a handler may still take
/// care of are nobody's business yet.
///
/// # Errors
/// When the database cannot be asked.
pub async fn new_letters(connection: &mut PgConnection, asked: &[Asked]) -> Result<Vec<(String, Matter)>, sqlx::Error> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let channels: Vec<_> = asked.iter().map(|asked| asked.channel.clone()).collect();
    let apps: Vec<_> = asked.iter().map(|asked| asked.app.uuid()).collect();
    let since: Vec<_> = asked.iter().map(|asked| asked.since).collect();
    // The newest first: what is not counted any more is told all the same.
    let rows = sqlx::query!(
        r#"select asked.channel as "channel!", asked.app_id as "app_id!", found.letters as "letters!", found.up_to as "up_to!"
        from unnest($1::text[], $2::uuid[], $3::timestamptz[]) as asked (channel, app_id, since)
        cross join lateral (
            select count(*) as letters, max(unseen.needed_at) as up_to
            from (
                select coalesce(resolved_at, created_at) as needed_at
                from state.dead_letter l
                where l.app_id = asked.app_id
                    and coalesce(l.resolved_at, l.created_at) > asked.since
                    and (l.resolution is null or l.resolution = 'handler_failed')
                    and (l.resolution is not null or l.handlers = 0)
                order by coalesce(l.resolved_at, l.created_at) desc
                limit $4
            ) unseen
        ) found
        where found.letters > 0"#,
        &channels,
        &apps,
        &since,
        i64::from(Matter::MANY)
    )
    .fetch_all(connection)
    .await?;
    let matters = rows.into_iter().map(|row| {
        let letters = u32::try_from(row.letters).unwrap_or(Matter::MANY);
        (row.channel, Matter::DeadLetter { app: row.app_id.into(), letters, up_to: row.up_to })
    });
    Ok(matters.collect())
}

/// The last backup that failed.
///
/// # Errors
/// When the database cannot be asked.
pub async fn failed_backup(connection: &mut PgConnection) -> Result<Option<Matter>, sqlx::Error> {
    let row = sqlx::query!("select failed_at, error from state.backup_failure").fetch_optional(connection).await?;
    Ok(row.map(|row| Matter::BackupFailed { failed_at: row.failed_at, error: row.error }))
}
