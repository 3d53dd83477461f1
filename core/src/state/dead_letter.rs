//! Dead letters: what became of them. What they hold is as the event says that made them.

use chrono::{DateTime, Utc};

use crate::{
    event::{Actor, Event},
    id::{JobId, OutboxId},
    log::{NewEvent, Position},
};

/// How a letter stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What was decided about it.
    pub resolved: Option<Resolved>,
    /// How many were to take care of it.
    pub handlers: u32,
    /// How many of them could not.
    pub handlers_failed: u32,
    /// The event that last changed it.
    pub position: Position,
}

/// A decision about a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// `replayed`, `ignored`, `handled_by_script` or `handler_failed`.
    pub resolution: String,
    /// When.
    pub at: DateTime<Utc>,
    /// By whom.
    pub by: Option<Actor>,
    /// Why.
    pub why: Option<String>,
    /// The item that tries it again.
    pub replay: Option<OutboxId>,
    /// The job that it was part of.
    pub job: Option<JobId>,
}

impl Standing {
    /// As letters are counted.
    #[must_use]
    pub fn resolution(&self) -> &str {
        self.resolved.as_ref().map_or("none", |resolved| &resolved.resolution)
    }
}

/// How a letter stands after an event about it; none when it is gone.
#[must_use]
pub fn evolve(before: Option<Standing>, new: &NewEvent, position: Position, at: DateTime<Utc>) -> Option<Standing> {
    let resolved = |resolution: &str| Resolved {
        resolution: resolution.to_owned(),
        at,
        by: Some(new.actor.clone()),
        why: None,
        replay: None,
        job: None,
    };
    match &new.event {
        Event::DeadLetterCreated(_) => Some(Standing { resolved: None, handlers: 0, handlers_failed: 0, position }),
        Event::DeadLetterReplayed(event) => before.map(|before| {
            let resolved = Resolved { replay: Some(event.item), job: event.job, ..resolved("replayed") };
            Standing { resolved: Some(resolved), position, ..before }
        }),
        Event::DeadLetterResolved(event) => before.map(|before| {
            let closed = resolved(event.resolution.as_str());
            let resolved = Resolved { why: event.reason.clone(), job: event.job, ..closed };
            Standing { resolved: Some(resolved), position, ..before }
        }),
        Event::OutboxEnqueued(event) if event.handles.is_some() => {
            before.map(|before| Standing { handlers: before.handlers + 1, ..before })
        }
        Event::DeadLetterHandlerEnded(event) => before.map(|before| {
            let handlers_failed = before.handlers_failed + u32::from(event.error.is_some());
            // The first that succeeds closes the letter, unless somebody decided otherwise meanwhile; the last that fails
            // says so.
            let resolved = match (before.resolved, &event.error) {
                (Some(decided), _) => Some(decided),
                (None, None) => Some(resolved("handled_by_script")),
                (None, Some(why)) => (handlers_failed >= before.handlers)
                    .then(|| Resolved { why: Some(why.clone()), ..resolved("handler_failed") }),
            };
            Standing { resolved, handlers: before.handlers, handlers_failed, position }
        }),
        Event::DeadLetterPurged(_) => None,
        _ => before,
    }
}
