//! Minutes, as figures are made of them.

use chrono::{DateTime, Utc};
use picloud_core::{
    id::{AppId, ScriptId},
    log::Position,
};
use sqlx::PgPool;

use super::histogram;

/// What happened between two times, by minutes, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Minutes {
    /// What ran.
    pub runs: Vec<RunMinute>,
    /// What became of owed work.
    pub outbox: Vec<OutboxMinute>,
}

/// What of a script ran in a minute.
#[derive(Clone, Debug)]
pub struct RunMinute {
    /// Which script.
    pub script: ScriptId,
    /// When the minute began.
    pub minute: DateTime<Utc>,
    /// How many runs ended well,
    pub ok: u64,
    /// and how many did not.
    pub failed: u64,
    /// How long they took together.
    pub duration_us: u64,
    /// How many took how long, by the buckets of [`super::histogram`].
    pub durations: Vec<u64>,
}

/// What became of owed work in a minute.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutboxMinute {
    /// When the minute began.
    pub minute: DateTime<Utc>,
    /// How much was owed newly,
    pub enqueued: u64,
    /// how many attempts failed that are tried again,
    pub rescheduled: u64,
    /// how much was done,
    pub delivered: u64,
    /// became a dead letter,
    pub exhausted: u64,
    /// or was taken back.
    pub cancelled: u64,
}

/// What happened in an app from one time on until another, of one script or of all.
///
/// # Errors
/// When the database cannot be asked.
pub async fn minutes(
    pool: &PgPool,
    app: AppId,
    script: Option<ScriptId>,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Minutes, sqlx::Error> {
    let runs = sqlx::query!(
        "select script, minute, ok, failed, duration_us, durations from views.run_minute
        where app_id = $1 and minute >= $2 and minute < $3 and ($4::uuid is null or script = $4)
        order by minute, script",
        app.uuid(),
        since,
        until,
        script.map(ScriptId::uuid)
    )
    .fetch_all(pool)
    .await?;
    let outbox = sqlx::query!(
        r#"select minute, sum(enqueued)::bigint as "enqueued!", sum(rescheduled)::bigint as "rescheduled!",
            sum(delivered)::bigint as "delivered!", sum(exhausted)::bigint as "exhausted!",
            sum(cancelled)::bigint as "cancelled!"
        from views.outbox_minute
        where app_id = $1 and minute >= $2 and minute < $3
        group by minute
        order by minute"#,
        app.uuid(),
        since,
        until
    )
    .fetch_all(pool)
    .await?;
    let count = |count: i64| u64::try_from(count).unwrap_or(0);
    let runs = runs.into_iter().map(|row| RunMinute {
        script: row.script.into(),
        minute: row.minute,
        ok: count(row.ok),
        failed: count(row.failed),
        duration_us: count(row.duration_us),
        durations: row.durations.into_iter().map(|counted| count(counted.into())).collect(),
    });
    Ok(Minutes {
        runs: together(runs),
        outbox: outbox
            .into_iter()
            .map(|row| OutboxMinute {
                minute: row.minute,
                enqueued: count(row.enqueued),
                rescheduled: count(row.rescheduled),
                delivered: count(row.delivered),
                exhausted: count(row.exhausted),
                cancelled: count(row.cancelled),
            })
            .collect(),
    })
}

/// A minute in which a segment of the log ended is counted in two rows: they follow one another.
fn together(rows: impl Iterator<Item = RunMinute>) -> Vec<RunMinute> {
    let mut minutes: Vec<RunMinute> = Vec::new();
    for row in rows {
        match minutes.last_mut().filter(|last| (last.minute, last.script) == (row.minute, row.script)) {
            Some(last) => {
                last.ok += row.ok;
                last.failed += row.failed;
                last.duration_us += row.duration_us;
                histogram::add(&mut last.durations, row.durations);
            }
            None => minutes.push(row),
        }
    }
    minutes
}

/// How much of an app's work is owed.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    /// So many items.
    pub pending: u64,
    /// The event that owes the oldest of them.
    pub oldest: Option<Position>,
}

/// How much of an app's work is owed now.
///
/// # Errors
/// When the database cannot be asked.
pub async fn depth(pool: &PgPool, app: AppId) -> Result<Depth, sqlx::Error> {
    let row = sqlx::query!(
        r#"select (select pending from views.outbox_depth where app_id = $1) as pending,
            (select position from state.outbox where app_id = $1 order by position limit 1) as oldest"#,
        app.uuid()
    )
    .fetch_one(pool)
    .await?;
    let pending = row.pending.and_then(|pending| pending.try_into().ok()).unwrap_or(0);
    Ok(Depth { pending, oldest: row.oldest.map(Position) })
}

/// How much work of all apps is owed now.
///
/// # Errors
/// When the database cannot be asked.
pub async fn pending(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"select coalesce(sum(pending), 0)::bigint as "pending!" from views.outbox_depth"#)
        .fetch_one(pool)
        .await
}
