//! Reading dead letters.
//!
//! - [`find`] and [`of`] read some by their ids, [`list`] a page of those that match a [`Filter`].
//! - `matching` is the one place that says what a filter means; counting and choosing lean on it.
//! - [`batch()`] reads as many at once as one commit should decide about, [`payloads()`] what their runs get.
//! - [`closed_long_ago`] finds those about which nobody asks any more.

mod batch;
mod closed;
mod matching;
mod payload;

use chrono::{DateTime, Utc};
use picloud_core::{
    event::{Actor, dead_letter::Created},
    id::{AppId, DeadLetterId, InvocationId, ScriptId},
    log::{Position, Read},
    outbox::Replayable,
};
use sqlx::{PgPool, types::Json};
use uuid::Uuid;

pub use batch::batch;
pub use closed::{Closed, closed_long_ago};
pub use matching::{count, count_up_to, counted, matching};
pub use payload::payloads;
pub use picloud_core::state::dead_letter::Resolved;

/// A letter as it stands.
#[derive(Clone, Debug)]
pub struct Letter {
    /// What became a letter, and why.
    pub created: Created,
    /// Who made its item be owed.
    pub actor: Actor,
    /// What its chain is named after.
    pub root: Option<InvocationId>,
    /// How far it lies from that.
    pub depth: u16,
    /// When it became one.
    pub created_at: DateTime<Utc>,
    /// What was decided about it.
    pub resolved: Option<Resolved>,
    /// The event that last changed it.
    pub position: Position,
}

impl Letter {
    /// Whether it is closed: then nothing more can be decided about it.
    #[must_use]
    pub fn closed(&self) -> Option<&Resolved> {
        // A letter whose handler crashed stays in sight.
        self.resolved.as_ref().filter(|resolved| resolved.resolution != "handler_failed")
    }

    /// What trying it again needs to know of it.
    #[must_use]
    pub const fn replayable(&self, app: AppId) -> Replayable<'_> {
        Replayable { app, created: &self.created, actor: &self.actor, root: self.root }
    }
}

/// Which letters are wanted. Everything named must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those about which nothing is decided, or whose handler failed.
    pub is_unresolved: bool,
    /// Only with this resolution.
    pub resolution: Option<String>,
    /// Only of this script.
    pub script: Option<ScriptId>,
    /// Only from such a source: `trigger`, `async_route` or `invoke`.
    pub source: Option<String>,
    /// Only for this reason.
    pub reason: Option<String>,
    /// Only those that failed alike.
    pub fingerprint: Option<String>,
}

struct Row {
    data: Json<Created>,
    actor: Json<Actor>,
    root: Option<Uuid>,
    depth: i16,
    created_at: DateTime<Utc>,
    resolution: Option<String>,
    resolved_at: Option<DateTime<Utc>>,
    resolved_by: Option<Json<Actor>>,
    resolved_why: Option<String>,
    replay: Option<Uuid>,
    job: Option<Uuid>,
    position: i64,
}

impl From<Row> for Letter {
    fn from(row: Row) -> Self {
        let resolved = row.resolution.zip(row.resolved_at).map(|(resolution, at)| Resolved {
            resolution,
            at,
            by: row.resolved_by.map(|by| by.0),
            why: row.resolved_why,
            replay: row.replay.map(Into::into),
            job: row.job.map(Into::into),
        });
        Self {
            created: row.data.0,
            actor: row.actor.0,
            root: row.root.map(Into::into),
            depth: row.depth.unsigned_abs(),
            created_at: row.created_at,
            resolved,
            position: Position(row.position),
        }
    }
}

/// A letter of an app.
///
/// # Errors
/// When the database cannot be asked.
pub async fn find(pool: &PgPool, app: AppId, letter: DeadLetterId) -> Result<Option<Letter>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select data as "data: Json<Created>", actor as "actor: Json<Actor>", root, depth, created_at, resolution,
            resolved_at, resolved_by as "resolved_by: Json<Actor>", resolved_why, replay, job, position
        from state.dead_letter
        where id = $1 and app_id = $2"#,
        letter.uuid(),
        app.uuid()
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Letter::from))
}

