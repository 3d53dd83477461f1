//! Backups, as far as the log knows of them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{id::HistoryId, log::Position};

/// A copy of the instance as of one moment was handed out whole. What became of the file, nobody here knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The moment.
    pub taken_at: DateTime<Utc>,
    /// The last event in it.
    pub head: Position,
    /// How many rows.
    pub rows: u64,
    /// How many bytes, compressed.
    pub size_bytes: u64,
}

impl Taken {
    pub(super) fn subject(&self) -> String {
        "backup".to_owned()
    }
}

/// A backup was begun and came to no end: there is no file, or one that a restore refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Why.
    pub error: String,
}

impl Failed {
    /// The longest reason, in characters: a line, not a report.
    const MAX_CHARS: usize = 500;

    /// For this reason.
    #[must_use]
    pub fn because(error: &str) -> Self {
        Self { error: error.chars().take(Self::MAX_CHARS).collect() }
    }

    pub(super) fn subject(&self) -> String {
        "backup".to_owned()
    }
}

/// The instance was restored from a backup: a new life of the log begins with this event. What happened in the life before
/// after the backup's last event is not in this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The moment that the backup is of.
    pub taken_at: DateTime<Utc>,
    /// The last event in it.
    pub head: Position,
    /// The life that it is of,
    pub from: HistoryId,
    /// and the one that begins.
    pub to: HistoryId,
}

impl Restored {
    pub(super) fn subject(&self) -> String {
        "backup".to_owned()
    }
}
