//! What items wait behind.

use uuid::Uuid;

use crate::{
    event::outbox::{Enqueued, Source},
    id::{ScriptId, TriggerId},
};

/// Items of one gate are held back, and counted, together: those of a trigger behind that, all others behind their script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gate(Uuid);

impl Gate {
    /// As it stands in the database.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        self.0
    }

    /// What an item stands behind.
    #[must_use]
    pub const fn of(enqueued: &Enqueued) -> Self {
        match enqueued.source {
            Source::Trigger { trigger } => Self(trigger.uuid()),
            Source::AsyncRoute { .. } | Source::Invoke => Self(enqueued.script.uuid()),
        }
    }
}

impl From<TriggerId> for Gate {
    fn from(trigger: TriggerId) -> Self {
        Self(trigger.uuid())
    }
}

impl From<ScriptId> for Gate {
    fn from(script: ScriptId) -> Self {
        Self(script.uuid())
    }
}

impl From<Uuid> for Gate {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}