/// Looks whether letters are as they were read, as far as there are any among these reads.
///
/// # Errors
/// When the database cannot be asked.
pub async fn still_hold(pool: &PgPool, reads: &[Read]) -> Result<bool, sqlx::Error> {
    let letters = reads.iter().filter_map(|read| match read {
        Read::DeadLetter { dead_letter, version } => Some((dead_letter.uuid(), version.0)),
        _ => None,
    });
    let (ids, versions): (Vec<Uuid>, Vec<i64>) = letters.unzip();
    if ids.is_empty() {
        return Ok(true);
    }
    sqlx::query_scalar!(
        r#"select not exists (
            select from unnest($1::uuid[], $2::bigint[]) as r (id, position)
            left join state.dead_letter l on l.id = r.id
            where l.position is distinct from r.position
        ) as "holds!""#,
        &ids,
        &versions
    )
    .fetch_one(pool)
    .await
}

/// Letters of an app, newest first, by their ids; those that are gone are left out.
///
/// # Errors
/// When the database cannot be asked.
pub async fn of(pool: &PgPool, app: AppId, letters: &[DeadLetterId]) -> Result<Vec<Letter>, sqlx::Error> {
    let ids: Vec<Uuid> = letters.iter().map(|letter| letter.uuid()).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"select data as "data: Json<Created>", actor as "actor: Json<Actor>", root, depth, created_at, resolution,
            resolved_at, resolved_by as "resolved_by: Json<Actor>", resolved_why, replay, job, position
        from state.dead_letter
        where app_id = $1 and id = any ($2)
        order by id desc"#,
        app.uuid(),
        &ids
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Letter::from).collect())
}

/// An app's letters, newest first, before one of them.
///
/// # Errors
/// When the database cannot be asked.
pub async fn list(
    pool: &PgPool,
    app: AppId,
    filter: &Filter,
    before: Option<DeadLetterId>,
    limit: usize,
) -> Result<Vec<Letter>, sqlx::Error> {
    let ids = matching(pool, app, filter, before, limit).await?;
    of(pool, app, &ids).await
}

/// Letters that failed alike.
#[derive(Clone, Debug)]
pub struct Group {
    /// What is alike of them.
    pub fingerprint: String,
    /// How many are unresolved.
    pub count: i64,
    /// When the first of them became a letter.
    pub first_at: DateTime<Utc>,
    /// When the last did.
    pub last_at: DateTime<Utc>,
    /// The last of them.
    pub sample: DeadLetterId,
}

/// How many letters of all apps nobody has dealt with.
///
/// # Errors
/// When the database cannot be asked.
pub async fn open(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select coalesce(sum(letters), 0)::bigint as "letters!" from state.dead_letter_count
        where resolution in ('none', 'handler_failed')"#
    )
    .fetch_one(pool)
    .await
}

/// An app's unresolved letters by what is alike of them, the largest groups first.
///
/// # Errors
/// When the database cannot be asked.
pub async fn groups(pool: &PgPool, app: AppId, limit: usize) -> Result<Vec<Group>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select fingerprint, count(*) as "count!", min(created_at) as "first_at!", max(created_at) as "last_at!",
            (array_agg(id order by id desc))[1] as "sample!"
        from state.dead_letter
        where app_id = $1 and (resolution is null or resolution = 'handler_failed')
        group by fingerprint
        order by 2 desc, fingerprint
        limit $2"#,
        app.uuid(),
        limit as i64
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Group {
            fingerprint: row.fingerprint,
            count: row.count,
            first_at: row.first_at,
            last_at: row.last_at,
            sample: row.sample.into(),
        })
        .collect())
}
