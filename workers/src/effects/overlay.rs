//! The overlay itself: what a run sees of stored data, its own writes included.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use picloud_core::{
    event::Event,
    id::{AppId, OutboxId},
    limits::Limits,
    log::{Broadcast, Position, Read},
    run::Record,
};
use serde_json::value::RawValue;

use super::{
    Called, Calls, Recalled, RecalledCall, Source, Stored,
    budget::Budget,
    letters::{KnownLetters, Origin},
    write::{Write, is_over},
};
use crate::sandbox::DataError;

/// About what a script that was run adds to a recording.
const INVOKED_BYTES: usize = 100;

/// What one run has read and wants to write. Made for each repetition of a run anew.
pub struct Effects<S> {
    pub(super) source: S,
    pub(super) app: AppId,
    pub(super) now: DateTime<Utc>,
    pub(super) budget: Budget,
    pub(super) collections: BTreeMap<String, BTreeMap<String, Entry>>,
    pub(super) ranges: Vec<Range>,
    /// What no later write takes back, in order.
    pub(super) said: Vec<(u64, Event)>,
    pub(super) letters: KnownLetters,
    /// The scripts that were run as a part of the run.
    pub(super) invoked: Vec<(u64, Recalled)>,
    /// The head at which everything read so far held.
    pub(super) snapshot: Option<Position>,
    pub(super) asked: usize,
    /// How much of that was validated before the last call outside.
    pub(super) validated: usize,
    /// Those of earlier tries, and of this one.
    pub(super) calls: Calls,
    /// Those of this try, in the order of its reads.
    pub(super) called: Vec<(u64, Arc<Called>)>,
    /// What is told to whoever listens when the run commits, and is stored nowhere.
    pub(super) broadcasts: Vec<Broadcast>,
    /// Credentials that were made for the script.
    pub(super) secrets: Vec<String>,
    clock: u64,
}

/// What the run knows of one key and does to it.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) seen: Option<Seen>,
    pub(super) write: Option<Pending>,
}

/// A key as the run first found it; it stays that way for the run.
pub(super) struct Seen {
    pub(super) order: u64,
    pub(super) version: Position,
    /// None when the key was absent or had expired.
    pub(super) value: Option<Box<RawValue>>,
    /// Whether it was asked for by name, and not only listed: then its version is checked by itself.
    pub(super) by_name: bool,
}

pub(super) struct Pending {
    pub(super) order: u64,
    pub(super) write: Write,
}

/// A listing that the run has seen.
pub(super) struct Range {
    pub(super) order: u64,
    pub(super) read: Read,
    pub(super) recalled: Recalled,
}

/// What a run comes to when it is done.
#[derive(Debug)]
pub struct Wanted {
    /// One for each key written, in the order of their last writes, and what was said between them.
    pub events: Vec<Event>,
    /// What all of it was based on.
    pub reads: Vec<Read>,
    /// In whose name items are that try dead letters again. All others are the run's own.
    pub origins: BTreeMap<OutboxId, Origin>,
    /// What is told to whoever listens, and stored nowhere.
    pub broadcasts: Vec<Broadcast>,
}

impl<S: Source> Effects<S> {
    /// Nothing read, nothing written. `now` is the run's clock: what has expired by then reads as absent.
    #[must_use]
    pub fn new(source: S, app: AppId, limits: &Limits, now: DateTime<Utc>) -> Self {
        Self {
            source,
            app,
            now,
            budget: Budget::new(limits),
            collections: BTreeMap::new(),
            ranges: Vec::new(),
            said: Vec::new(),
            letters: KnownLetters::default(),
            invoked: Vec::new(),
            snapshot: None,
            asked: 0,
            validated: 0,
            calls: Calls::default(),
            called: Vec::new(),
            broadcasts: Vec::new(),
            secrets: Vec::new(),
            clock: 0,
        }
    }

    /// Where stored data comes from.
    #[must_use]
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// Looks whether everything read so far still holds: before a call outside, and at the end of a run that
    /// commits nothing but has read more than once.
    ///
    /// # Errors
    /// [`DataError::Conflict`], when something has changed; others when that cannot be found out.
    pub fn validate(&mut self) -> Result<(), DataError> {
        let reads = self.reads();
        if !reads.is_empty() {
            self.snapshot = Some(self.source.check(&reads)?);
        }
        Ok(())
    }

    /// Credentials that were made for the script: what is kept of the run must not hold them.
    #[must_use]
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// How often stored data was asked for. What one answer says held at one moment, however many rows it has.
    #[must_use]
    pub const fn asked(&self) -> usize {
        self.asked
    }

    /// Whether there is anything to tell in the [journal](Self::journal).
    #[must_use]
    pub fn has_learnt(&self) -> bool {
        self.asked > 0 || !self.invoked.is_empty() || !self.calls.is_empty()
    }

