//! Lists of key-value entries as they were.

use std::{
    collections::VecDeque,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock},
};

use picloud_core::{
    event::{Class, Event},
    id::AppId,
    log::{
        Position, Recorded,
        read::{
            ReadError, Reader,
            entries::{Stretch, Told, Wanted},
        },
    },
    state::kv::{Entry, evolve},
};

use super::{Moment, Past, entry};

/// So many keys are found at once, as all that was written is walked through for them. Some megabytes.
const STRETCH: usize = 20_000;

/// So many stretches are kept for the pages that follow.
const KEPT: usize = 8;

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntriesPage {
    /// Keys and what was there.
    pub entries: Vec<(String, Entry)>,
    /// There may be more after this key.
    pub goes_on_after: Option<String>,
}

/// Tells what there was in collections. What was at a moment does not change: what was found for a page is kept for the next.
/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct PastEntries {
    reader: Reader,
    kept: Arc<RwLock<VecDeque<Kept>>>,
}

#[derive(Debug)]
struct Kept {
    wanted: Wanted,
    after: Option<String>,
    stretch: Arc<Stretch>,
}

impl PastEntries {
    /// Out of a log.
    #[must_use]
    pub fn new(reader: Reader) -> Self {
        Self { reader, kept: Arc::default() }
    }

    /// Entries of a collection whose keys begin with `prefix` and come after `after`, in the order of the keys' bytes: of up to
    /// `limit` keys, without those whose time had run out.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn list(
        &self,
        app: AppId,
        (collection, prefix): (&str, &str),
        moment: Moment,
        after: Option<&str>,
        limit: usize,
    ) -> Result<EntriesPage, ReadError> {
        let floor = self.reader.floor(Class::Data).await?;
        let (collection, prefix) = (collection.to_owned(), prefix.to_owned());
        let wanted = Wanted { app, collection, prefix, up_to: moment.position, floor };
        let stretch = self.stretch(&wanted, after).await?;
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut keys = stretch.entries.range::<str, _>((behind, Bound::Unbounded));
        let here: Vec<_> = keys.by_ref().take(limit).collect();
        let goes_on_after = match (keys.next(), here.last()) {
            (Some(_), Some((last, _))) => Some((*last).clone()),
            _ => stretch.goes_on_after.clone(),
        };
        Ok(EntriesPage { entries: self.read(&wanted, moment, &here).await?, goes_on_after })
    }

    /// The stretch that a page begins in: one that is there, or a new one.
    async fn stretch(&self, wanted: &Wanted, after: Option<&str>) -> Result<Arc<Stretch>, ReadError> {
        if let Some(kept) = self.kept(wanted, after) {
            return Ok(kept);
        }
        let stretch = Arc::new(self.reader.entries(wanted, after, STRETCH).await?);
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(KEPT - 1);
        kept.push_front(Kept {
            wanted: wanted.clone(),
            after: after.map(str::to_owned),
            stretch: Arc::clone(&stretch),
        });
        Ok(stretch)
    }

    fn kept(&self, wanted: &Wanted, after: Option<&str>) -> Option<Arc<Stretch>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let has_it = |kept: &&Kept| {
            let begins_before = kept.after.as_deref() <= after;
            let goes_on = kept.stretch.goes_on_after.as_deref().is_none_or(|end| after.is_none_or(|after| after < end));
            kept.wanted == *wanted && begins_before && goes_on
        };
        kept.iter().find(has_it).map(|kept| Arc::clone(&kept.stretch))
    }

    /// What the keys had, as far as it had not run out.
    async fn read(
        &self,
        wanted: &Wanted,
        moment: Moment,
        keys: &[(&String, &Told)],
    ) -> Result<Vec<(String, Entry)>, ReadError> {
        let places = keys.iter().filter_map(|(_, told)| match told {
            Told::At(position) => Some(*position),
            Told::InSeveral => None,
        });
        let events = self.reader.at(&places.collect::<Vec<Position>>()).await?;
        let mut entries = Vec::new();
        for (key, told) in keys {
            let event = match told {
                Told::At(position) => events.get(position),
                Told::InSeveral => None,
            };
            let was = match event {
                Some(event) => read_one(event),
                // It was increased, or what told it has gone since: then it is said elsewhere.
                None => match entry(&self.reader, wanted.app, &wanted.collection, key, moment).await? {
                    Past::Was(entry) => Some(entry),
                    Past::Gone { .. } | Past::NotYet { .. } | Past::Never => None,
                },
            };
            entries.extend(was.filter(|was| !was.is_expired(moment.at)).map(|was| ((*key).clone(), was)));
        }
        Ok(entries)
    }
}

fn read_one(event: &Recorded) -> Option<Entry> {
    match &event.event.event {
        Event::KvSnapshot(snapshot) => Entry::of(snapshot, event.position),
        _ => evolve(None, &event.event, event.position, event.at),
    }
}
