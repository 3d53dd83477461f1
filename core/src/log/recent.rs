//! What was written lately: refuses stale commits before they cost a round trip, and answers predicates.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
};

use super::{Position, Read};
use crate::{event::Event, id::AppId};

/// How many writes are remembered: at 20 000 a second, some seconds' worth; about 10 MiB when full of short keys.
pub(super) const WINDOW: usize = 65_536;

/// How many stretches of other nodes' events may wait to be read before all is forgotten instead.
const MAX_GAPS: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    app: AppId,
    collection: Box<str>,
    key: Box<str>,
}

/// The key that an event writes, whatever it does to it.
pub(super) fn written(event: &Event) -> Option<(&str, &str)> {
    match event {
        Event::KvSet(set) => Some((&set.collection, &set.key)),
        Event::KvIncreased(increased) => Some((&increased.collection, &increased.key)),
        Event::KvDeleted(deleted) => Some((&deleted.collection, &deleted.key)),
        _ => None,
    }
}

/// The kv writes of the last stretch of the log, by position and by key.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// What came up to here is not known any more.
    from: Position,
    /// What came up to here has been told, but for `gaps`.
    seen: Position,
    /// What other nodes appended meanwhile and has not been told: from (exclusive) to (inclusive).
    gaps: Vec<(Position, Position)>,
    window: BTreeMap<Position, Key>,
    /// Where each key of the window was last written.
    last: HashMap<Key, Position>,
}

impl Recent {
    /// Nothing is known of what came up to `head`.
    pub fn forget(&mut self, head: Position) {
        *self = Self { from: head, seen: head, ..Self::default() };
    }

    /// The log has grown to `head`, by what is told of next; whatever lies between the last growth and `after` is not known.
    pub fn advance(&mut self, after: Position, head: Position) {
        if after > self.seen {
            self.gaps.push((self.seen, after));
            if self.gaps.len() > MAX_GAPS {
                self.forget(after);
            }
        }
        self.seen = self.seen.max(head);
    }

    /// A stretch that must be read from the log before a predicate can be answered. It remains one until it was
    /// [filled](Self::filled).
    pub fn gap(&self) -> Option<(Position, Position)> {
        self.gaps.last().copied()
    }

    /// All that was written in the last gap has been told.
    pub fn filled(&mut self) {
        self.gaps.pop();
    }

    /// What was written up to here will not be told.
    pub fn unknown(&mut self, up_to: Position) {
        self.from = self.from.max(up_to);
    }

    /// A kv row was written (or deleted) at a position.
    pub fn wrote(&mut self, position: Position, app: AppId, collection: &str, key: &str) {
        let key = Key { app, collection: collection.into(), key: key.into() };
        // Gaps are told out of order.
        let last = self.last.entry(key.clone()).or_default();
        *last = position.max(*last);
        self.window.insert(position, key);
        while self.window.len() > WINDOW {
            let Some((gone, key)) = self.window.pop_first() else { break };
            self.from = self.from.max(gone);
            if self.last.get(&key) == Some(&gone) {
                self.last.remove(&key);
            }
        }
    }

    /// Whether a read is stale as far as memory tells. A predicate is decided here, a key that is not known to be stale is
    /// the database's to check.
    pub fn is_stale(&self, read: &Read) -> bool {
        match read {
            // An absent key has no version to compare: it may have been deleted elsewhere, or expired, since it was written.
            Read::Kv { version: Position::ZERO, .. } => false,
            Read::Kv { app, collection, key, version } => {
                let key = Key { app: *app, collection: collection.as_str().into(), key: key.as_str().into() };
                self.last.get(&key).is_some_and(|last| last > version)
            }
            Read::KvRange { as_of, .. } => {
                *as_of < self.from
                    || self
                        .window
                        .range((Bound::Excluded(*as_of), Bound::Unbounded))
                        .any(|(_, written)| covers(read, written.app, &written.collection, &written.key))
            }
            // Decided in the transaction that folds configuration.
            Read::Config { .. }
            | Read::DeadLetter { .. }
            | Read::Alert { .. }
            | Read::Cron { .. }
            | Read::Owed { .. }
            | Read::Lane { .. }
            | Read::LastSeal { .. } => false,
        }
    }
}

