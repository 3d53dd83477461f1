//! Key-value entries.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

fn subject(collection: &str, key: &str) -> String {
    format!("kv:{collection}/{key}")
}

/// A key got a value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Set {
    /// The collection.
    pub collection: String,
    /// The key.
    pub key: String,
    /// The value, as the JSON it was written as.
    pub value: Box<RawValue>,
    /// From when on it reads as absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

impl Set {
    pub(super) fn subject(&self) -> String {
        subject(&self.collection, &self.key)
    }
}

/// A number was added to a key's value; an absent key counts as 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Increased {
    /// The collection.
    pub collection: String,
    /// The key.
    pub key: String,
    /// By how much; may be negative.
    pub by: i64,
}

impl Increased {
    pub(super) fn subject(&self) -> String {
        subject(&self.collection, &self.key)
    }
}

/// What a key was before the oldest part of the log that is left, whenever that is said: what happened to it since is told as
/// ever. Of several the last one counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// The collection.
    pub collection: String,
    /// The key.
    pub key: String,
    /// The value, which may be `null`; none, when there was no such key.
    #[serde(default, deserialize_with = "there", skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<RawValue>>,
    /// From when on it reads as absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// When it became so, as far as that was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<DateTime<Utc>>,
}

/// Reads a value that is there. Left to itself, serde takes `null` for none.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

impl Snapshot {
    pub(super) fn subject(&self) -> String {
        subject(&self.collection, &self.key)
    }
}

/// A key went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// The collection.
    pub collection: String,
    /// The key.
    pub key: String,
}

impl Deleted {
    pub(super) fn subject(&self) -> String {
        subject(&self.collection, &self.key)
    }
}
