//! Parts of the log that were kept for long enough.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Class;

/// The events of a class in a segment of the log are no longer kept. What was still owed of them had been said again before; the
/// seals go on proving that nothing else is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archived {
    /// The class.
    pub class: Class,
    /// The first position of the segment,
    pub low: i64,
    /// and the first behind it.
    pub high: i64,
    /// How many events went.
    pub events: u64,
    /// When the first of them had happened,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_at: Option<DateTime<Utc>>,
    /// and the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<DateTime<Utc>>,
    /// The file that they were written to before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<Export>,
}

/// A file that holds what went, as it was sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Its name in the folder that was set.
    pub file: String,
    /// How long it is.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

impl Archived {
    pub(super) fn subject(&self) -> String {
        format!("partition:{}_{}", self.class, self.low)
    }
}
