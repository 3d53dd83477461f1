//! The view `metrics`: what ran and how long it took, and what became of owed work, minute by minute.

pub mod histogram;
mod read;

use std::collections::HashMap;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use futures::{FutureExt as _, future::BoxFuture};
use picloud_core::{
    event::Event,
    id::{AppId, ScriptId},
    log::{Recorded, read::Reader},
};
use sqlx::PgConnection;
use uuid::Uuid;

pub use self::read::{Depth, Minutes, OutboxMinute, RunMinute, depth, minutes, pending};
use super::{
    Schema,
    origins::Origins,
    view::{FoldError, View},
};

/// What it is called.
pub const NAME: &str = "metrics";

/// Follows the log.
#[derive(Debug)]
pub(super) struct Metrics {
    origins: Origins,
}

impl Metrics {
    pub(super) fn new(reader: Reader) -> Self {
        Self { origins: Origins::new(reader) }
    }
}

/// What ran in a minute.
#[derive(Default)]
struct Runs {
    ok: i64,
    failed: i64,
    duration_us: i64,
    durations: Vec<i32>,
}

/// What became of owed work in a minute.
#[derive(Default)]
struct Owed {
    enqueued: i64,
    rescheduled: i64,
    delivered: i64,
    exhausted: i64,
    cancelled: i64,
}

fn minute(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(TimeDelta::minutes(1)).expect("minutes divide all times there are")
}

impl View for Metrics {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static [&'static str] {
        &["run_minute", "outbox_minute", "outbox_depth"]
    }

    fn load<'a>(&'a mut self, _: &'a mut PgConnection, _: Schema) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        self.origins.clear();
        async { Ok(()) }.boxed()
    }

    fn take<'a>(
        &'a mut self,
        events: &'a [Recorded],
        connection: &'a mut PgConnection,
        schema: Schema,
    ) -> BoxFuture<'a, Result<(), FoldError>> {
        async move {
            self.origins.look_up(events).await?;
            let mut runs: HashMap<(AppId, ScriptId, DateTime<Utc>), Runs> = HashMap::new();
            let mut owed: HashMap<(AppId, DateTime<Utc>), Owed> = HashMap::new();
            for recorded in events {
                let at = minute(recorded.at);
                let origin = self.origins.meet(recorded);
                let mut ended = |duration_us: u64, is_ok: bool| {
                    let Some(origin) = &origin else { return };
                    let runs = runs.entry((origin.app, origin.script, at)).or_default();
                    *(if is_ok { &mut runs.ok } else { &mut runs.failed }) += 1;
                    runs.duration_us += duration_us as i64;
                    let bucket = histogram::bucket(duration_us);
                    if bucket >= runs.durations.len() {
                        runs.durations.resize(bucket + 1, 0);
                    }
                    runs.durations[bucket] += 1;
                };
                match &recorded.event.event {
                    Event::InvocationCompleted(completed) => ended(completed.duration_us, true),
                    Event::InvocationFailed(failed) => ended(failed.duration_us, false),
                    event => {
                        let Some(app) = recorded.event.app else { continue };
                        let mut count = |of: fn(&mut Owed) -> &mut i64| *of(owed.entry((app, at)).or_default()) += 1;
                        match event {
                            Event::OutboxEnqueued(_) => count(|owed| &mut owed.enqueued),
                            Event::OutboxRescheduled(_) => count(|owed| &mut owed.rescheduled),
                            Event::OutboxDelivered(_) => count(|owed| &mut owed.delivered),
                            Event::OutboxExhausted(_) => count(|owed| &mut owed.exhausted),
                            Event::OutboxCancelled(_) => count(|owed| &mut owed.cancelled),
                            _ => {}
                        }
                    }
                }
            }
            write_runs(connection, schema, &runs).await?;
            write_owed(connection, schema, &owed).await?;
            Ok(())
        }
        .boxed()
    }
}

