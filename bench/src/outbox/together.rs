//! Items that are run while as many as can be are sent.

use std::time::Duration;

use serde_json::json;

use super::{
    Outbox,
    latencies::Latencies,
    peers::{ADDERS, Mode, Theirs},
    posts::{closed_loop, now_us},
    told,
};
use crate::report::{self, Line, Report};

/// Callers at once.
const CONNECTIONS: [usize; 2] = [ADDERS, 256];

/// However much has piled up.
const PATIENCE: Duration = Duration::from_secs(900);

pub async fn measure(outbox: &Outbox<'_>, report: &mut Report) -> anyhow::Result<()> {
    for connections in CONNECTIONS {
        let mut ours = vec![];
        let mut theirs = Theirs::new(Mode::Together);
        for _ in 0..outbox.bench.rounds {
            ours.push(once(outbox, connections).await?);
            if connections == ADDERS {
                theirs.measure(outbox, report).await;
            }
        }
        let rounds: Vec<_> = ours.iter().map(Together::round).collect();
        let line = line(format!("enqueue and drain, {connections} connections"), &rounds);
        theirs.report(&format!("{ADDERS} add, and drain"), line, report);
        let told: Vec<_> = ours.iter().map(Together::told).collect();
        report.detail(format!("together, {connections} connections, each round"), told);
    }
    Ok(())
}

/// One round.
pub struct Together {
    /// Accepted a second.
    pub accepted: f64,
    /// Done a second, of the time that was sent for.
    pub done: f64,
    /// Accepted and not yet done when the last was sent.
    left: usize,
    latencies: Latencies,
}

impl Together {
    fn round(&self) -> (f64, f64, f64) {
        (self.done, self.latencies.p50(), self.latencies.p99())
    }

    fn told(&self) -> serde_json::Value {
        json!({ "accepted_per_second": self.accepted, "done_per_second": self.done, "left_at_the_end": self.left,
            "start_p50_ms": self.latencies.p50(), "start_p99_ms": self.latencies.p99() })
    }
}

pub async fn once(outbox: &Outbox<'_>, connections: usize) -> anyhow::Result<Together> {
    let instance = &outbox.instance;
    instance.is_done(PATIENCE).await?;
    instance.checkpoint().await?;
    let head = instance.head().await?;
    let began_us = now_us();
    let posted = closed_loop(instance.service.port, "/later", connections, outbox.bench.seconds).await?;
    let ended_us = now_us();
    instance.is_done(PATIENCE).await?;
    let ran = told::ran(&instance.pool, head).await?;
    let seconds = (ended_us - began_us) as f64 / 1e6;
    let done = ran.iter().filter(|ran| ran.ended_us <= ended_us).count();
    Ok(Together {
        accepted: posted.len() as f64 / seconds,
        done: done as f64 / seconds,
        left: posted.len().saturating_sub(done),
        latencies: told::start_latencies(&posted, &ran)?,
    })
}

/// A line of rates, with the start latencies of the median round.
fn line(what: String, rounds: &[(f64, f64, f64)]) -> Line {
    let rates: Vec<f64> = rounds.iter().map(|(rate, _, _)| *rate).collect();
    let line = report::line(what, "items/s", &rates);
    match rounds.iter().copied().find(|(rate, _, _)| *rate == line.median) {
        Some((_, p50, p99)) => line.with_latency(p50, p99),
        None => line,
    }
}
