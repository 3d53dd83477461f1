//! A dead letter that is tried again: what the log is told, whoever decides it.

use crate::{
    event::{
        Actor,
        dead_letter::{Created, Replayed},
        outbox::{Enqueued, Payload},
    },
    id::{AppId, EventId, InvocationId, JobId, OutboxId, VersionId},
    keys::DataKey,
    log::NewEvent,
    outbox::Plain,
};

/// A letter, with what its item was besides.
#[derive(Clone, Copy, Debug)]
pub struct Replayable<'a> {
    /// Whose.
    pub app: AppId,
    /// What became a letter.
    pub created: &'a Created,
    /// Who made its item be owed.
    pub actor: &'a Actor,
    /// What its chain is named after.
    pub root: Option<InvocationId>,
}

/// How it is tried again.
#[derive(Clone, Debug)]
pub struct Replay<'a> {
    /// Who decides it.
    pub by: &'a Actor,
    /// The job that it is part of, and the event that began that.
    pub job: Option<(JobId, EventId)>,
    /// What the run gets.
    pub plain: Plain,
    /// Whether that is not what it got before.
    pub is_edited: bool,
    /// On this version instead of the active one.
    pub version: Option<VersionId>,
}

/// The item that tries a letter again.
#[must_use]
pub fn again(created: &Created, item: OutboxId, version: Option<VersionId>, payload: Payload) -> Enqueued {
    Enqueued {
        item,
        source: created.source,
        script: created.script,
        version,
        lane: created.lane.clone(),
        priority: created.priority,
        due_at: None,
        retry: created.retry,
        payload,
        is_watched: false,
        replay_of: Some(created.dead_letter),
        handles: None,
        carried: None,
    }
}

impl Replayable<'_> {
    /// What happens then: the letter is closed, and its item is owed once more, with no attempt behind it. `key` is the
    /// app's.
    #[must_use]
    pub fn replayed(&self, replay: Replay<'_>, key: &DataKey) -> [NewEvent; 2] {
        let Replay { by, job, plain, is_edited, version } = replay;
        let created = self.created;
        let item = OutboxId::generate();
        let enqueued = again(created, item, version, plain.seal(item, key));
        let replayed =
            Replayed { dead_letter: created.dead_letter, item, is_edited, version, job: job.map(|(job, _)| job) };
        let cause = job.map(|(_, began)| began);
        let replayed = NewEvent { cause, ..NewEvent::new(Some(self.app), by, replayed) };
        // In whose name it ran before: who replays it lends it no rights.
        let enqueued = NewEvent {
            cause: Some(replayed.id),
            root: self.root,
            // A decision from outside begins anew: what lay too deep would lie too deep for ever.
            depth: 0,
            ..NewEvent::new(Some(self.app), self.actor, enqueued)
        };
        [replayed, enqueued]
    }
}
