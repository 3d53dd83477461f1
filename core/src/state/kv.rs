//! Key-value entries, and what an event writes into one.
//!
//! The committer reduces a batch to one [`Write`] a row and lets the database put it onto what is there ([`Write::on`] says
//! what that comes to): an increase need not know what it increases.

use std::borrow::Cow;

use chrono::{DateTime, SubsecRound as _, Utc};
use serde_json::value::RawValue;

use crate::{
    event::{Event, kv},
    log::{NewEvent, Position},
};

/// An entry, expired or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its value, as the JSON it was written as.
    pub value: String,
    /// From when on it reads as absent.
    pub expires_at: Option<DateTime<Utc>>,
    /// The event that last changed it.
    pub position: Position,
}

impl Entry {
    /// As a snapshot says.
    #[must_use]
    pub fn of(snapshot: &kv::Snapshot, position: Position) -> Option<Self> {
        let value = snapshot.value.as_ref()?.get().to_owned();
        let expires_at = snapshot.expires_at.map(|expires_at| expires_at.trunc_subsecs(6));
        Some(Self { value, expires_at, position })
    }

    /// Its value, to be stored.
    #[must_use]
    pub fn into_raw(self) -> Box<RawValue> {
        RawValue::from_string(self.value).expect("what was stored is JSON")
    }

    /// Whether it reads as absent.
    #[must_use]
    pub fn is_expired(&self, at: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= at)
    }
}

/// What becomes of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write<'a> {
    /// It has this value.
    Set {
        /// As JSON: the event's own text, or a sum.
        value: Cow<'a, str>,
        /// From when on it reads as absent.
        expires_at: Option<DateTime<Utc>>,
        /// What its value is instead, without an expiry, when `expires_at` has passed: the sum of the increases since.
        anew: Option<i64>,
    },
    /// This much is added to whatever it is.
    Add(i64),
    /// It goes.
    Delete,
}

impl<'a> Write<'a> {
    /// What an event writes, if it is about an entry.
    #[must_use]
    pub fn of(event: &'a Event) -> Option<Self> {
        match event {
            Event::KvSet(set) => Some(Self::Set {
                value: set.value.get().into(),
                // The log keeps what the writer said, tables keep microseconds: that is when it reads as absent.
                expires_at: set.expires_at.map(|expires_at| expires_at.trunc_subsecs(6)),
                anew: None,
            }),
            Event::KvIncreased(increased) => Some(Self::Add(increased.by)),
            Event::KvDeleted(_) => Some(Self::Delete),
            _ => None,
        }
    }

    /// This write followed by an increase; `None` when its value is no integer or leaves the range of one.
    #[must_use]
    pub fn increased(&self, by: i64) -> Option<Self> {
        match self {
            // An expiry is kept: whoever set it meant the key, not the number.
            Self::Set { value, expires_at, anew } => {
                let sum = value.parse::<i64>().ok()?.checked_add(by)?;
                let anew = expires_at.map(|_| anew.unwrap_or(0).checked_add(by));
                let anew = if let Some(sum) = anew { Some(sum?) } else { None };
                Some(Self::Set { value: sum.to_string().into(), expires_at: *expires_at, anew })
            }
            Self::Add(earlier) => earlier.checked_add(by).map(Self::Add),
            Self::Delete => Some(Self::Set { value: by.to_string().into(), expires_at: None, anew: None }),
        }
    }

    /// What it makes of an entry; time stands still in whatever was reduced to it.
    #[must_use]
    pub fn on(&self, before: Option<Entry>, position: Position, at: DateTime<Utc>) -> Option<Entry> {
        let living = before.filter(|before| !before.is_expired(at));
        match self {
            Self::Delete => None,
            Self::Set { value, expires_at, anew } => {
                let entry = Entry { value: value.clone().into_owned(), expires_at: *expires_at, position };
                Some(match anew {
                    Some(anew) if entry.is_expired(at) => Entry { value: anew.to_string(), expires_at: None, position },
                    _ => entry,
                })
            }
            Self::Add(by) => Some(match living {
                // What had expired begins anew, without an expiry.
                None => Entry { value: by.to_string(), expires_at: None, position },
                // What is no integer was never increased: such a commit is refused.
                Some(before) => match before.value.parse::<i64>().ok().and_then(|value| value.checked_add(*by)) {
                    Some(sum) => Entry { value: sum.to_string(), position, ..before },
                    None => before,
                },
            }),
        }
    }
}

/// An entry after an event about it; none when it is gone.
#[must_use]
pub fn evolve(before: Option<Entry>, new: &NewEvent, position: Position, at: DateTime<Utc>) -> Option<Entry> {
    match Write::of(&new.event) {
        Some(write) => write.on(before, position, at),
        None => before,
    }
}
