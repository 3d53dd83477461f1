//! What Prometheus is told. What happens is counted as this node's tail hears of it, so the hot path does nothing for it; how
//! things stand is looked up when somebody asks.
//!
//! The log is one for all nodes: each counts all of it, from its own start on. Whoever asks several takes one of them, or the
//! greatest.

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use futures::{FutureExt as _, future::BoxFuture};
use metrics::{Label, counter, gauge, histogram, with_local_recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use picloud_core::{
    event::{Event, seal::Sealed},
    log::{Follow, Recorded, TailHealth},
};
use picloud_ingress::health::{Health, Telemetry};
use picloud_projections::{dead_letters, views::metrics::pending};
use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::{joints::NodeHealth, traces};

/// Seconds that runs are told apart by, from the shortest there are to the longest that are allowed.
const RUN_SECONDS: [f64; 12] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// What nobody asks for is put together this often, so that it takes no memory.
const TIDY_EVERY: Duration = Duration::from_secs(5);

const EVENTS: &str = "picloud_events_total";
const RUNS: &str = "picloud_runs_total";
const RUN_DURATION: &str = "picloud_run_duration_seconds";
const ALERTS_RAISED: &str = "picloud_alerts_raised_total";
const ALERT_ATTEMPTS: &str = "picloud_alert_attempts_total";
const SEALED: &str = "picloud_sealed_position";
const SPANS_EXPORTED: &str = "picloud_trace_spans_exported_total";
const SPANS_DROPPED: &str = "picloud_trace_spans_dropped_total";

/// The figures of a node.
pub(super) struct Figures {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    health: Arc<NodeHealth>,
    database: PgPool,
    traces: traces::Counts,
}

impl Figures {
    pub(super) fn new(health: Arc<NodeHealth>, database: PgPool, traces: traces::Counts) -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full(RUN_DURATION.into()), &RUN_SECONDS)
            .expect("there are buckets")
            .build_recorder();
        let handle = recorder.handle();
        with_local_recorder(&recorder, describe);
        Self { recorder, handle, health, database, traces }
    }

    /// Counts what happens, until the log ends.
    pub(super) async fn count(self: Arc<Self>, mut log: Follow) {
        let mut tidied = Instant::now();
        loop {
            match log.next().await {
                Ok(Some(events)) => with_local_recorder(&self.recorder, || events.iter().for_each(count)),
                Ok(None) => return,
                Err(error) => {
                    warn!(%error, "Failed to follow the log for figures");
                    sleep(Duration::from_secs(1)).await;
                }
            }
            if tidied.elapsed() > TIDY_EVERY {
                self.handle.run_upkeep();
                tidied = Instant::now();
            }
        }
    }

    /// How things stand, as far as the node knows by itself.
    fn note(&self) {
        let NodeHealth { committer, tail, views, seals, setup, disk } = &*self.health;
        let readiness = self.health.readiness();
        gauge!("picloud_ready").set(number(readiness.unready.is_empty()));
        gauge!("picloud_degraded").set(readiness.degraded.len() as f64);
        gauge!("picloud_listening").set(number(tail.health() == TailHealth::Listening));
        gauge!("picloud_sealing").set(number(seals.trouble().is_none()));
        gauge!("picloud_outbox_paused").set(number(setup.get().outbox.is_paused));
        if let Some(space) = *disk.borrow() {
            gauge!("picloud_disk_available_bytes").set(space.available_bytes as f64);
            gauge!("picloud_disk_size_bytes").set(space.size_bytes as f64);
        }
        let (head, now) = (committer.head().max(tail.position()), Utc::now());
        gauge!("picloud_log_position").set(head.0 as f64);
        if let Some((exported, dropped)) = self.traces.now() {
            counter!(SPANS_EXPORTED).absolute(exported);
            counter!(SPANS_DROPPED).absolute(dropped);
        }
        for standing in views.standings() {
            let view = || vec![Label::new("view", standing.view)];
            gauge!("picloud_view_lag_seconds", view()).set(standing.lag(now).as_seconds_f64());
            gauge!("picloud_view_behind_events", view()).set(standing.behind(head) as f64);
            gauge!("picloud_view_parked", view()).set(number(standing.parked().is_some()));
        }
    }
}

