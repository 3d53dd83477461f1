//! Scripts. Their versions are never changed: they are as the events say that stored them.

use chrono::{DateTime, Utc};

use crate::{
    event::{Event, script::ScriptKind},
    id::{ScriptId, VersionId},
    log::{NewEvent, Position},
};

/// A script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its id.
    pub id: ScriptId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: ScriptKind,
    /// The version that runs; none until one was activated.
    pub active: Option<VersionId>,
    /// Whether it may not run now.
    pub is_paused: bool,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// The event that last changed it.
    pub position: Position,
}

/// A script after an event about it; none when it is gone.
#[must_use]
pub fn evolve(before: Option<Script>, new: &NewEvent, position: Position, at: DateTime<Utc>) -> Option<Script> {
    match &new.event {
        Event::ScriptDeployed(event) => Some(match before {
            Some(before) => Script { position, ..before },
            None => Script {
                id: event.script,
                name: event.name.clone(),
                kind: event.script_kind,
                active: None,
                is_paused: false,
                created_at: at,
                position,
            },
        }),
        Event::ScriptActivated(event) => {
            before.map(|before| Script { active: Some(event.version), position, ..before })
        }
        Event::ScriptPaused(_) => before.map(|before| Script { is_paused: true, position, ..before }),
        Event::ScriptResumed(_) => before.map(|before| Script { is_paused: false, position, ..before }),
        Event::ScriptDeleted(_) => None,
        _ => before,
    }
}
