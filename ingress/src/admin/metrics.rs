//! Figures of an app: how many runs, how they ended, how long they took, and what became of owed work.

use std::collections::BTreeMap;

use axum::{Json as Answer, extract::State};
use chrono::{DateTime, TimeDelta, Utc};
use picloud_core::id::ScriptId;
use picloud_projections::{
    setup::App,
    views::metrics::{self, DAY_S, Owed, Parts, begin_of, histogram},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Plane,
    access::InApp,
    events::{Scope, unreadable},
    params::Params,
    scripts,
    time::Time,
    write::database,
};
use crate::problem::{Kind, Problem};

/// As far back as figures go, when nobody says.
const USUAL: TimeDelta = TimeDelta::hours(1);

/// More points than these are no picture.
const MAX_POINTS: i64 = 2_000;

const MINUTE_S: i64 = 60;

/// Of so many minutes the pace is taken at which owed work is done.
const PACE_MINUTES: i64 = 5;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Id or name; not said: all.
    script: Option<String>,
    /// Not said: an hour ago.
    since: Option<DateTime<Utc>>,
    /// Not said: now.
    until: Option<DateTime<Utc>>,
    /// How much time lies between two points, in whole minutes; not said: one.
    #[schema(minimum = 60)]
    step_s: Option<i64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Metrics)]
pub(super) struct Figures {
    since: Time,
    until: Time,
    step_s: i64,
    /// All runs of that time.
    total: Runs,
    /// Those of each script, those with most runs first.
    scripts: Vec<OfScript>,
    /// Step by step; those in which nothing ended are left out.
    points: Vec<Point>,
    outbox: Outbox,
}

/// How runs ended, and how long they took.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = RunMetrics)]
struct Runs {
    ok: u64,
    failed: u64,
    #[schema(required)]
    mean_us: Option<u64>,
    /// The quantiles are read off a histogram: they are right to an eighth.
    #[schema(required)]
    p50_us: Option<u64>,
    #[schema(required)]
    p95_us: Option<u64>,
    #[schema(required)]
    p99_us: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScriptMetrics)]
struct OfScript {
    script: ScriptId,
    /// Null when the script is deleted.
    #[schema(required)]
    script_name: Option<String>,
    #[serde(flatten)]
    runs: Runs,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MetricsPoint)]
struct Point {
    at: Time,
    #[serde(flatten)]
    runs: Runs,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OutboxMetrics)]
struct Outbox {
    /// How many items are owed now.
    pending: u64,
    /// When the oldest of them was owed.
    #[schema(required)]
    oldest_at: Option<Time>,
    /// In how many seconds they are done, at the pace of the last minutes; null when none was done.
    #[schema(required)]
    drained_in_s: Option<u64>,
    points: Vec<OutboxPoint>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OutboxPoint)]
struct OutboxPoint {
    at: Time,
    enqueued: u64,
    rescheduled: u64,
    delivered: u64,
    /// Became dead letters.
    exhausted: u64,
    cancelled: u64,
}

impl Runs {
    fn of(counted: &metrics::Runs) -> Self {
        let quantile = |share| histogram::quantile(&counted.durations, share);
        Self {
            ok: counted.ok,
            failed: counted.failed,
            mean_us: counted.duration_us.checked_div(counted.ok + counted.failed),
            p50_us: quantile(0.5),
            p95_us: quantile(0.95),
            p99_us: quantile(0.99),
        }
    }
}

