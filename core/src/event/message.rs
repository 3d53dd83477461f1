//! Messages: published to whoever listens, or sent to be worked on.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A message was published to a topic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Published {
    /// The topic.
    pub topic: String,
    /// What it says.
    pub message: Box<RawValue>,
}

impl Published {
    pub(super) fn subject(&self) -> String {
        format!("topic:{}", self.topic)
    }
}

/// A message was sent to a queue: each of its consumers works on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// The queue.
    pub queue: String,
    /// What it says.
    pub message: Box<RawValue>,
    /// Messages of one key are worked on one at a time, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Higher goes first.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub priority: i16,
    /// Not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_usual(priority: &i16) -> bool {
    *priority == 0
}

impl Sent {
    pub(super) fn subject(&self) -> String {
        format!("queue:{}", self.queue)
    }
}
