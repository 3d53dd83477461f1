//! What lasts and is so now, as far as a node knows from memory.

use std::time::Duration;

use picloud_core::{
    alert::{Condition, Matter, Space},
    log::{Tail, TailHealth},
};
use picloud_projections::views::Views;
use tokio::{sync::watch, time::Instant};

/// A database that is restarted ends all connections: nobody is woken for one that is back by then.
const POLLING_FOR: Duration = Duration::from_secs(15);

/// Looks at one node.
pub(super) struct Observer {
    /// The name of its machine.
    pub node: String,
    pub tail: Tail,
    pub views: Views,
    pub disk: watch::Receiver<Option<Space>>,
    pub polling: Polling,
}

/// Since when a node has not been notified.
#[derive(Debug, Default)]
pub(super) struct Polling(Option<Instant>);

impl Polling {
    /// Whether it has been so for long enough to be told.
    fn lasts(&mut self, is_so: bool, now: Instant) -> bool {
        if !is_so {
            self.0 = None;
            return false;
        }
        now - *self.0.get_or_insert(now) >= POLLING_FOR
    }
}

impl Observer {
    /// What is wrong with this node, and with the views if that is to be seen to here.
    pub fn look(&mut self, sees_to_views: bool) -> Vec<Matter> {
        let mut matters = Vec::new();
        let is_polling = self.tail.health() == TailHealth::Polling;
        if self.polling.lasts(is_polling, Instant::now()) {
            matters.push(Matter::ListeningDegraded { node: self.node.clone() });
        }
        if let Some(Space { available_bytes, size_bytes, is_short: true }) = *self.disk.borrow() {
            matters.push(Matter::Disk { node: self.node.clone(), available_bytes, size_bytes });
        }
        if sees_to_views {
            let parked = self.views.standings().into_iter().filter(|standing| standing.parked().is_some());
            matters.extend(parked.map(|standing| Matter::ViewParked { view: standing.view.to_owned() }));
        }
        matters
    }

    /// Whether it is this node that knows whether something is over.
    pub fn knows(&self, condition: Condition, subject: &str, sees_to_views: bool) -> bool {
        match condition {
            Condition::ListeningDegraded | Condition::Disk => subject == self.node,
            Condition::ViewParked => sees_to_views,
            Condition::DeadLetter | Condition::BackupFailed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_loss_of_notifications_is_not_told() {
        let (mut polling, began) = (Polling::default(), Instant::now());
        let after = |seconds| began + Duration::from_secs(seconds);
        assert!(!polling.lasts(true, began));
        assert!(!polling.lasts(true, after(14)));
        assert!(polling.lasts(true, after(15)));
        assert!(!polling.lasts(false, after(16)));
        // It begins anew.
        assert!(!polling.lasts(true, after(17)));
    }
}