    /// About how large the [journal](Self::journal) is.
    #[must_use]
    pub fn journal_bytes(&self, record: Record) -> usize {
        let entries = self.collections.iter().flat_map(|(collection, entries)| {
            entries.iter().filter_map(|(key, entry)| {
                let value = entry.seen.as_ref()?.value.as_ref().map_or(0, |value| value.get().len());
                Some(collection.len() + key.len() + value)
            })
        });
        entries.sum::<usize>()
            + self.letters.recalled_bytes()
            + self.invoked.len() * INVOKED_BYTES
            + self.called_bytes(record)
    }

    /// What was read so far, to be checked.
    #[must_use]
    pub fn reads(&self) -> Vec<Read> {
        let keys = self.collections.iter().flat_map(|(collection, entries)| {
            entries.iter().filter_map(|(key, entry)| {
                let seen = entry.seen.as_ref().filter(|seen| seen.by_name)?;
                Some(Read::Kv {
                    app: self.app,
                    collection: collection.clone(),
                    key: key.clone(),
                    version: seen.version,
                })
            })
        });
        let ranges = self.ranges.iter().map(|range| range.read.clone());
        keys.chain(ranges).chain(self.letters.reads()).collect()
    }

    /// What was read and answered so far, for the recording.
    #[must_use]
    pub fn journal(&self, record: Record) -> Vec<Recalled> {
        let keys = self.collections.iter().flat_map(|(collection, entries)| {
            entries.iter().filter_map(|(key, entry)| {
                let seen = entry.seen.as_ref()?;
                let (collection, key) = (collection.clone(), key.clone());
                let value = seen.value.clone();
                let is_null = value.as_ref().is_some_and(|value| value.get() == "null");
                Some((seen.order, Recalled::Kv { collection, key, value, is_null }))
            })
        });
        let ranges = self.ranges.iter().map(|range| (range.order, range.recalled.clone()));
        let calls = self.called.iter().map(|(order, call)| (*order, Recalled::Http(RecalledCall::new(call, record))));
        let mut entries: Vec<_> = keys
            .chain(ranges)
            .chain(self.letters.recalled())
            .chain(self.invoked.iter().cloned())
            .chain(calls)
            .collect();
        entries.sort_by_key(|(order, _)| *order);
        let left_out = self.calls.recalled(record).into_iter().skip(self.called.len()).map(Recalled::Http);
        entries.into_iter().map(|(_, recalled)| recalled).chain(left_out).collect()
    }

    /// What is left to commit.
    #[must_use]
    pub fn into_wanted(self) -> Wanted {
        let reads = self.reads();
        let mut writes: Vec<(u64, Event)> = self
            .collections
            .into_iter()
            .flat_map(|(collection, entries)| {
                entries.into_iter().filter_map(move |(key, entry)| {
                    let Pending { order, write } = entry.write?;
                    Some((order, write.into_event(collection.clone(), key)))
                })
            })
            .chain(self.said)
            .collect();
        writes.sort_by_key(|(order, _)| *order);
        Wanted {
            events: writes.into_iter().map(|(_, event)| event).collect(),
            reads,
            origins: self.letters.origins,
            broadcasts: self.broadcasts,
        }
    }

    /// A moment in the run, later than all before it.
    pub(super) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Something was read that held at `head`, and may hold no longer than since `newest`: when that is after what the
    /// run has read so far, all of it must still be so.
    pub(super) fn advance(&mut self, head: Position, newest: Position) -> Result<(), DataError> {
        if newest > *self.snapshot.get_or_insert(head) {
            self.validate()?;
        }
        Ok(())
    }

    /// What is stored under a key, as the run first saw it.
    pub(super) fn stored(&mut self, collection: &str, key: &str) -> Result<Option<&RawValue>, DataError> {
        // What was only listed needs no read of its own: its range is checked as a whole.
        if self.known(collection, key).is_none_or(|entry| entry.seen.is_none()) {
            self.read(collection, key)?;
        }
        Ok(self.known(collection, key).and_then(|entry| entry.seen.as_ref()?.value.as_deref()))
    }

    fn read(&mut self, collection: &str, key: &str) -> Result<(), DataError> {
        self.budget.read(1)?;
        self.asked += 1;
        let (stored, head) = self.source.get(collection, key)?;
        // A key may be absent since just now; one alone that is newer than the head we know is no news.
        let newest = if stored.value.is_some() { stored.version } else { head };
        self.remember(collection, key, stored, true);
        self.advance(head.max(newest), newest)
    }

    pub(super) fn remember(&mut self, collection: &str, key: &str, stored: Stored, by_name: bool) {
        let order = self.tick();
        let value = stored.value.filter(|_| !is_over(stored.expires_at, self.now));
        self.entry(collection, key).seen = Some(Seen { order, version: stored.version, value, by_name });
    }

    pub(super) fn known(&self, collection: &str, key: &str) -> Option<&Entry> {
        self.collections.get(collection)?.get(key)
    }

    pub(super) fn entry(&mut self, collection: &str, key: &str) -> &mut Entry {
        self.collections.entry(collection.to_owned()).or_default().entry(key.to_owned()).or_default()
    }
}
