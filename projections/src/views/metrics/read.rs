//! What was counted, as figures are made of it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use picloud_core::{
    id::{AppId, ScriptId},
    log::Position,
};
use sqlx::PgPool;

use super::{ALL, Owed, Parts, Runs};

/// What ran in an app, of one script or of all, by the beginnings of the steps it was counted over. A step may come in several
/// pieces.
///
/// # Errors
/// When the database cannot be asked.
pub async fn runs(
    pool: &PgPool,
    app: AppId,
    script: Option<ScriptId>,
    parts: &Parts,
) -> Result<Vec<(DateTime<Utc>, Runs)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select r.at as "at!", r.ok as "ok!", r.failed as "failed!", r.duration_us as "duration_us!",
            r.durations as "durations!"
        from unnest($3::integer[], $4::timestamptz[], $5::timestamptz[]) as part (step_s, since, until),
            lateral (
                select at, ok, failed, duration_us, durations from views.run_rollup
                where app_id = $1 and script = $2 and step_s = part.step_s and at >= part.since and at < part.until
                offset 0
            ) r"#,
        app.uuid(),
        script.map_or(ALL, ScriptId::uuid),
        &parts.steps_s,
        &parts.since,
        &parts.until
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.at, counted(row.ok, row.failed, row.duration_us, &row.durations))).collect())
}

/// What ran of each script of an app.
///
/// # Errors
/// When the database cannot be asked.
pub async fn runs_by_script(pool: &PgPool, app: AppId, parts: &Parts) -> Result<BTreeMap<ScriptId, Runs>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select r.script as "script!", r.ok as "ok!", r.failed as "failed!", r.duration_us as "duration_us!",
            r.durations as "durations!"
        from unnest($3::integer[], $4::timestamptz[], $5::timestamptz[]) as part (step_s, since, until),
            lateral (
                select script, ok, failed, duration_us, durations from views.run_rollup
                where app_id = $1 and script <> $2 and step_s = part.step_s and at >= part.since and at < part.until
                offset 0
            ) r"#,
        app.uuid(),
        ALL,
        &parts.steps_s,
        &parts.since,
        &parts.until
    )
    .fetch_all(pool)
    .await?;
    let mut scripts: BTreeMap<ScriptId, Runs> = BTreeMap::new();
    for row in rows {
        let runs = counted(row.ok, row.failed, row.duration_us, &row.durations);
        scripts.entry(row.script.into()).or_default().add(&runs);
    }
    Ok(scripts)
}

fn counted(ok: i64, failed: i64, duration_us: i64, durations: &[i32]) -> Runs {
    Runs {
        ok: count(ok),
        failed: count(failed),
        duration_us: count(duration_us),
        durations: durations.iter().map(|counted| count((*counted).into())).collect(),
    }
}

/// What became of an app's owed work, by the beginnings of the steps it was counted over, oldest first. A step may come in
/// several pieces.
///
/// # Errors
/// When the database cannot be asked.
pub async fn outbox(pool: &PgPool, app: AppId, parts: &Parts) -> Result<Vec<(DateTime<Utc>, Owed)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select o.at as "at!", o.enqueued as "enqueued!", o.rescheduled as "rescheduled!", o.delivered as "delivered!",
            o.exhausted as "exhausted!", o.cancelled as "cancelled!"
        from unnest($2::integer[], $3::timestamptz[], $4::timestamptz[]) as part (step_s, since, until),
            lateral (
                select at, enqueued, rescheduled, delivered, exhausted, cancelled from views.outbox_rollup
                where app_id = $1 and step_s = part.step_s and at >= part.since and at < part.until
                offset 0
            ) o
        order by o.at"#,
        app.uuid(),
        &parts.steps_s,
        &parts.since,
        &parts.until
    )
    .fetch_all(pool)
    .await?;
    let owed = rows.into_iter().map(|row| {
        let owed = Owed {
            enqueued: count(row.enqueued),
            rescheduled: count(row.rescheduled),
            delivered: count(row.delivered),
            exhausted: count(row.exhausted),
            cancelled: count(row.cancelled),
        };
        (row.at, owed)
    });
    Ok(owed.collect())
}

fn count(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
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
