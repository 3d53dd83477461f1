//! The node's alerts, from its start to its end.

use std::time::Instant;

use picloud_workers::alerts::{AlertParts, Alerts, Messenger};
use tokio::{task::JoinHandle, time::timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// A task that looks and tells.
pub(super) struct Alerting {
    /// Sends what somebody wants to try out.
    pub messenger: Messenger,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Alerting {
    pub(super) fn start(parts: AlertParts) -> Self {
        let (messenger, stop) = (parts.messenger.clone(), CancellationToken::new());
        let task = tokio::spawn(Alerts::new(parts).run(stop.clone()));
        Self { messenger, task, stop }
    }

    /// What is on its way is given up, and sent again after the next start.
    pub(super) async fn stop(self, deadline: Instant) {
        self.stop.cancel();
        if timeout_at(deadline.into(), self.task).await.is_err() {
            warn!("Stopped while an alert was about to be appended");
        }
    }
}
