//! All triggers of the instance, ready to be matched against what is committed.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Value, value::RawValue};

use super::{Owes, When};
use crate::{
    event::{
        Actor,
        outbox::{Enqueued, Payload, Source},
    },
    id::{AppId, EventId, OutboxId, ScriptId, TriggerId},
    log::{NewEvent, Position},
    retry::RetryPolicy,
};

/// One trigger that is enabled.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// Which.
    pub trigger: TriggerId,
    /// When.
    pub when: When,
    /// What is run.
    pub script: ScriptId,
    /// How patiently.
    pub retry: RetryPolicy,
}

/// The triggers as of one position: the last event that changed which there are, or what they say.
#[derive(Clone, Debug, Default)]
pub struct Triggers {
    /// Which they are; none: they have not been looked up.
    pub version: Option<Position>,
    by_kind: HashMap<(AppId, &'static str), Vec<Arc<Matcher>>>,
}

impl Triggers {
    /// These, as of a position.
    #[must_use]
    pub fn new(version: Position, all: impl IntoIterator<Item = (AppId, Matcher)>) -> Self {
        let mut by_kind: HashMap<_, Vec<_>> = HashMap::new();
        for (app, matcher) in all {
            by_kind.entry((app, matcher.when.kind())).or_default().push(Arc::new(matcher));
        }
        Self { version: Some(version), by_kind }
    }

    /// The items that an event owes, as events that follow from it.
    pub fn owed<'a>(&'a self, event: &'a NewEvent) -> impl Iterator<Item = NewEvent> + 'a {
        let asked = || {
            let kind = When::kind_on(&event.event)?;
            self.by_kind.get(&(event.app?, kind))
        };
        asked().into_iter().flatten().filter_map(move |matcher| matcher.owed(event))
    }

    /// Whether there is nothing to match.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_kind.is_empty()
    }
}

impl Matcher {
    /// The item that somebody owes who wants to see what the trigger does. `sample` is what its run finds under the kind's
    /// name.
    #[must_use]
    pub fn tried_out(&self, app: AppId, actor: &Actor, sample: &Value) -> (OutboxId, NewEvent) {
        let lane = self.when.lane(self.trigger, sample["key"].as_str());
        let owes = Owes { lane, ..Owes::now(sample) };
        let id = EventId::generate();
        let enqueued = self.enqueued(owes, id);
        (enqueued.item, NewEvent { id, ..NewEvent::new(Some(app), actor, enqueued) })
    }

    fn owed(&self, event: &NewEvent) -> Option<NewEvent> {
        let owes = self.when.owes(self.trigger, &event.event)?;
        let enqueued = self.enqueued(owes, event.id);
        let owed = NewEvent::with_actor_json(event.app, &event.actor, &event.actor_json, enqueued);
        Some(NewEvent { cause: Some(event.id), root: event.root, depth: event.depth.saturating_add(1), ..owed })
    }

    /// What is owed, by the event of this id.
    fn enqueued(&self, owes: Owes, event: EventId) -> Enqueued {
        Enqueued {
            item: OutboxId::generate(),
            source: Source::Trigger { trigger: self.trigger },
            script: self.script,
            version: None,
            lane: owes.lane,
            priority: owes.priority,
            due_at: owes.due_at,
            retry: self.retry,
            payload: Payload::Event(self.seen(event, &owes.about)),
            is_watched: false,
            replay_of: None,
            handles: owes.handles,
            carried: None,
        }
    }

    /// `ctx.event`, but for its time, which the commit says, and the attempt.
    fn seen(&self, event: EventId, about: &str) -> Box<RawValue> {
        let kind = self.when.kind();
        // Ids and kinds have nothing in them that JSON would escape.
        let json = format!(r#"{{"id":"{event}","kind":"{kind}","trigger_id":"{}","{kind}":{about}}}"#, self.trigger);
        RawValue::from_string(json).expect("made of JSON")
    }
}
