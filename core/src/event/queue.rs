//! Queues: how messages that wait are taken. A queue is there as soon as a trigger takes from it; these say more about it.

use serde::{Deserialize, Serialize};

fn subject(queue: &str) -> String {
    format!("queue:{queue}")
}

/// A queue is taken from like this from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configured {
    /// The queue.
    pub queue: String,
    /// How many of its messages may be worked on at once, by each of its consumers, on all nodes together; none is as many
    /// as there is room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
}

impl Configured {
    pub(super) fn subject(&self) -> String {
        subject(&self.queue)
    }
}

/// Its messages wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// The queue.
    pub queue: String,
}

impl Paused {
    pub(super) fn subject(&self) -> String {
        subject(&self.queue)
    }
}

/// Its messages may be taken again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// The queue.
    pub queue: String,
}

impl Resumed {
    pub(super) fn subject(&self) -> String {
        subject(&self.queue)
    }
}
