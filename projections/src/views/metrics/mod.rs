//! The view `metrics`: what ran and how long it took, and what became of owed work, minute by minute and rolled up over longer
//! steps.

mod counts;
pub mod histogram;
mod read;
mod step;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures::{FutureExt as _, future::BoxFuture};
use picloud_core::{
    event::{Class, Event},
    id::AppId,
    log::{Position, Recorded, read::Reader},
};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use self::step::STEPS_S;
pub use self::{
    counts::{Owed, Runs},
    read::{Depth, depth, outbox, pending, runs, runs_by_script},
    step::{DAY_S, Parts, begin_of},
};
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

/// Whose, over how long a step, when that began, of which script, and in which segment of the log they began.
type RunsKey = (AppId, i64, DateTime<Utc>, Uuid, i64);

/// Whose, over how long a step, when that began, and in which segment of the log.
type OwedKey = (AppId, i64, DateTime<Utc>, i64);

/// Stands for all scripts of an app.
const ALL: Uuid = Uuid::nil();

impl View for Metrics {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> i32 {
        3
    }

    fn tables(&self) -> &'static [&'static str] {
        &["run_rollup", "outbox_rollup", "outbox_depth"]
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
                let [minute_s, ..] = STEPS_S;
                let at = begin_of(recorded.at, minute_s);
                let origin = self.origins.meet(recorded);
                let mut ended = |duration_us: u64, is_ok: bool| {
                    let Some(origin) = &origin else { return };
                    let segment = self.segments.of(origin.position.0);
                    let key = (origin.app, minute_s, at, origin.script.uuid(), segment);
                    runs.entry(key).or_default().count(duration_us, is_ok);
                };
                match &recorded.event.event {
                    Event::InvocationCompleted(completed) => ended(completed.duration_us, true),
                    Event::InvocationFailed(failed) => ended(failed.duration_us, false),
                    event => {
                        let Some(app) = recorded.event.app else { continue };
                        let key = (app, minute_s, at, self.segments.of(recorded.position.0));
                        let mut count = |of: fn(&mut Owed) -> &mut u64| *of(owed.entry(key).or_default()) += 1;
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
            write_runs(connection, schema, &runs_rolled_up(&runs)).await?;
            write_owed(connection, schema, &owed_rolled_up(&owed)).await?;
            write_pending(connection, schema, &pending).await?;
            forget_counted(connection, schema, &["run_rollup", "outbox_rollup"], events).await?;
            Ok(())
        }
        .boxed()
    }
}

/// The same of longer steps too, and of all scripts.
fn runs_rolled_up(minutes: &HashMap<RunsKey, Runs>) -> HashMap<RunsKey, Runs> {
    let mut rolled_up: HashMap<RunsKey, Runs> = HashMap::new();
    for ((app, _, at, script, segment), runs) in minutes {
        for step_s in STEPS_S {
            for script in [*script, ALL] {
                rolled_up.entry((*app, step_s, begin_of(*at, step_s), script, *segment)).or_default().add(runs);
            }
        }
    }
    rolled_up
}

/// The same of longer steps too.
fn owed_rolled_up(minutes: &HashMap<OwedKey, Owed>) -> HashMap<OwedKey, Owed> {
    let mut rolled_up: HashMap<OwedKey, Owed> = HashMap::new();
    for ((app, _, at, segment), owed) in minutes {
        for step_s in STEPS_S {
            rolled_up.entry((*app, step_s, begin_of(*at, step_s), *segment)).or_default().add(owed);
        }
    }
    rolled_up
}

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
        "insert into views.run_rollup as r (app_id, step_s, at, script, segment, ok, failed, duration_us, durations)
        select app_id, step_s, at, script, segment, ok, failed, duration_us, durations::integer[]
        from unnest($1::uuid[], $2::integer[], $3::timestamptz[], $4::uuid[], $5::bigint[], $6::bigint[], $7::bigint[],
            $8::bigint[], $9::text[]) as u (app_id, step_s, at, script, segment, ok, failed, duration_us, durations)
        on conflict (app_id, step_s, at, script, segment) do update set
            ok = r.ok + excluded.ok,
            failed = r.failed + excluded.failed,
            duration_us = r.duration_us + excluded.duration_us,
            durations = log.add_counts(r.durations, excluded.durations)",
    ))
    .bind(runs.keys().map(|(app, ..)| app.uuid()).collect::<Vec<Uuid>>())
    .bind(runs.keys().map(|(_, step_s, ..)| *step_s as i32).collect::<Vec<_>>())
    .bind(runs.keys().map(|(_, _, at, ..)| *at).collect::<Vec<_>>())
    .bind(runs.keys().map(|(.., script, _)| *script).collect::<Vec<Uuid>>())
    .bind(runs.keys().map(|(.., segment)| *segment).collect::<Vec<_>>())
    .bind(runs.values().map(|runs| runs.ok as i64).collect::<Vec<_>>())
    .bind(runs.values().map(|runs| runs.failed as i64).collect::<Vec<_>>())
    .bind(runs.values().map(|runs| runs.duration_us as i64).collect::<Vec<_>>())
    .bind(runs.values().map(|runs| array(&runs.durations)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// As PostgreSQL reads an array.
fn array(counts: &[u64]) -> String {
    let counts: Vec<String> = counts.iter().map(u64::to_string).collect();
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
    let counts = |of: fn(&Owed) -> u64| owed.values().map(|owed| of(owed) as i64).collect::<Vec<_>>();
    sqlx::query(schema.sql(
        "insert into views.outbox_rollup as r
            (app_id, step_s, at, segment, enqueued, rescheduled, delivered, exhausted, cancelled)
        select * from unnest($1::uuid[], $2::integer[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[],
            $7::bigint[], $8::bigint[], $9::bigint[])
        on conflict (app_id, step_s, at, segment) do update set
            enqueued = r.enqueued + excluded.enqueued,
            rescheduled = r.rescheduled + excluded.rescheduled,
            delivered = r.delivered + excluded.delivered,
            exhausted = r.exhausted + excluded.exhausted,
            cancelled = r.cancelled + excluded.cancelled",
    ))
    .bind(owed.keys().map(|(app, ..)| app.uuid()).collect::<Vec<Uuid>>())
    .bind(owed.keys().map(|(_, step_s, ..)| *step_s as i32).collect::<Vec<_>>())
    .bind(owed.keys().map(|(_, _, at, _)| *at).collect::<Vec<_>>())
    .bind(owed.keys().map(|(.., segment)| *segment).collect::<Vec<_>>())
    .bind(counts(|owed| owed.enqueued))
    .bind(counts(|owed| owed.rescheduled))
    .bind(counts(|owed| owed.delivered))
    .bind(counts(|owed| owed.exhausted))
    .bind(counts(|owed| owed.cancelled))
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
