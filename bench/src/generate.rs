//! A log as an instance has it after some time: runs of several apps and scripts that log and sometimes fail, written where the
//! committer would have written them, but by COPY.

use std::{fmt::Write as _, sync::Arc};

use anyhow::{Context, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use picloud_core::{
    event::{
        Actor, Event, FailureReason,
        invocation::{Completed, Failed, Logged, Started},
        kv,
    },
    id::{AppId, InvocationId, NodeEpoch, RouteId, ScriptId, VersionId},
    log::partitions,
    run::{InvocationType, LogLevel, LogLine},
};
use serde_json::value::RawValue;
use sqlx::{PgConnection, PgPool};

/// So much is sent at once.
const PIECE_BYTES: usize = 1 << 20;

/// Runs that are under way at the same time: events of several lie between one's own.
const AT_ONCE: usize = 8;

const APPS: usize = 4;
const SCRIPTS: usize = 6;

/// One run in so many fails;
const FAILS: u64 = 50;

/// one in so many logs a line;
const LOGS: u64 = 2;

/// one in so many writes an entry.
const WRITES: u64 = 3;

/// Runs as many as there is room for in so many events, of the days before now. How many events it came to.
pub async fn runs(pool: &PgPool, events: u64, days: i64) -> anyhow::Result<u64> {
    let mut connection = pool.acquire().await?;
    let head: i64 = sqlx::query_scalar("select log.find_head()").fetch_one(&mut *connection).await?;
    while partitions::room(&mut connection, picloud_core::log::Position(head)).await?.positions_left <= events as i64 {
        partitions::add(&mut connection, partitions::MIN_SIZE).await?;
    }
    let segments: Vec<(i64, i64)> =
        sqlx::query_as("select low, high from log.segments order by low").fetch_all(pool).await?;
    let last: Option<DateTime<Utc>> = sqlx::query_scalar("select max(at) from log.events").fetch_one(pool).await?;
    let began = last.unwrap_or_else(|| Utc::now() - TimeDelta::days(days));
    let step = (Utc::now() - began) / i32::try_from(events).context("that many events")?;
    let mut log = Log::new(head, began, step);
    let mut happening = Happening::new();
    for (low, high) in segments {
        let to = high.min(head + 1 + events as i64);
        if log.position + 1 < low.max(log.position + 1) || log.position + 1 >= to {
            continue;
        }
        let mut pieces = Pieces::default();
        while log.position + 1 < to {
            let event = happening.next();
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
type Rest = Vec<(AppId, Event)>;

/// What happens, one event after the other, the same in every run of the benchmark but for the names.
struct Happening {
    apps: [AppId; APPS],
    scripts: [(ScriptId, VersionId, RouteId); SCRIPTS],
    node: NodeEpoch,
    begun: u64,
    open: Vec<Rest>,
    turn: usize,
}

impl Happening {
    fn new() -> Self {
        Self {
            apps: std::array::from_fn(|_| AppId::generate()),
            scripts: std::array::from_fn(|_| (ScriptId::generate(), VersionId::generate(), RouteId::generate())),
            node: NodeEpoch::generate(),
            begun: 0,
            open: Vec::new(),
            turn: 0,
        }
    }

    fn next(&mut self) -> (AppId, Event) {
        if self.open.len() < AT_ONCE {
            let rest = self.run();
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

    /// A run's events, the last first.
    fn run(&mut self) -> Rest {
        self.begun += 1;
        let n = self.begun;
        let (app, (script, version, route)) = (self.apps[n as usize % APPS], self.scripts[n as usize % SCRIPTS]);
        let invocation = InvocationId::generate();
        let duration_us = 200 + (n * 7_919) % 20_000 + if n.is_multiple_of(1_000) { 2_000_000 } else { 0 };
        let mut events: Vec<Event> = vec![
            Started {
                invocation,
                script,
                version,
                invocation_type: InvocationType::Http,
                route: Some(route),
                trigger: None,
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
        events.into_iter().map(|event| (app, event)).collect()
    }
}

/// Rows in PostgreSQL's text format, a class each.
#[derive(Default)]
struct Pieces {
    data: Vec<String>,
    run: Vec<String>,
}

impl Pieces {
    fn add(&mut self, log: &mut Log, (app, event): &(AppId, Event)) {
        log.position += 1;
        log.at += log.step;
        let pieces = if event.class().as_str() == "data" { &mut self.data } else { &mut self.run };
        if pieces.last().is_none_or(|piece| piece.len() > PIECE_BYTES) {
            pieces.push(String::with_capacity(PIECE_BYTES + 4_096));
        }
        let actor: Arc<str> = serde_json::to_string(&Actor::SYSTEM).expect("actors are plain data").into();
        let piece = pieces.last_mut().expect("there is one now");
        let _ = writeln!(
            piece,
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{actor}\t\\N\t\\N\t0\t{}",
            log.position,
            picloud_core::id::EventId::generate().uuid(),
            log.at.to_rfc3339(),
            app.uuid(),
            event.kind(),
            event.subject(),
            // What the format has a meaning for.
            event.data().replace('\\', "\\\\"),
            event.class(),
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
