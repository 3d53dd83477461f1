//! Reduces events, in order, to one final write a row.
//!
//! Pure: the same events give the same rows however they are cut into batches. The committer sends the result along with
//! the events; replay uses the same reduction.

use std::collections::{HashMap, hash_map::Entry};

use chrono::{DateTime, Utc};

use super::Rejected;
use crate::{
    event::Event,
    id::{AppId, InvocationId},
};

/// A row of `state.kv`, by its key.
pub type KvKey<'a> = (AppId, &'a str, &'a str);

/// What becomes of a kv row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvWrite<'a> {
    /// It has this value.
    Set {
        /// As JSON: the event's own text, or a sum.
        value: std::borrow::Cow<'a, str>,
        /// From when on it reads as absent.
        expires_at: Option<DateTime<Utc>>,
    },
    /// This much is added to whatever it is.
    Add(i64),
    /// It goes.
    Delete,
}

/// The last write of a row, and which event of the batch (from 1) made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Final<W> {
    /// What becomes of the row.
    pub write: W,
    /// The event's place in the batch.
    pub offset: i32,
    /// Which commit of the batch it belongs to.
    pub commit: i32,
}

/// The rows that a batch of events changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Folded<'a> {
    /// Key-value entries.
    pub kv: HashMap<KvKey<'a>, Final<KvWrite<'a>>>,
    /// Runs that began and did not end in this batch.
    pub begun: HashMap<InvocationId, (AppId, i32)>,
    /// Runs that ended and had not begun in this batch.
    pub ended: Vec<InvocationId>,
}

impl<'a> Folded<'a> {
    /// Takes in the next event.
    ///
    /// # Errors
    /// [`Rejected::NotANumber`] when a value written earlier in the batch cannot be increased. Nothing has been taken in.
    pub fn take(&mut self, app: Option<AppId>, event: &'a Event, offset: i32, commit: i32) -> Result<(), Rejected> {
        let Some(app) = app else { return Ok(()) };
        match event {
            Event::KvSet(set) => {
                let write = KvWrite::Set { value: set.value.get().into(), expires_at: set.expires_at };
                self.kv.insert((app, &set.collection, &set.key), Final { write, offset, commit });
            }
            Event::KvDeleted(deleted) => {
                let write = KvWrite::Delete;
                self.kv.insert((app, &deleted.collection, &deleted.key), Final { write, offset, commit });
            }
            Event::KvIncreased(increased) => {
                let key = (app, increased.collection.as_str(), increased.key.as_str());
                match self.kv.entry(key) {
                    Entry::Vacant(vacant) => {
                        vacant.insert(Final { write: KvWrite::Add(increased.by), offset, commit });
                    }
                    Entry::Occupied(mut earlier) => {
                        let write = earlier.get().write.increased(increased.by).ok_or(Rejected::NotANumber)?;
                        earlier.insert(Final { write, offset, commit });
                    }
                }
            }
            Event::InvocationStarted(started) => {
                self.begun.insert(started.invocation, (app, offset));
            }
            Event::InvocationCompleted(completed) => self.end(completed.invocation),
            Event::InvocationFailed(failed) => self.end(failed.invocation),
            Event::InvocationLogged(_)
            | Event::InvocationJournaled(_)
            | Event::AppCreated(_)
            | Event::DomainClaimed(_)
            | Event::DomainReleased(_)
            | Event::EnvSet(_)
            | Event::EnvDeleted(_)
            | Event::ScriptDeployed(_)
            | Event::ScriptActivated(_)
            | Event::ScriptDeleted(_)
            | Event::RouteBound(_)
            | Event::RouteUpdated(_)
            | Event::RouteUnbound(_)
            | Event::ApiKeyMinted(_)
            | Event::ApiKeyRevoked(_) => {}
        }
        Ok(())
    }

    fn end(&mut self, invocation: InvocationId) {
        if self.begun.remove(&invocation).is_none() {
            self.ended.push(invocation);
        }
    }
}

impl<'a> KvWrite<'a> {
    /// This write followed by an increase; `None` when its value is no integer or leaves the range of one.
    fn increased(&self, by: i64) -> Option<Self> {
        match self {
            // An expiry is kept: whoever set it meant the key, not the number.
            Self::Set { value, expires_at } => {
                let sum = value.parse::<i64>().ok()?.checked_add(by)?;
                Some(Self::Set { value: sum.to_string().into(), expires_at: *expires_at })
            }
            Self::Add(earlier) => earlier.checked_add(by).map(Self::Add),
            Self::Delete => Some(Self::Set { value: by.to_string().into(), expires_at: None }),
        }
    }
}
