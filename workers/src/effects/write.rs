//! A key's pending write: what all writes of one run to it come to.

use chrono::{DateTime, Utc};
use picloud_core::event::{Event, kv};
use serde_json::value::RawValue;

use crate::sandbox::DataError;

/// What a run does to one key in the end.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Set { value: Box<RawValue>, expires_at: Option<DateTime<Utc>> },
    Increase { by: i64 },
    Delete,
}

/// What a key that has a pending write reads as.
pub(super) enum Shown<'a> {
    /// This, whatever is stored.
    Known(Option<&'a RawValue>),
    /// What is stored, and this much.
    StoredPlus(i64),
}

impl Write {
    pub(super) fn shown(&self, now: DateTime<Utc>) -> Shown<'_> {
        match self {
            Self::Set { value, expires_at } => Shown::Known((!is_over(*expires_at, now)).then_some(&**value)),
            Self::Increase { by } => Shown::StoredPlus(*by),
            Self::Delete => Shown::Known(None),
        }
    }

    /// About what it adds to a commit, the key included.
    pub(super) fn size_bytes(&self, collection: &str, key: &str) -> usize {
        /// A number as text, or the little that says an entry goes.
        const SMALL: usize = 20;
        let value = match self {
            Self::Set { value, .. } => value.get().len(),
            Self::Increase { .. } | Self::Delete => SMALL,
        };
        collection.len() + key.len() + value
    }

    pub(super) fn into_event(self, collection: String, key: String) -> Event {
        match self {
            Self::Set { value, expires_at } => kv::Set { collection, key, value, expires_at }.into(),
            Self::Increase { by } => kv::Increased { collection, key, by }.into(),
            Self::Delete => kv::Deleted { collection, key }.into(),
        }
    }
}

/// Whether an entry that expires has done so.
pub(super) fn is_over(expires_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    expires_at.is_some_and(|at| at <= now)
}

/// What an increase makes of a value that is known; an absent one counts as 0.
pub(super) fn sum(collection: &str, key: &str, value: Option<&RawValue>, by: i64) -> Result<i64, DataError> {
    let Some(value) = value else { return Ok(by) };
    let refused = |why: &str| DataError::NotANumber(format!("kv::increment: `{collection}/{key}` {why}"));
    let number: i64 = value.get().parse().map_err(|_| refused("is no integer"))?;
    number.checked_add(by).ok_or_else(|| refused(&format!("is {number}: {by} more is past the range of integers")))
}

/// A number as a stored value.
pub(super) fn number(number: i64) -> Box<RawValue> {
    RawValue::from_string(number.to_string()).expect("an integer is JSON")
}
