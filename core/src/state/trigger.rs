//! Triggers.

use chrono::{DateTime, Utc};

use crate::{
    event::{
        Event,
        trigger::{Created, Definition, Registrant, Updated},
    },
    id::TriggerId,
    log::{NewEvent, Position},
    trigger::When,
};

/// A trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Its id.
    pub id: TriggerId,
    /// What it says.
    pub definition: Definition,
    /// In whose name its runs act.
    pub registrant: Registrant,
    /// Whether events count.
    pub is_enabled: bool,
    /// Why not, when nobody asked for that.
    pub disabled_why: Option<String>,
    /// Whether what it makes be owed waits.
    pub is_paused: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Since when events count.
    pub since: DateTime<Utc>,
    /// The event that last changed it.
    pub position: Position,
    /// When it went. What it made be owed is still run, in the name of who registered it.
    pub deleted_at: Option<DateTime<Utc>>,
}

impl Trigger {
    /// The queue that it takes messages from, if it does.
    #[must_use]
    pub fn queue(&self) -> Option<&str> {
        match &self.definition.when {
            When::Queue(queue) => Some(&queue.queue),
            When::Kv(_) | When::Topic(_) | When::Cron(_) | When::DeadLetter(_) => None,
        }
    }
}

/// A trigger after an event about it.
#[must_use]
pub fn evolve(before: Option<Trigger>, new: &NewEvent, position: Position, at: DateTime<Utc>) -> Option<Trigger> {
    match &new.event {
        Event::TriggerCreated(Created { trigger, definition, registrant }) => Some(Trigger {
            id: *trigger,
            definition: definition.clone(),
            registrant: registrant.clone(),
            is_enabled: true,
            disabled_why: None,
            is_paused: false,
            created_at: at,
            since: at,
            position,
            deleted_at: None,
        }),
        Event::TriggerUpdated(Updated { definition, registrant, .. }) => before.map(|before| Trigger {
            // Of times that it did not name before, none was missed.
            since: if before.definition.when == definition.when { before.since } else { at },
            definition: definition.clone(),
            registrant: registrant.clone(),
            position,
            ..before
        }),
        Event::TriggerEnabled(event) => before.map(|before| Trigger {
            is_enabled: true,
            disabled_why: None,
            registrant: event.registrant.clone(),
            since: at,
            position,
            ..before
        }),
        Event::TriggerDisabled(event) => {
            before.map(|before| Trigger { is_enabled: false, disabled_why: event.why.clone(), position, ..before })
        }
        Event::TriggerPaused(_) => before.map(|before| Trigger { is_paused: true, position, ..before }),
        Event::TriggerResumed(_) => before.map(|before| Trigger { is_paused: false, position, ..before }),
        Event::TriggerDeleted(_) => {
            before.map(|before| Trigger { is_enabled: false, deleted_at: Some(at), position, ..before })
        }
        _ => before,
    }
}
