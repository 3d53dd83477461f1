//! What lasts, as far as a node knows from memory: what is wrong now, and what is known to be well.

use std::{collections::HashMap, time::Duration};

use picloud_core::{
    alert::{Condition, Matter, Space},
    log::{Position, Tail, TailHealth},
};
use picloud_projections::views::Views;
use tokio::{sync::watch, time::Instant};

/// Looks at one node.
pub(super) struct Observer {
    /// The name of its machine.
    pub node: String,
    pub tail: Tail,
    pub views: Views,
    pub disk: watch::Receiver<Option<Space>>,
    pub steady: Steady,
}

/// What was seen. What is in neither is not known, and nothing is said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Observed {
    /// What is wrong.
    pub wrong: Vec<Matter>,
    /// What is well, and of what subject.
    pub well: Vec<(Condition, String)>,
}

impl Observed {
    /// Whether this node knows that it is.
    pub fn is_well(&self, condition: Condition, subject: &str) -> bool {
        self.well.iter().any(|(well, of)| *well == condition && of == subject)
    }
}

/// Since when things are as they are. A node that has just begun to look, and what comes and goes within a moment, are no
/// reason to say anything.
#[derive(Debug)]
pub(super) struct Steady {
    lasts: Duration,
    since: HashMap<(Condition, String), (bool, Instant)>,
}

impl Steady {
    /// What is so for this long is so.
    pub fn new(lasts: Duration) -> Self {
        Self { lasts, since: HashMap::new() }
    }

    /// Nobody has looked for a while.
    pub fn forget(&mut self) {
        self.since.clear();
    }

    /// Whether something is wrong, and has been for long enough to say so; none, when that is not sure yet.
    fn is_wrong(&mut self, condition: Condition, subject: &str, is_wrong: bool, now: Instant) -> Option<bool> {
        let seen = self.since.entry((condition, subject.to_owned())).or_insert((is_wrong, now));
        if seen.0 != is_wrong {
            *seen = (is_wrong, now);
        }
        // A view that stands still has tried again before it says so, and a disk does not fill for a moment. But a database that
        // is restarted ends all connections, and nobody is to be woken for one that is back soon.
        let is_sure_at_once = is_wrong && condition != Condition::ListeningDegraded;
        (is_sure_at_once || now - seen.1 >= self.lasts).then_some(is_wrong)
    }
}

impl Observer {
    /// What is wrong with this node, and with the views if that is to be seen to here.
    pub fn look(&mut self, sees_to_views: bool) -> Observed {
        let mut observed = Observed::default();
        let mut see = |is_wrong: bool, matter: Matter| {
            let (condition, subject) = (matter.condition(), matter.subject());
            match self.steady.is_wrong(condition, &subject, is_wrong, Instant::now()) {
                Some(true) => observed.wrong.push(matter),
                Some(false) => observed.well.push((condition, subject)),
                None => {}
            }
        };
        let is_polling = self.tail.health() == TailHealth::Polling;
        see(is_polling, Matter::ListeningDegraded { node: self.node.clone() });
        if let Some(Space { available_bytes, size_bytes, is_short }) = *self.disk.borrow() {
            see(is_short, Matter::Disk { node: self.node.clone(), available_bytes, size_bytes });
        }
        if sees_to_views {
            // Of one that has not been looked at yet it is not known how it stands.
            let standings = self.views.standings().into_iter();
            for standing in standings.filter(|standing| standing.checkpoint.position > Position::ZERO) {
                see(standing.parked().is_some(), Matter::ViewParked { view: standing.view.to_owned() });
            }
        }
        observed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTS: Duration = Duration::from_secs(15);

    #[test]
    fn a_short_loss_of_notifications_is_not_told_and_neither_is_a_short_return() {
        let (mut steady, began) = (Steady::new(LASTS), Instant::now());
        let mut polling = |is_so, second| {
            steady.is_wrong(Condition::ListeningDegraded, "attic", is_so, began + Duration::from_secs(second))
        };
        assert_eq!(polling(true, 0), None);
        assert_eq!(polling(true, 14), None);
        assert_eq!(polling(true, 15), Some(true));
        assert_eq!(polling(false, 16), None);
        // It begins anew.
        assert_eq!(polling(true, 17), None);
        assert_eq!(polling(false, 18), None);
        assert_eq!(polling(false, 33), Some(false));
    }

    #[test]
    fn a_view_that_stands_still_is_told_at_once_and_that_it_goes_on_when_it_has_for_a_while() {
        let (mut steady, began) = (Steady::new(LASTS), Instant::now());
        let mut parked = |view, is_so, second| {
            steady.is_wrong(Condition::ViewParked, view, is_so, began + Duration::from_secs(second))
        };
        // A node that has just been started does not know that all is well.
        assert_eq!(parked("logs", false, 0), None);
        assert_eq!(parked("logs", true, 1), Some(true));
        assert_eq!(parked("logs", false, 2), None);
        assert_eq!(parked("metrics", false, 2), None);
        assert_eq!(parked("logs", true, 16), Some(true), "it went on, and stands again");
        assert_eq!(parked("logs", false, 17), None);
        assert_eq!(parked("logs", false, 32), Some(false));
    }
}