impl Telemetry for Figures {
    fn text(&self) -> BoxFuture<'_, String> {
        async {
            with_local_recorder(&self.recorder, || self.note());
            let (owed, letters) = tokio::join!(pending(&self.database), dead_letters::open(&self.database));
            // What cannot be looked up now is as it was, and `picloud_ready` tells why.
            with_local_recorder(&self.recorder, || {
                if let Ok(owed) = owed {
                    gauge!("picloud_outbox_pending").set(owed as f64);
                }
                if let Ok(letters) = letters {
                    gauge!("picloud_dead_letters_open").set(letters as f64);
                }
            });
            self.handle.render()
        }
        .boxed()
    }
}

const fn number(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

fn count(recorded: &Recorded) {
    let event = &recorded.event.event;
    counter!(EVENTS, "kind" => event.kind()).increment(1);
    let (outcome, duration_us) = match event {
        Event::InvocationCompleted(completed) => ("completed", completed.duration_us),
        Event::InvocationFailed(failed) => (failed.reason.as_str(), failed.duration_us),
        Event::AlertRaised(raised) => {
            counter!(ALERTS_RAISED, "condition" => raised.matter.condition().as_str()).increment(1);
            return;
        }
        Event::AlertDelivered(_) | Event::AlertFailed(_) | Event::AlertRescheduled(_) => {
            // Of each attempt: what became of it.
            counter!(ALERT_ATTEMPTS, "outcome" => event.kind().trim_start_matches("alert.")).increment(1);
            return;
        }
        Event::SealSealed(Sealed(seal)) => {
            gauge!(SEALED).set(seal.up_to.0 as f64);
            return;
        }
        _ => return,
    };
    counter!(RUNS, "outcome" => outcome).increment(1);
    histogram!(RUN_DURATION).record(Duration::from_micros(duration_us));
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!(EVENTS, "Events of the log, of all nodes, since this one was started, by kind");
    describe_counter!(RUNS, "Runs of scripts that ended, of all nodes, since this one was started, by how");
    describe_counter!(ALERTS_RAISED, "Alerts, one for each channel that hears of it, by what is wrong");
    describe_counter!(
        ALERT_ATTEMPTS,
        "Attempts at telling a channel, by outcome: delivered, rescheduled or failed for good"
    );
    describe_histogram!(RUN_DURATION, "How long runs took, from their first instruction to their last");
    describe_counter!(SPANS_EXPORTED, "Spans of this node that a collector has taken");
    describe_counter!(SPANS_DROPPED, "Spans of this node that no collector has taken, nor will");
    describe_gauge!(SEALED, "Up to where the log is sealed");
    describe_gauge!("picloud_log_position", "The last event of the log");
    describe_gauge!("picloud_ready", "Whether this node can serve");
    describe_gauge!("picloud_degraded", "How many things work less well than they should: /readyz names them");
    describe_gauge!(
        "picloud_listening",
        "Whether notifications of the database arrive; otherwise other nodes' events come late"
    );
    describe_gauge!(
        "picloud_disk_available_bytes",
        "How much may still be written beside the data directory of this node"
    );
    describe_gauge!("picloud_disk_size_bytes", "How much that disk holds in all");
    describe_gauge!("picloud_sealing", "Whether nothing keeps this node from sealing the log");
    describe_gauge!("picloud_view_lag_seconds", "How long ago that happened which a view should show next");
    describe_gauge!("picloud_view_behind_events", "How many events a view has yet to take in");
    describe_gauge!("picloud_view_parked", "Whether a view stands still before an event that it cannot take in");
    describe_gauge!("picloud_outbox_pending", "How much work is owed, of all apps");
    describe_gauge!("picloud_outbox_paused", "Whether nothing that is owed may run, until somebody resumes it");
    describe_gauge!("picloud_dead_letters_open", "How many dead letters nobody has dealt with, of all apps");
}
