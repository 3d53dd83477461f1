//! How a view stands, as far as this node knows.

use chrono::{DateTime, TimeDelta, Utc};
use picloud_core::log::Position;

use super::checkpoint::{Checkpoint, Parked};

/// How a view stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub view: &'static str,
    /// Up to where it has taken in the log, when that was last looked at.
    pub checkpoint: Checkpoint,
    /// Since when there is something that it has not taken in; none, when there was nothing at the last look.
    pub behind_since: Option<DateTime<Utc>>,
    /// Whether this node folds it.
    pub is_ours: bool,
}

impl Standing {
    pub(super) fn new(view: &'static str) -> Self {
        Self { view, checkpoint: Checkpoint::default(), behind_since: None, is_ours: false }
    }

    /// Why it stands still.
    #[must_use]
    pub const fn parked(&self) -> Option<&Parked> {
        self.checkpoint.parked.as_ref()
    }

    /// How many events it has yet to take in.
    #[must_use]
    pub fn behind(&self, head: Position) -> u64 {
        u64::try_from(head.0 - self.checkpoint.position.0).unwrap_or(0)
    }

    /// How long ago that happened which it should show next; nothing, when it shows all there is.
    #[must_use]
    pub fn lag(&self, now: DateTime<Utc>) -> TimeDelta {
        self.behind_since.map_or(TimeDelta::zero(), |since| (now - since).max(TimeDelta::zero()))
    }
}
