//! The view `metrics`: what ran and how long it took, and what became of owed work, minute by minute.

pub mod histogram;
mod read;

use std::collections::HashMap;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use futures::{FutureExt as _, future::BoxFuture};
use picloud_core::{
    event::{Class, Event},
    id::{AppId, ScriptId},
    log::{Position, Recorded, read::Reader},
};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

pub use self::read::{Depth, Minutes, OutboxMinute, RunMinute, depth, minutes, pending};
use super::{
    Schema,
    archived::forget_counted,
    origins::Origins,
    schema::Segments,
    view::{FoldError, View},
};

/// What it is called.
pub const NAME: &str = "metrics";

/// Follows the log.
#[derive(Debug)]
pub(super) struct Metrics {
    reader: Reader,
    origins: Origins,
    segments: Segments,
    /// How much was owed is known as of here, and counted from then on. None before anybody asked.
    owed_as_of: Option<Position>,
}

impl Metrics {
    pub(super) fn new(reader: Reader) -> Self {
        let origins = Origins::new(reader.clone());
        Self { reader, origins, segments: Segments::default(), owed_as_of: None }
    }

    /// Where the log begins in the middle, the ends of work would be counted whose beginnings are gone: whoever builds anew begins
    /// with what is owed now. Once: what is read again later lies behind that.
    async fn know_owed(&mut self, connection: &mut PgConnection, schema: Schema) -> Result<(), sqlx::Error> {
        if schema == Schema::LIVE || self.owed_as_of.is_some() {
            return Ok(());
        }
        let is_whole = self.reader.floor(Class::Run).await? == Position::ZERO;
        let as_of = if is_whole { Position::ZERO } else { owed_now(connection, schema).await? };
        self.owed_as_of = Some(as_of);
        Ok(())
    }
}

/// Writes how much is owed, and up to where that is so.
async fn owed_now(connection: &mut PgConnection, schema: Schema) -> Result<Position, sqlx::Error> {
    let mut transaction = connection.begin_with("begin isolation level repeatable read").await?;
    sqlx::query(schema.sql(
        "insert into views.outbox_depth (app_id, pending) select app_id, count(*) from state.outbox group by app_id",
    ))
    .execute(&mut *transaction)
    .await?;
    let head = sqlx::query_scalar!(r#"select log.find_head() as "head!""#).fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Position(head))
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
        2
    }

    fn tables(&self) -> &'static [&'static str] {
        &["run_minute", "outbox_minute", "outbox_depth"]
    }

    fn classes(&self) -> &'static [Class] {
        &[Class::Config, Class::Run]
    }

    fn load<'a>(
        &'a mut self,
        connection: &'a mut PgConnection,
        schema: Schema,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        self.origins.clear();
        self.segments = Segments::default();
        self.know_owed(connection, schema).boxed()
    }

    fn take<'a>(
        &'a mut self,
        events: &'a [Recorded],
        connection: &'a mut PgConnection,
        schema: Schema,
    ) -> BoxFuture<'a, Result<(), FoldError>> {
        async move {
            let Some(last) = events.last() else { return Ok(()) };
            self.segments.reach(connection, schema, &[], last.position.0).await?;
            self.origins.look_up(events).await?;
            let mut runs: HashMap<RunsKey, Runs> = HashMap::new();
            let mut owed: HashMap<OwedKey, Owed> = HashMap::new();
            let mut pending: HashMap<AppId, i64> = HashMap::new();
            for recorded in events {
                let at = minute(recorded.at);
                let origin = self.origins.meet(recorded);
                let mut ended = |duration_us: u64, is_ok: bool| {
                    let Some(origin) = &origin else { return };
                    let segment = self.segments.of(origin.position.0);
                    let runs = runs.entry((origin.app, origin.script, at, segment)).or_default();
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
                        let key = (app, at, self.segments.of(recorded.position.0));
                        let mut count = |of: fn(&mut Owed) -> &mut i64| *of(owed.entry(key).or_default()) += 1;
                        let more = match event {
                            Event::OutboxEnqueued(_) => {
                                count(|owed| &mut owed.enqueued);
                                1
                            }
                            Event::OutboxRescheduled(_) => {
                                count(|owed| &mut owed.rescheduled);
                                0
                            }
                            Event::OutboxDelivered(_) => {
                                count(|owed| &mut owed.delivered);
                                -1
                            }
                            Event::OutboxExhausted(_) => {
                                count(|owed| &mut owed.exhausted);
                                -1
                            }
                            Event::OutboxCancelled(_) => {
                                count(|owed| &mut owed.cancelled);
                                -1
                            }
                            _ => 0,
                        };
                        if more != 0 && self.owed_as_of.is_none_or(|as_of| recorded.position > as_of) {
                            *pending.entry(app).or_default() += more;
                        }
                    }
                }
            }
            write_runs(connection, schema, &runs).await?;
            write_owed(connection, schema, &owed).await?;
            write_pending(connection, schema, &pending).await?;
            forget_counted(connection, schema, &["run_minute", "outbox_minute"], events).await?;
            Ok(())
        }
        .boxed()
    }
}

