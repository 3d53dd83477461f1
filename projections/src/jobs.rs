//! Reading jobs: what is done to many things at once, and how far it has come.

use chrono::{DateTime, Utc};
use picloud_core::{
    event::{
        Actor,
        job::{Action, Chosen, Counts},
    },
    id::{AppId, DeadLetterId, EventId, JobId},
};
use sqlx::{PgPool, types::Json};
use uuid::Uuid;

/// A job as it stands.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// Whose.
    pub app: AppId,
    /// The event that began it.
    pub event: EventId,
    /// Who started it.
    pub actor: Actor,
    /// What is done.
    pub action: Action,
    /// How its letters were chosen.
    pub chosen: Chosen,
    /// At most so many a second.
    pub per_second: u32,
    /// How many letters it has.
    pub total: u32,
    /// What has become of them, as of the last event that told of it.
    pub counts: Counts,
    /// When it was started.
    pub started_at: DateTime<Utc>,
    /// When it last told how far it has come.
    pub progressed_at: Option<DateTime<Utc>>,
    /// Who wants it to end, if anybody does, and the event that says so.
    pub cancelled: Option<(Actor, EventId)>,
    /// Whether a node works on it; otherwise it waits for another job of its app, or for a node.
    pub is_running: bool,
    /// How and when it ended, if it has.
    pub ended: Option<(String, DateTime<Utc>)>,
    /// Why it could not go on.
    pub error: Option<String>,
}

struct Row {
    id: Uuid,
    app_id: Uuid,
    event: Uuid,
    actor: Json<Actor>,
    action: Json<Action>,
    chosen: Json<Chosen>,
    per_second: i32,
    total: i32,
    done: i32,
    skipped: i32,
    failed: i32,
    trouble: Option<String>,
    started_at: DateTime<Utc>,
    progressed_at: Option<DateTime<Utc>>,
    cancellation: Option<Uuid>,
    cancelled_by: Option<Json<Actor>>,
    is_running: bool,
    ended_at: Option<DateTime<Utc>>,
    outcome: Option<String>,
    error: Option<String>,
}

impl From<Row> for Job {
    fn from(row: Row) -> Self {
        Self {
            id: row.id.into(),
            app: row.app_id.into(),
            event: row.event.into(),
            actor: row.actor.0,
            action: row.action.0,
            chosen: row.chosen.0,
            per_second: row.per_second.unsigned_abs(),
            total: row.total.unsigned_abs(),
            counts: Counts {
                done: row.done.unsigned_abs(),
                skipped: row.skipped.unsigned_abs(),
                failed: row.failed.unsigned_abs(),
                trouble: row.trouble,
            },
            started_at: row.started_at,
            progressed_at: row.progressed_at,
            cancelled: row.cancelled_by.zip(row.cancellation).map(|(by, event)| (by.0, event.into())),
            is_running: row.is_running,
            ended: row.outcome.zip(row.ended_at),
            error: row.error,
        }
    }
}

/// A job, whosever it is.
///
/// # Errors
/// When the database cannot be asked.
pub async fn find(pool: &PgPool, job: JobId) -> Result<Option<Job>, sqlx::Error> {
    Ok(some(pool, None, Some(job), None, 1).await?.pop())
}

/// An app's jobs, the newest first, before one of them.
///
/// # Errors
/// When the database cannot be asked.
pub async fn list(pool: &PgPool, app: AppId, before: Option<JobId>, limit: usize) -> Result<Vec<Job>, sqlx::Error> {
    some(pool, Some(app), None, before, limit).await
}

async fn some(
    pool: &PgPool,
    app: Option<AppId>,
    job: Option<JobId>,
    before: Option<JobId>,
    limit: usize,
) -> Result<Vec<Job>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select j.id, j.app_id, j.event, j.actor as "actor: Json<Actor>", j.action as "action: Json<Action>",
            j.chosen as "chosen: Json<Chosen>", j.per_second, j.total, j.done, j.skipped, j.failed, j.trouble,
            j.started_at, j.progressed_at, j.cancellation, j.cancelled_by as "cancelled_by: Json<Actor>",
            j.ended_at is null and exists (
                select from live.job_lease l join live.nodes n on n.epoch = l.epoch
                where l.job = j.id and n.revoked_at is null
            ) as "is_running!",
            j.ended_at, j.outcome, j.error
        from state.job j
        where ($1::uuid is null or j.app_id = $1) and ($2::uuid is null or j.id = $2) and ($3::uuid is null or j.id < $3)
        order by j.id desc
        limit $4"#,
        app.map(Uuid::from),
        job.map(Uuid::from),
        before.map(Uuid::from),
        limit as i64
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Job::from).collect())
}

/// The letters that a job works on, in its order; none once it is over.
///
/// # Errors
/// When the database cannot be asked.
pub async fn letters(pool: &PgPool, job: JobId) -> Result<Vec<DeadLetterId>, sqlx::Error> {
    let letters = sqlx::query_scalar!("select letters from state.job where id = $1", job.uuid());
    Ok(letters.fetch_optional(pool).await?.unwrap_or_default().into_iter().map(Into::into).collect())
}

/// How many jobs of an app are not over.
///
/// # Errors
/// When the database cannot be asked.
pub async fn open(pool: &PgPool, app: AppId) -> Result<usize, sqlx::Error> {
    let open = sqlx::query_scalar!(
        r#"select count(*) as "open!" from state.job where app_id = $1 and ended_at is null"#,
        app.uuid()
    );
    Ok(usize::try_from(open.fetch_one(pool).await?).unwrap_or_default())
}

/// Whether somebody wants an open job to end: the event that says so. None when the job is over, or gone.
///
/// # Errors
/// When the database cannot be asked.
pub async fn wish(pool: &PgPool, job: JobId) -> Result<Option<Option<EventId>>, sqlx::Error> {
    let wish = sqlx::query_scalar!("select cancellation from state.job where id = $1 and ended_at is null", job.uuid());
    Ok(wish.fetch_optional(pool).await?.map(|cancellation| cancellation.map(Into::into)))
}
