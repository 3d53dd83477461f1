//! Which events are wanted.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Bound;
use crate::{
    event::{Class, Event},
    id::AppId,
    log::Recorded,
};

/// Of what is looked up so little is asked at first.
const LOOKED_UP: i64 = 1 << 14;

/// Which events are wanted. Everything named must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Whose; the outer `None` is everybody's, the inner the instance's own.
    pub app: Option<Option<AppId>>,
    /// Classes; of any when there are none.
    pub classes: Vec<Class>,
    /// Kinds, each whole (`kv.set`) or a noun (`kv`).
    pub kinds: Vec<String>,
    /// The subject.
    pub subject: Option<String>,
    /// The actor's id.
    pub actor: Option<String>,
    /// What the chain is named after.
    pub root: Option<Uuid>,
    /// Not before.
    pub since: Option<DateTime<Utc>>,
    /// Before.
    pub until: Option<DateTime<Utc>>,
}

impl Filter {
    /// Whether an event that comes live would have been found.
    #[must_use]
    pub fn matches(&self, recorded: &Recorded) -> bool {
        let event = &recorded.event;
        let kind = event.event.kind();
        self.app.is_none_or(|app| app == event.app)
            && (self.classes.is_empty() || self.classes.contains(&event.event.class()))
            && (self.kinds.is_empty() || self.names(kind))
            && self.subject.as_ref().is_none_or(|subject| *subject == event.subject)
            && self.actor.as_ref().is_none_or(|actor| event.actor.id.as_ref() == Some(actor))
            && self.root.is_none_or(|root| event.root.map(Uuid::from) == Some(root))
            && self.since.is_none_or(|since| recorded.at >= since)
            && self.until.is_none_or(|until| recorded.at < until)
    }

    /// Whether it is about one thing or one chain: leaves remember where these certainly are not.
    pub(super) const fn is_by_name(&self) -> bool {
        self.subject.is_some() || self.root.is_some()
    }

    /// Whether there may be much in which nothing matches.
    const fn is_selective(&self) -> bool {
        self.app.is_some()
            || !self.classes.is_empty()
            || !self.kinds.is_empty()
            || self.actor.is_some()
            || self.since.is_some()
            || self.until.is_some()
            || self.is_by_name()
    }

    /// How it is searched for within a bound.
    pub(super) const fn within(&self, bound: Bound) -> Bound {
        if self.is_by_name() {
            // What is left out costs next to nothing, however much it is.
            let first = if bound.first < LOOKED_UP { bound.first } else { LOOKED_UP };
            Bound { first, most: i64::MAX, ..bound }
        } else if self.is_selective() {
            bound
        } else {
            bound.at_once()
        }
    }

    /// Whether an event of a class could match: spares looking into its leaves.
    pub(super) fn may_be_of(&self, class: Class) -> bool {
        (self.classes.is_empty() || self.classes.contains(&class))
            && (self.kinds.is_empty() || Event::KINDS.iter().any(|(kind, of)| *of == class && self.names(kind)))
    }

    /// The kinds that are named, or of a noun that is; none if it may be any.
    pub(super) fn all_kinds(&self) -> impl Iterator<Item = &'static str> {
        Event::KINDS.iter().map(|(kind, _)| *kind).filter(|kind| self.names(kind))
    }

    /// Whether a kind is named, or its noun.
    fn names(&self, kind: &str) -> bool {
        self.kinds.iter().any(|wanted| {
            kind.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}
