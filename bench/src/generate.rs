//! A log as an instance has it after some time: runs of several apps and scripts that log and sometimes fail, written where the
//! committer would have written them, but by COPY.

use std::fmt::Write as _;

use anyhow::{Context, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use picloud_core::{
    event::{
        Actor, Class, Event, FailureReason,
        invocation::{Completed, Failed, Logged, Started},
        kv,
    },
    id::{ApiKeyId, AppId, InvocationId, NodeEpoch, RequestId, RouteId, ScriptId, TriggerId, VersionId},
    log::{NewEvent, partitions},
    run::{InvocationType, LogLevel, LogLine},
};
use serde_json::value::RawValue;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// So much is sent at once.
const PIECE_BYTES: usize = 1 << 20;

/// Runs that are under way at the same time: events of several lie between one's own.
const AT_ONCE: usize = 8;

/// Of so many runs, this many are of the first app; the others share the rest.
const OF_FIRST_APP: (u64, u64) = (7, 10);

const OTHER_APPS: u64 = 3;
const SCRIPTS: u64 = 6;
const KEYS: u64 = 1_000;
const TRIGGERS: u64 = 20;

/// One run in so many is of a script that hardly ever runs;
const RARE: u64 = 10_007;

/// one in so many is called with a key;
const HAS_KEY: u64 = 7;

/// one in so many is a trigger's;
const HAS_TRIGGER: u64 = 11;

/// one in so many fails;
const FAILS: u64 = 50;

/// one in so many logs a line;
const LOGS: u64 = 2;

/// one in so many writes an entry.
const WRITES: u64 = 3;

/// Events of a run, on average.
pub const EVENTS_A_RUN: f64 = 2.0 + 1.0 / LOGS as f64 + (1.0 - 1.0 / FAILS as f64) / WRITES as f64;

/// Runs as many as there is room for in so many events, of the days before now: most of the first app. How many events it came
/// to.
pub async fn runs(pool: &PgPool, first: AppId, events: u64, days: i64) -> anyhow::Result<u64> {
    let mut connection = pool.acquire().await?;
    let head: i64 = sqlx::query_scalar("select log.find_head()").fetch_one(&mut *connection).await?;
    while partitions::room(&mut connection, picloud_core::log::Position(head)).await?.positions_left <= events as i64 {
        partitions::add(&mut connection, partitions::MIN_SIZE).await?;
    }
    let segments: Vec<(i64, i64)> =
        sqlx::query_as("select low, high from log.segments order by low").fetch_all(pool).await?;
    let began = Utc::now() - TimeDelta::days(days);
    let last: Option<DateTime<Utc>> = sqlx::query_scalar("select max(at) from log.events").fetch_one(pool).await?;
    ensure!(last.is_none_or(|last| last < began), "the log has events of the last {days} days");
    let step = (Utc::now() - began) / i32::try_from(events).context("that many events")?;
    let mut log = Log::new(head, began, step);
    let mut happening = Happening::new(first);
    for (low, high) in segments {
        let to = high.min(head + 1 + events as i64);
        if log.position + 1 < low.max(log.position + 1) || log.position + 1 >= to {
            continue;
        }
        let mut pieces = Pieces::default();
        while log.position + 1 < to {
            let event = happening.next(log.at);
            pieces.add(&mut log, &event);
        }
        pieces.write(&mut connection, low).await?;
    }
    // Whoever appends next looks for the head again.
    sqlx::query("update log.writer set token = gen_random_uuid()").execute(&mut *connection).await?;
    sqlx::query("analyze log.events").execute(&mut *connection).await?;
    let head_now: i64 = sqlx::query_scalar("select log.find_head()").fetch_one(&mut *connection).await?;
    ensure!(head_now == log.position, "the log goes to {head_now} instead of {}", log.position);
    Ok((log.position - head) as u64)
}

struct Log {
    position: i64,
    at: DateTime<Utc>,
    step: TimeDelta,
}

impl Log {
    const fn new(position: i64, at: DateTime<Utc>, step: TimeDelta) -> Self {
        Self { position, at, step }
    }
}

/// What a run has yet to tell.
type Rest = Vec<NewEvent>;

/// What happens, one event after the other, the same in every run of the benchmark but for the names.
struct Happening {
    first: AppId,
    others: Vec<AppId>,
    /// The last hardly ever runs.
    scripts: Vec<(ScriptId, VersionId, RouteId)>,
    keys: Vec<ApiKeyId>,
    triggers: Vec<TriggerId>,
    node: NodeEpoch,
    begun: u64,
    open: Vec<Rest>,
    turn: usize,
}

impl Happening {
    fn new(first: AppId) -> Self {
        Self {
            first,
            others: (0..OTHER_APPS).map(|_| AppId::generate()).collect(),
            scripts: (0..=SCRIPTS)
                .map(|_| (ScriptId::generate(), VersionId::generate(), RouteId::generate()))
                .collect(),
            keys: (0..KEYS).map(|_| ApiKeyId::generate()).collect(),
            triggers: (0..TRIGGERS).map(|_| TriggerId::generate()).collect(),
            node: NodeEpoch::generate(),
            begun: 0,
            open: Vec::new(),
            turn: 0,
        }
    }

    fn next(&mut self, at: DateTime<Utc>) -> NewEvent {
        if self.open.len() < AT_ONCE {
            let rest = self.run(at);
            self.open.push(rest);
        }
        self.turn = (self.turn + 1) % self.open.len();
        let rest = &mut self.open[self.turn];
        let event = rest.pop().expect("those without anything left are gone");
        if rest.is_empty() {
            self.open.swap_remove(self.turn);
        }
        event
    }

    /// The events of a run that begins at a time, the last first.
    fn run(&mut self, at: DateTime<Utc>) -> Rest {
        self.begun += 1;
        let n = self.begun;
        let of = |n: u64, many: u64| (n % many) as usize;
        let app = if n % OF_FIRST_APP.1 < OF_FIRST_APP.0 { self.first } else { self.others[of(n, OTHER_APPS)] };
        let is_rare = n.is_multiple_of(RARE);
        let (script, version, route) = self.scripts[if is_rare { SCRIPTS as usize } else { of(n, SCRIPTS) }];
        let trigger = n.is_multiple_of(HAS_TRIGGER).then(|| self.triggers[of(n / HAS_TRIGGER, TRIGGERS)]);
        let actor = if n.is_multiple_of(HAS_KEY) {
            Actor::api_key(self.keys[of(n / HAS_KEY, KEYS)], RequestId::generate(), None)
        } else {
            Actor::SYSTEM
        };
        let invocation = InvocationId::from(made_at(at, InvocationId::generate().uuid()));
        let duration_us = 200 + (n * 7_919) % 20_000 + if n.is_multiple_of(1_000) { 2_000_000 } else { 0 };
        let mut events: Vec<Event> = vec![
            Started {
                invocation,
                script,
                version,
                invocation_type: InvocationType::Http,
                route: trigger.is_none().then_some(route),
                trigger,
                item: None,
                attempt: 1,
                node: self.node,
                recording: None,
            }
            .into(),
        ];
        if n.is_multiple_of(LOGS) {
            let message = format!("order {n} of customer {} was looked at", n % 9_973);
            let line = LogLine { level: LogLevel::Info, after_us: 120, message, data: None };
            events.push(Logged { invocation, lines: vec![line], dropped: 0 }.into());
        }
        if n.is_multiple_of(FAILS) {
            let message = format!("no address for order {n}");
            let (reason, line) = (FailureReason::Threw, Some(7));
            events.push(Failed { invocation, reason, message, line, limit: None, duration_us, runs: 1 }.into());
        } else {
            if n.is_multiple_of(WRITES) {
                let value = format!(r#"{{"order":{n},"state":"packed","weight_g":{}}}"#, n % 4_000);
                let value = RawValue::from_string(value).expect("it is JSON");
                let (collection, key) = ("orders".to_owned(), (n % 10_000).to_string());
                events.push(kv::Set { collection, key, value, expires_at: None }.into());
            }
            events.push(
                Completed { invocation, status: 200, duration_us, operations: 900, runs: 1, recording: None }.into(),
            );
        }
        events.reverse();
        let told = |event| NewEvent::new(Some(app), &actor, event).following(None, invocation, 0);
        events.into_iter().map(told).collect()
    }
}

/// The same id as if it had been made then: the first 48 bits of a ULID are milliseconds.
fn made_at(at: DateTime<Utc>, id: Uuid) -> Uuid {
    const RANDOM: u128 = (1 << 80) - 1;
    Uuid::from_u128((at.timestamp_millis() as u128) << 80 | id.as_u128() & RANDOM)
}

/// Rows in PostgreSQL's text format, a class each.
#[derive(Default)]
struct Pieces {
    data: Vec<String>,
    run: Vec<String>,
}

impl Pieces {
    fn add(&mut self, log: &mut Log, new: &NewEvent) {
        log.position += 1;
        log.at += log.step;
        let class = new.event.class();
        let pieces = if class == Class::Data { &mut self.data } else { &mut self.run };
        if pieces.last().is_none_or(|piece| piece.len() > PIECE_BYTES) {
            pieces.push(String::with_capacity(PIECE_BYTES + 4_096));
        }
        let piece = pieces.last_mut().expect("there is one now");
        let or_null = |id: Option<Uuid>| id.map_or_else(|| "\\N".to_owned(), |id| id.to_string());
        let _ = writeln!(
            piece,
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t\\N\t{}\t0\t{class}",
            log.position,
            made_at(log.at, new.id.uuid()),
            log.at.to_rfc3339(),
            or_null(new.app.map(Into::into)),
            new.event.kind(),
            new.subject,
            // What the format has a meaning for.
            new.data.replace('\\', "\\\\"),
            new.actor_json,
            or_null(new.root.map(Into::into)),
        );
    }

    async fn write(self, connection: &mut PgConnection, low: i64) -> anyhow::Result<()> {
        for (class, pieces) in [("data", self.data), ("run", self.run)] {
            let sql = format!(
                "copy log.{class}_{low} (position, id, at, app_id, kind, subject, data, actor, cause, root, depth, class) from stdin"
            );
            let mut copy = connection.copy_in_raw(&sql).await?;
            for piece in pieces {
                copy.send(piece.into_bytes()).await?;
            }
            copy.finish().await?;
        }
        Ok(())
    }
}