/// Whose, of which script, in which minute, and in which segment of the log they began.
type RunsKey = (AppId, ScriptId, DateTime<Utc>, i64);

/// Whose, in which minute, and in which segment of the log.
type OwedKey = (AppId, DateTime<Utc>, i64);

async fn write_runs(
    connection: &mut PgConnection,
    schema: Schema,
    runs: &HashMap<RunsKey, Runs>,
) -> Result<(), sqlx::Error> {
    if runs.is_empty() {
        return Ok(());
    }
    // An array of arrays would have to be a rectangle: each histogram goes as its text.
    sqlx::query(schema.sql(
        "insert into views.run_minute as m (app_id, script, minute, ok, failed, duration_us, durations, segment)
        select app_id, script, minute, ok, failed, duration_us, durations::integer[], segment
        from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[],
            $8::bigint[]) as r (app_id, script, minute, ok, failed, duration_us, durations, segment)
        on conflict (app_id, script, minute, segment) do update set
            ok = m.ok + excluded.ok,
            failed = m.failed + excluded.failed,
            duration_us = m.duration_us + excluded.duration_us,
            durations = log.add_counts(m.durations, excluded.durations)",
    ))
    .bind(runs.keys().map(|(app, ..)| app.uuid()).collect::<Vec<Uuid>>())
    .bind(runs.keys().map(|(_, script, ..)| script.uuid()).collect::<Vec<Uuid>>())
    .bind(runs.keys().map(|(_, _, minute, _)| *minute).collect::<Vec<_>>())
    .bind(runs.values().map(|runs| runs.ok).collect::<Vec<_>>())
    .bind(runs.values().map(|runs| runs.failed).collect::<Vec<_>>())
    .bind(runs.values().map(|runs| runs.duration_us).collect::<Vec<_>>())
    .bind(runs.values().map(|runs| array(&runs.durations)).collect::<Vec<_>>())
    .bind(runs.keys().map(|(.., segment)| *segment).collect::<Vec<_>>())
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
    owed: &HashMap<OwedKey, Owed>,
) -> Result<(), sqlx::Error> {
    if owed.is_empty() {
        return Ok(());
    }
    sqlx::query(schema.sql(
        "insert into views.outbox_minute as m (app_id, minute, enqueued, rescheduled, delivered, exhausted, cancelled, segment)
        select * from unnest($1::uuid[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
            $7::bigint[], $8::bigint[])
        on conflict (app_id, minute, segment) do update set
            enqueued = m.enqueued + excluded.enqueued,
            rescheduled = m.rescheduled + excluded.rescheduled,
            delivered = m.delivered + excluded.delivered,
            exhausted = m.exhausted + excluded.exhausted,
            cancelled = m.cancelled + excluded.cancelled",
    ))
    .bind(owed.keys().map(|(app, ..)| app.uuid()).collect::<Vec<Uuid>>())
    .bind(owed.keys().map(|(_, minute, _)| *minute).collect::<Vec<_>>())
    .bind(owed.values().map(|owed| owed.enqueued).collect::<Vec<_>>())
    .bind(owed.values().map(|owed| owed.rescheduled).collect::<Vec<_>>())
    .bind(owed.values().map(|owed| owed.delivered).collect::<Vec<_>>())
    .bind(owed.values().map(|owed| owed.exhausted).collect::<Vec<_>>())
    .bind(owed.values().map(|owed| owed.cancelled).collect::<Vec<_>>())
    .bind(owed.keys().map(|(.., segment)| *segment).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Of who owes nothing, nothing is kept.
async fn write_pending(
    connection: &mut PgConnection,
    schema: Schema,
    pending: &HashMap<AppId, i64>,
) -> Result<(), sqlx::Error> {
    if pending.is_empty() {
        return Ok(());
    }
    let apps: Vec<Uuid> = pending.keys().map(|app| app.uuid()).collect();
    sqlx::query(schema.sql(
        "insert into views.outbox_depth as d (app_id, pending)
        select * from unnest($1::uuid[], $2::bigint[])
        on conflict (app_id) do update set pending = d.pending + excluded.pending",
    ))
    .bind(&apps)
    .bind(pending.values().copied().collect::<Vec<_>>())
    .execute(&mut *connection)
    .await?;
    sqlx::query(schema.sql("delete from views.outbox_depth where pending = 0 and app_id = any ($1)"))
        .bind(&apps)
        .execute(connection)
        .await?;
    Ok(())
}
