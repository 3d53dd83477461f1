//! Where traces go: to a collector, over OTLP with HTTP. Off unless a collector is named; then nothing of this exists.
//!
//! What takes time is told by whoever takes it (requests by the data plane, runs and their calls by the runner) to a
//! [`Tracer`]. What only the log says, [`log`] reads from what this node appends. The [`exporter`] sends all of it on.

mod exporter;
mod log;
mod otlp;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use picloud_core::{
    id::NodeEpoch,
    trace::{Span, Tracer},
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::{exporter::Exporter, otlp::Resource};
use super::Platform;
use crate::config::Otlp;

/// Spans that wait to be sent: about 20 MiB. A collector that is away for longer than they last misses the others.
const QUEUE: usize = 16_384;

/// How long the end of the service waits for what the log said last.
const PATIENCE: Duration = Duration::from_secs(1);

/// Traces before there is a node to tell of.
pub(super) struct Traces {
    tracer: Tracer,
    to: Option<(Otlp, mpsc::Receiver<Span>)>,
}

/// What becomes of traces, for figures.
#[derive(Clone, Default)]
pub(super) struct Counts {
    tracer: Tracer,
    exported: Arc<AtomicU64>,
}

impl Counts {
    /// How many spans a collector has taken, and how many were dropped; none while traces are off.
    pub(super) fn now(&self) -> Option<(u64, u64)> {
        self.tracer.is_on().then(|| (self.exported.load(Ordering::Relaxed), self.tracer.dropped()))
    }
}

/// The tasks that read the log for them and send them.
pub(super) struct Sending {
    pub(super) counts: Counts,
    stop: CancellationToken,
    tasks: Option<(JoinHandle<()>, JoinHandle<()>)>,
}

impl Traces {
    pub(super) fn new(config: Option<&Otlp>) -> Self {
        let Some(otlp) = config else { return Self { tracer: Tracer::off(), to: None } };
        let (tracer, queue) = Tracer::new(QUEUE, otlp.ratio);
        Self { tracer, to: Some((otlp.clone(), queue)) }
    }

    /// Where they are told.
    pub(super) fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// Begins to send what a node tells.
    ///
    /// # Errors
    /// When no client can be made.
    pub(super) fn send(self, platform: &Platform) -> anyhow::Result<Sending> {
        let Self { tracer, to } = self;
        let stop = CancellationToken::new();
        let counts = Counts { tracer: tracer.clone(), exported: Arc::default() };
        let Some((otlp, queue)) = to else { return Ok(Sending { counts, stop, tasks: None }) };
        let resource = resource(&otlp, platform.node.epoch());
        let exporter = Exporter::new(&otlp, resource, queue, tracer.clone(), Arc::clone(&counts.exported))
            .context("failed to prepare a client for traces")?;
        // It ends with the tail.
        let reading =
            tokio::spawn(log::tell(platform.tail.own(), platform.reader.clone(), platform.setup.clone(), tracer));
        let task = tokio::spawn(exporter.run(stop.clone()));
        Ok(Sending { counts, stop, tasks: Some((reading, task)) })
    }
}

impl Sending {
    /// Sends what was told up to the end of the log, within a few seconds.
    pub(super) async fn stop(self) {
        let Some((reading, sending)) = self.tasks else { return };
        // The log has ended, and what it said last is being told.
        let _ = timeout(PATIENCE, reading).await;
        self.stop.cancel();
        if sending.await.is_err() {
            warn!("Sending traces ended badly");
        }
    }
}

/// What sends them, as collectors name it. What was said outright wins over what was said along with others.
fn resource(otlp: &Otlp, node: NodeEpoch) -> Resource {
    let said = |name: &str| otlp.attributes.iter().any(|(said, _)| said == name);
    let mut attributes = otlp.attributes.clone();
    if let Some(name) = &otlp.service_name {
        attributes.retain(|(said, _)| said != "service.name");
        attributes.push(("service.name".to_owned(), name.clone()));
    }
    for (name, value) in [
        ("service.name", "picloud".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", node.to_string()),
        ("host.name", super::platform::host_name()),
    ] {
        if !said(name) && attributes.iter().all(|(there, _)| there != name) {
            attributes.push((name.to_owned(), value));
        }
    }
    otlp::resource(attributes)
}
