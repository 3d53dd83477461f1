//! Times that came.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::TriggerId;

/// A time at which a trigger is to run came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    /// The trigger.
    pub trigger: TriggerId,
    /// The time.
    pub due_at: DateTime<Utc>,
    /// How many times since the last one were passed over.
    #[serde(default)]
    pub passed_over: u64,
    /// This one is passed over, too: the last run goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_skipped: bool,
}

impl Fired {
    pub(super) fn subject(&self) -> String {
        self.trigger.to_string()
    }
}

/// Up to where a trigger's times were decided about, said again: what said so first goes with its part of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedForward {
    /// The trigger.
    pub trigger: TriggerId,
    /// The last time that was decided about.
    pub due_at: DateTime<Utc>,
}

impl CarriedForward {
    pub(super) fn subject(&self) -> String {
        self.trigger.to_string()
    }
}