pub(super) async fn show(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(wanted): Params<Wanted>,
) -> Result<Answer<Figures>, Problem> {
    let script = wanted.script.as_deref().map(|named| scripts::find_ever(&app, named)).transpose()?;
    let now = Utc::now();
    let until = wanted.until.unwrap_or(now);
    let since = wanted.since.unwrap_or(until - USUAL);
    let step_s = step(&wanted, since, until)?;
    // Figures begin and end with whole steps.
    let since = begin_of(since, step_s);
    plane.fresh(metrics::NAME, &Scope::new(&plane, Some(app.id)).await?, None).await?;
    let parts = Parts::of(since, until, step_s);
    let pace_since = begin_of(now, MINUTE_S) - TimeDelta::minutes(PACE_MINUTES);
    let read = async {
        let (pool, app) = (&plane.pool, app.id);
        let runs = metrics::runs(pool, app, script, &parts).await?;
        let by_script = match script {
            Some(_) => BTreeMap::new(),
            None => metrics::runs_by_script(pool, app, &Parts::of(since, until, DAY_S)).await?,
        };
        let outbox = metrics::outbox(pool, app, &parts).await?;
        let lately = metrics::outbox(pool, app, &Parts::of(pace_since, now, DAY_S)).await?;
        Ok((runs, by_script, outbox, lately, metrics::depth(pool, app).await?))
    };
    let (runs, mut by_script, outbox, lately, depth) = read.await.map_err(|error: sqlx::Error| database(&error))?;
    let oldest = plane.reader.at(depth.oldest.as_slice()).await.map_err(|error| unreadable(&error))?;
    let oldest_at = oldest.into_values().next().map(|owes| Time(owes.at));

    let mut total = metrics::Runs::default();
    let mut by_step: BTreeMap<DateTime<Utc>, metrics::Runs> = BTreeMap::new();
    for (at, counted) in &runs {
        total.add(counted);
        by_step.entry(begin_of(*at, step_s)).or_default().add(counted);
    }
    if let Some(script) = script.filter(|_| !runs.is_empty()) {
        by_script.insert(script, total.clone());
    }
    Ok(Answer(Figures {
        since: Time(since),
        until: Time(until),
        step_s,
        total: Runs::of(&total),
        scripts: of_scripts(&app, &by_script),
        points: by_step.iter().map(|(at, counted)| Point { at: Time(*at), runs: Runs::of(counted) }).collect(),
        outbox: Outbox::of(&outbox, &lately, depth.pending, oldest_at, step_s),
    }))
}

fn step(wanted: &Wanted, since: DateTime<Utc>, until: DateTime<Utc>) -> Result<i64, Problem> {
    let wrong = |field, detail: String| Err(Problem::new(Kind::InvalidInput, detail).field(field));
    if since >= until {
        return wrong(
            "since",
            format!("since is {}: it must be before until, {}", since.to_rfc3339(), until.to_rfc3339()),
        );
    }
    let step_s = wanted.step_s.unwrap_or(MINUTE_S);
    if step_s < MINUTE_S || step_s % MINUTE_S != 0 {
        return wrong("step_s", format!("step_s is {step_s}: whole minutes are allowed, such as 60 or 3600"));
    }
    let points = (until - since).num_seconds() / step_s;
    if points > MAX_POINTS {
        let least = ((until - since).num_seconds() / MAX_POINTS / MINUTE_S + 1) * MINUTE_S;
        return wrong(
            "step_s",
            format!("that would be {points} points, of {MAX_POINTS} allowed: ask for a step_s of {least}"),
        );
    }
    Ok(step_s)
}

fn of_scripts(app: &App, counted: &BTreeMap<ScriptId, metrics::Runs>) -> Vec<OfScript> {
    let name = |id| app.scripts.iter().find(|script| script.id == id).map(|script| script.name.clone());
    let figures = |(script, counted): (&ScriptId, &metrics::Runs)| OfScript {
        script: *script,
        script_name: name(*script),
        runs: Runs::of(counted),
    };
    let mut scripts: Vec<OfScript> = counted.iter().map(figures).collect();
    scripts.sort_by_key(|script| std::cmp::Reverse(script.runs.ok + script.runs.failed));
    scripts
}

impl Outbox {
    fn of(
        counted: &[(DateTime<Utc>, Owed)],
        lately: &[(DateTime<Utc>, Owed)],
        pending: u64,
        oldest_at: Option<Time>,
        step_s: i64,
    ) -> Self {
        let mut by_step: BTreeMap<DateTime<Utc>, Owed> = BTreeMap::new();
        for (at, owed) in counted {
            by_step.entry(begin_of(*at, step_s)).or_default().add(owed);
        }
        let points = by_step.into_iter().map(|(at, owed)| OutboxPoint {
            at: Time(at),
            enqueued: owed.enqueued,
            rescheduled: owed.rescheduled,
            delivered: owed.delivered,
            exhausted: owed.exhausted,
            cancelled: owed.cancelled,
        });
        let done: u64 = lately.iter().map(|(_, owed)| owed.delivered + owed.exhausted + owed.cancelled).sum();
        let a_second = done as f64 / (PACE_MINUTES * MINUTE_S) as f64;
        let drained_in_s = (done > 0).then(|| (pending as f64 / a_second).ceil() as u64);
        Self { pending, oldest_at, drained_in_s, points: points.collect() }
    }
}