async fn write_runs(
    connection: &mut PgConnection,
    schema: Schema,
    runs: &HashMap<(AppId, ScriptId, DateTime<Utc>), Runs>,
) -> Result<(), sqlx::Error> {
    if runs.is_empty() {
        return Ok(());
    }
    // An array of arrays would have to be a rectangle: each histogram goes as its text.
    sqlx::query(schema.sql(
        "insert into views.run_minute as m (app_id, script, minute, ok, failed, duration_us, durations)
        select app_id, script, minute, ok, failed, duration_us, durations::integer[]
        from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[])
            as r (app_id, script, minute, ok, failed, duration_us, durations)
        on conflict (app_id, script, minute) do update set
            ok = m.ok + excluded.ok,
            failed = m.failed + excluded.failed,
            duration_us = m.duration_us + excluded.duration_us,
            durations = log.add_counts(m.durations, excluded.durations)",
    ))
    .bind(runs.keys().map(|(app, _, _)| app.uuid()).collect::<Vec<Uuid>>())
    .bind(runs.keys().map(|(_, script, _)| script.uuid()).collect::<Vec<Uuid>>())
    .bind(runs.keys().map(|(_, _, minute)| *minute).collect::<Vec<_>>())
    .bind(runs.values().map(|runs| runs.ok).collect::<Vec<_>>())
    .bind(runs.values().map(|runs| runs.failed).collect::<Vec<_>>())
    .bind(runs.values().map(|runs| runs.duration_us).collect::<Vec<_>>())
    .bind(runs.values().map(|runs| array(&runs.durations)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// As PostgreSQL reads an array.
fn array(counts: &[i32]) -> String {
    let counts: Vec<String> = counts.iter().map(i32::to_string).collect();
    format!("{{{}}}", counts.join(","))
}

async fn write_owed(
    connection: &mut PgConnection,
    schema: Schema,
    owed: &HashMap<(AppId, DateTime<Utc>), Owed>,
) -> Result<(), sqlx::Error> {
    if owed.is_empty() {
        return Ok(());
    }
    sqlx::query(schema.sql(
        "insert into views.outbox_minute as m (app_id, minute, enqueued, rescheduled, delivered, exhausted, cancelled)
        select * from unnest($1::uuid[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
            $7::bigint[])
        on conflict (app_id, minute) do update set
            enqueued = m.enqueued + excluded.enqueued,
            rescheduled = m.rescheduled + excluded.rescheduled,
            delivered = m.delivered + excluded.delivered,
            exhausted = m.exhausted + excluded.exhausted,
            cancelled = m.cancelled + excluded.cancelled",
    ))
    .bind(owed.keys().map(|(app, _)| app.uuid()).collect::<Vec<Uuid>>())
    .bind(owed.keys().map(|(_, minute)| *minute).collect::<Vec<_>>())
    .bind(owed.values().map(|owed| owed.enqueued).collect::<Vec<_>>())
    .bind(owed.values().map(|owed| owed.rescheduled).collect::<Vec<_>>())
    .bind(owed.values().map(|owed| owed.delivered).collect::<Vec<_>>())
    .bind(owed.values().map(|owed| owed.exhausted).collect::<Vec<_>>())
    .bind(owed.values().map(|owed| owed.cancelled).collect::<Vec<_>>())
    .execute(&mut *connection)
    .await?;
    let mut pending: HashMap<Uuid, i64> = HashMap::new();
    for ((app, _), owed) in owed {
        *pending.entry(app.uuid()).or_default() += owed.enqueued - owed.delivered - owed.exhausted - owed.cancelled;
    }
    sqlx::query(schema.sql(
        "insert into views.outbox_depth as d (app_id, pending)
        select * from unnest($1::uuid[], $2::bigint[])
        on conflict (app_id) do update set pending = d.pending + excluded.pending",
    ))
    .bind(pending.keys().copied().collect::<Vec<_>>())
    .bind(pending.values().copied().collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