/// Whether a key lies in a range that was read.
pub(super) fn covers(read: &Read, app: AppId, collection: &str, key: &str) -> bool {
    match read {
        Read::KvRange { app: a, collection: c, prefix, after, up_to, .. } => {
            *a == app
                && c == collection
                && key.starts_with(prefix.as_str())
                && after.as_deref().is_none_or(|after| key > after)
                && up_to.as_deref().is_none_or(|up_to| key <= up_to)
        }
        Read::Kv { .. }
        | Read::Config { .. }
        | Read::DeadLetter { .. }
        | Read::Alert { .. }
        | Read::Cron { .. }
        | Read::Owed { .. }
        | Read::Lane { .. }
        | Read::LastSeal { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Recent {
        fn told(&mut self, position: i64, app: AppId, key: &str) {
            self.wrote(Position(position), app, "carts", key);
        }
    }

    fn range(app: AppId, prefix: &str, as_of: i64) -> Read {
        range_up_to(None, app, prefix, as_of)
    }

    fn range_up_to(up_to: Option<&str>, app: AppId, prefix: &str, as_of: i64) -> Read {
        let (collection, prefix, up_to) = ("carts".into(), prefix.into(), up_to.map(Into::into));
        Read::KvRange { app, collection, prefix, after: None, up_to, as_of: Position(as_of) }
    }

    fn key(app: AppId, version: i64) -> Read {
        Read::Kv { app, collection: "carts".into(), key: "a1".into(), version: Position(version) }
    }

    #[test]
    fn a_key_written_after_it_was_read_is_stale() {
        let app = AppId::generate();
        let mut recent = Recent::default();
        recent.told(7, app, "a1");
        assert!(recent.is_stale(&key(app, 6)));
        assert!(!recent.is_stale(&key(app, 7)));
        assert!(!recent.is_stale(&key(app, 8)), "another node wrote since");
        assert!(!recent.is_stale(&key(AppId::generate(), 6)), "another app's key");
    }

    #[test]
    fn memory_says_nothing_of_an_absent_key() {
        let app = AppId::generate();
        let mut recent = Recent::default();
        recent.told(7, app, "a1");
        assert!(!recent.is_stale(&key(app, 0)), "another node may have deleted it, or a sweep");
    }

    #[test]
    fn a_range_is_stale_when_a_key_in_it_was_written_and_only_then() {
        let app = AppId::generate();
        let mut recent = Recent::default();
        recent.told(7, app, "a1");
        assert!(recent.is_stale(&range(app, "a", 6)));
        assert!(!recent.is_stale(&range(app, "b", 6)));
        assert!(!recent.is_stale(&range(app, "a", 7)));
        assert!(!recent.is_stale(&range_up_to(Some("a0"), app, "a", 6)));
        assert!(recent.is_stale(&range_up_to(Some("a1"), app, "a", 6)));
    }

    #[test]
    fn what_fell_out_of_memory_counts_as_stale() {
        let app = AppId::generate();
        let mut recent = Recent::default();
        for n in 0..=WINDOW {
            recent.told(10 + n as i64, app, &format!("b{n}"));
        }
        assert!(recent.is_stale(&range(app, "a", 9)));
        assert!(!recent.is_stale(&range(app, "a", 10)));
    }

    #[test]
    fn what_another_node_appended_is_a_gap_until_it_was_told() {
        let app = AppId::generate();
        let mut recent = Recent::default();
        recent.forget(Position(5));
        recent.advance(Position(5), Position(7));
        assert_eq!(recent.gap(), None);
        recent.advance(Position(9), Position(10));
        assert_eq!(recent.gap(), Some((Position(7), Position(9))));
        recent.told(8, app, "a1");
        recent.filled();
        assert_eq!(recent.gap(), None);
        assert!(recent.is_stale(&range(app, "a", 7)));
    }

    #[test]
    fn what_another_node_wrote_and_this_one_cannot_read_leaves_its_own_writes_known() {
        let app = AppId::generate();
        let mut recent = Recent::default();
        recent.told(95, app, "a1");
        recent.unknown(Position(60));
        assert!(recent.is_stale(&range(app, "a", 90)), "written at 95");
        assert!(recent.is_stale(&range(app, "b", 59)), "not known");
        assert!(!recent.is_stale(&range(app, "b", 60)));
    }
}
