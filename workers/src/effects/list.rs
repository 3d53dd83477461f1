//! Listings: stored rows and the run's own writes, merged in the order of keys.

use std::ops::Bound::{Excluded, Included};

use picloud_core::log::{Position, Read};
use serde_json::value::RawValue;

use super::{
    Effects, Recalled, Source, Stored,
    overlay::{Entry, Range},
    write::{Shown, number, sum},
};
use crate::sandbox::{DataError, KvPage};

/// Which keys a listing is about.
#[derive(Clone, Copy)]
struct Asked<'a> {
    collection: &'a str,
    prefix: &'a str,
    after: Option<&'a str>,
}

/// How far stored rows were looked at, at least once; everything there is remembered.
struct Scanned {
    /// The head at the first look.
    as_of: Position,
    /// The head at the last.
    head: Position,
    keys: Vec<String>,
    /// The last key that was looked at; `None` when there are no more.
    up_to: Option<String>,
}

impl<S: Source> Effects<S> {
    pub(super) fn list(
        &mut self,
        collection: &str,
        prefix: &str,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<KvPage, DataError> {
        let asked = Asked { collection, prefix, after: cursor };
        // One more than wanted, to know whether there is more.
        let wanted = limit.saturating_add(1);
        let mut scanned = self.look(asked, wanted, None)?;
        let mut items = self.visible(asked, scanned.up_to.as_deref(), wanted)?;
        while items.len() < wanted && scanned.up_to.is_some() {
            // Some of what is stored has expired, or the run has deleted it.
            scanned = self.look(asked, wanted, Some(scanned))?;
            items = self.visible(asked, scanned.up_to.as_deref(), wanted)?;
        }
        self.refuse_gone(asked, &scanned)?;
        self.remember_range(asked, scanned)?;
        let more = items.len() > limit;
        items.truncate(limit);
        let cursor = if more { items.last().map(|(key, _)| key.clone()) } else { None };
        Ok(KvPage { items, cursor })
    }

    /// Reads the next stored rows and remembers them.
    fn look(&mut self, asked: Asked<'_>, wanted: usize, earlier: Option<Scanned>) -> Result<Scanned, DataError> {
        let limit = wanted.min(self.budget.reads_left() + 1);
        let after = earlier.as_ref().and_then(|earlier| earlier.up_to.as_deref()).or(asked.after);
        self.asked += 1;
        let (rows, head) = self.source.list(asked.collection, asked.prefix, after, limit)?;
        // The row that only says that there is more is not counted; an empty answer is.
        self.budget.read(rows.len().min(wanted - 1).max(1))?;
        let mut scanned = earlier.unwrap_or(Scanned { as_of: head, head, keys: Vec::new(), up_to: None });
        scanned.head = head;
        scanned.up_to = rows.last().filter(|_| rows.len() == limit).map(|(key, _)| key.clone());
        for (key, row) in rows {
            self.meet(asked.collection, &key, row)?;
            scanned.keys.push(key);
        }
        Ok(scanned)
    }

    /// A stored row turned up: it is news, or as it was.
    fn meet(&mut self, collection: &str, key: &str, row: Stored) -> Result<(), DataError> {
        match self.known(collection, key).and_then(|entry| entry.seen.as_ref()) {
            Some(seen) if seen.version == row.version => Ok(()),
            Some(_) => Err(DataError::Conflict),
            None => {
                self.remember(collection, key, row, false);
                Ok(())
            }
        }
    }

    /// A row that the run has read before must not be missing now.
    fn refuse_gone(&self, asked: Asked<'_>, scanned: &Scanned) -> Result<(), DataError> {
        let gone = self.within(asked, scanned.up_to.as_deref()).any(|(key, entry)| {
            entry.seen.as_ref().is_some_and(|seen| seen.value.is_some()) && scanned.keys.binary_search(key).is_err()
        });
        if gone { Err(DataError::Conflict) } else { Ok(()) }
    }

    fn remember_range(&mut self, asked: Asked<'_>, scanned: Scanned) -> Result<(), DataError> {
        let Scanned { as_of, head, keys, up_to } = scanned;
        let (collection, prefix) = (asked.collection.to_owned(), asked.prefix.to_owned());
        let after = asked.after.map(ToOwned::to_owned);
        let recalled = Recalled::KvRange {
            collection: collection.clone(),
            prefix: prefix.clone(),
            after: after.clone(),
            up_to: up_to.clone(),
            keys,
        };
        let read = Read::KvRange { app: self.app, collection, prefix, after, up_to, as_of };
        let order = self.tick();
        self.ranges.push(Range { order, read, recalled });
        self.advance(as_of, head)
    }

    /// The first `limit` entries that are there for the run, among those that were looked at.
    fn visible(
        &self,
        asked: Asked<'_>,
        up_to: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Box<RawValue>)>, DataError> {
        let mut items = Vec::new();
        for (key, entry) in self.within(asked, up_to) {
            if items.len() == limit {
                break;
            }
            // Looked at and not seen: it is not stored.
            let stored = entry.seen.as_ref().and_then(|seen| seen.value.as_deref());
            let value = match entry.write.as_ref().map(|pending| pending.write.shown(self.now)) {
                None => stored.map(ToOwned::to_owned),
                Some(Shown::Known(value)) => value.map(ToOwned::to_owned),
                Some(Shown::StoredPlus(by)) => Some(number(sum(asked.collection, key, stored, by)?)),
            };
            items.extend(value.map(|value| (key.clone(), value)));
        }
        Ok(items)
    }

    /// What the run knows of the keys of a listing, in order.
    fn within<'a>(
        &'a self,
        asked: Asked<'a>,
        up_to: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a String, &'a Entry)> + use<'a, S> {
        let from = match asked.after {
            Some(after) if after >= asked.prefix => Excluded(after),
            Some(_) | None => Included(asked.prefix),
        };
        let entries = self.collections.get(asked.collection).into_iter();
        entries.flat_map(move |entries| entries.range::<str, _>((from, std::ops::Bound::Unbounded))).take_while(
            move |(key, _)| key.starts_with(asked.prefix) && up_to.is_none_or(|up_to| key.as_str() <= up_to),
        )
    }
}
