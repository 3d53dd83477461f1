//! How soon work begins that is owed while nothing else is.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    Outbox,
    latencies::Latencies,
    peers::{Mode, Theirs},
    posts::{Connection, Posted},
    told,
};
use crate::report::{self, Line, Report};

/// Between one item's acceptance and the next one's sending: by then it has been run.
const GAP: Duration = Duration::from_millis(5);

/// As long between a peer's job and its next.
const PATIENCE: Duration = Duration::from_secs(30);

/// Items whose latency does not count: connections are made and scripts compiled.
const WARM_UP: usize = 20;

pub async fn measure(outbox: &Outbox<'_>, report: &mut Report) -> anyhow::Result<()> {
    let (mut ours, mut seen) = (vec![], vec![]);
    let mut theirs = Theirs::new(Mode::Latency);
    for _ in 0..outbox.bench.rounds {
        outbox.instance.checkpoint().await?;
        let (head, posted) = send(outbox).await?;
        let found = told::start_latencies(&posted, &told::ran(&outbox.instance.pool, head).await?)?;
        ours.push((found.p50(), found.p99()));
        let found = told::start_latencies(&posted, &told::clocks(&outbox.instance, head).await?)?;
        seen.push((found.p50(), found.p99()));
        theirs.measure(outbox, report).await;
    }
    let ours = line("enqueue to start, one at a time: p50", &ours);
    theirs.report("add to start, one at a time: p50", ours, report);
    report.add(line("the same by the clock that the script saw: p50", &seen));
    report.detail("latency, samples a round", outbox.options.samples);
    Ok(())
}

/// The start latencies of one round, of ours.
pub async fn one_at_a_time(outbox: &Outbox<'_>) -> anyhow::Result<Latencies> {
    let (head, posted) = send(outbox).await?;
    told::start_latencies(&posted, &told::ran(&outbox.instance.pool, head).await?)
}

/// Sends a round's items, one at a time, and waits until they are done; the position before them.
async fn send(outbox: &Outbox<'_>) -> anyhow::Result<(i64, Vec<Posted>)> {
    let instance = &outbox.instance;
    let mut connection = Connection::open(instance.service.port, "/later").await?;
    for _ in 0..WARM_UP {
        connection.post().await?;
        sleep(GAP).await;
    }
    instance.is_done(PATIENCE).await?;
    let head = instance.head().await?;
    let mut posted = Vec::with_capacity(outbox.options.samples);
    for _ in 0..outbox.options.samples {
        posted.push(connection.post().await?);
        sleep(GAP).await;
    }
    instance.is_done(PATIENCE).await?;
    Ok((head, posted))
}

/// A line of p50s, with both percentiles of the median round.
pub fn line(what: &str, rounds: &[(f64, f64)]) -> Line {
    let p50s: Vec<f64> = rounds.iter().map(|(p50, _)| *p50).collect();
    let line = report::line(what, "ms", &p50s);
    match rounds.iter().copied().find(|(p50, _)| *p50 == line.median) {
        Some((p50, p99)) => line.with_latency(p50, p99),
        None => line,
    }
}
