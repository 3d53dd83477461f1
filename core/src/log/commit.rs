//! What somebody wants appended, and how it can be refused.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Broadcast, Position};
use crate::{
    alert::Condition,
    event::{Actor, Event},
    id::{AppId, DeadLetterId, EventId, InvocationId, NodeEpoch, OutboxId, TriggerId},
};

/// What one run or one admin call wants: all of it is appended, in order and without anything in between, or nothing.
#[derive(Debug)]
pub struct Commit {
    /// At least one.
    pub events: Vec<NewEvent>,
    /// What the decision was based on; stale when any of it has changed since.
    pub reads: Vec<Read>,
    /// By what right.
    pub authority: Authority,
    /// What an idempotent request is to be answered from now on.
    pub outcome: Option<Outcome>,
    /// Who may ask what becomes of an item that it makes be owed.
    pub status_token: Option<StatusToken>,
    /// What is told to whoever listens once it is made, and is stored nowhere.
    pub broadcasts: Vec<Broadcast>,
}

impl Commit {
    /// A commit that depends on nothing it has read.
    #[must_use]
    pub const fn new(authority: Authority, events: Vec<NewEvent>) -> Self {
        Self { events, reads: Vec::new(), authority, outcome: None, status_token: None, broadcasts: Vec::new() }
    }

    /// How much of a batch it takes.
    pub(super) fn size_bytes(&self) -> usize {
        let broadcasts = self.broadcasts.iter().map(|broadcast| broadcast.message.get().len());
        self.events.iter().map(NewEvent::size_bytes).chain(broadcasts).sum()
    }

    /// Whose turn it counts as when commits of several apps wait.
    pub(super) fn app(&self) -> Option<AppId> {
        self.events.first().and_then(|event| event.app)
    }
}

/// By what right a commit is made. Taken away meanwhile: the whole commit is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The start of the node that it comes from.
    pub epoch: NodeEpoch,
    /// The item of the outbox in whose name it is made, as long as this node may run that.
    pub lease: Option<OutboxId>,
}

/// An event on its way into the log. Its texts are made here, by whoever wants it appended, not by the committer.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Its name.
    pub id: EventId,
    /// Whose it is; none is the instance's.
    pub app: Option<AppId>,
    /// Who made it happen.
    pub actor: Actor,
    /// The event it follows from.
    pub cause: Option<EventId>,
    /// What the chain it belongs to is named after: its first run, or the item that it began with, under the same ULID.
    pub root: Option<InvocationId>,
    /// How many triggers lie between that run and this event.
    pub depth: u16,
    /// What happened.
    pub event: Event,
    /// [`Event::subject`].
    pub subject: String,
    /// [`Event::data`], the exact text that is stored.
    pub data: String,
    /// The actor as JSON; shared by all events of a commit.
    pub actor_json: Arc<str>,
}

impl NewEvent {
    /// An event by an actor, caused by nothing in the log.
    #[must_use]
    pub fn new(app: Option<AppId>, actor: &Actor, event: impl Into<Event>) -> Self {
        let json = serde_json::to_string(actor).expect("actors are plain data");
        Self::with_actor_json(app, actor, &json.into(), event)
    }

    /// The same, for many events of one actor.
    #[must_use]
    pub fn with_actor_json(app: Option<AppId>, actor: &Actor, actor_json: &Arc<str>, event: impl Into<Event>) -> Self {
        let event = event.into();
        Self {
            id: EventId::generate(),
            app,
            actor: actor.clone(),
            cause: None,
            root: None,
            depth: 0,
            subject: event.subject(),
            data: event.data(),
            event,
            actor_json: Arc::clone(actor_json),
        }
    }

    /// The same event as part of a chain.
    #[must_use]
    pub const fn following(mut self, cause: Option<EventId>, root: InvocationId, depth: u16) -> Self {
        self.cause = cause;
        self.root = Some(root);
        self.depth = depth;
        self
    }

    pub(super) fn size_bytes(&self) -> usize {
        // The fixed columns and their overhead come to about 200 bytes.
        200 + self.subject.len() + self.data.len() + self.actor_json.len()
    }
}

/// Something a decision was based on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// One key: the position that last changed it, [`Position::ZERO`] when it was not there.
    Kv {
        /// Whose.
        app: AppId,
        /// The collection.
        collection: String,
        /// The key.
        key: String,
        /// What was seen.
        version: Position,
    },
    /// All keys that begin with a prefix and lie in a range: nothing among them has changed after a position.
    KvRange {
        /// Whose.
        app: AppId,
        /// The collection.
        collection: String,
        /// What the keys begin with.
        prefix: String,
        /// Only keys after this one.
        after: Option<String>,
        /// Only keys up to and including this one; none is to the end.
        up_to: Option<String>,
        /// The head when the question was answered, or before.
        as_of: Position,
    },
    /// A dead letter: the position that last changed it.
    DeadLetter {
        /// Which.
        dead_letter: DeadLetterId,
        /// What was seen.
        version: Position,
    },
    /// Up to where the times of a cron trigger have been decided about: the position of the last decision,
    /// [`Position::ZERO`] when there was none.
    Cron {
        /// Which.
        trigger: TriggerId,
        /// What was seen.
        version: Position,
    },
    /// That an item is neither done nor given up.
    Owed {
        /// Which.
        item: OutboxId,
    },
    /// The items of a lane, as far as they are not over: which is the last of them.
    Lane {
        /// Whose.
        app: AppId,
        /// The lane.
        lane: String,
        /// Where the last of them is said.
        last: Position,
    },
    /// How an app, or (`None`) the instance, is set up: no event of class `config` after a position.
    Config {
        /// Whose.
        app: Option<AppId>,
        /// The head when it was looked at, or before.
        as_of: Position,
    },
    /// The last alert of a matter on a channel: the position that last changed it, [`Position::ZERO`] when there was none.
    Alert {
        /// The name of the channel.
        channel: String,
        /// Of what kind the matter is,
        condition: Condition,
        /// and what it is about.
        subject: String,
        /// What was seen.
        version: Position,
    },
    /// The last seal of the log.
    LastSeal {
        /// Where it lies, [`Position::ZERO`] when there was none.
        position: Position,
    },
}

/// The right to write the outcome of an idempotent request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyClaim {
    /// What names the request: a hash of app, route or script, credentials and key.
    pub scope: [u8; 32],
    /// Which attempt at it holds the claim.
    pub claim: uuid::Uuid,
}

/// The outcome of an idempotent request, to be remembered by the same commit that makes it true.
#[derive(Debug)]
pub struct Outcome {
    /// The right to write it.
    pub claim: IdempotencyClaim,
    /// Status, headers and body under the app's data key.
    pub sealed: Vec<u8>,
}

/// The proof that somebody may ask what becomes of an item. Kept beside the log, for as long as anyone would ask.
#[derive(Clone, Copy, Debug)]
pub struct StatusToken {
    /// The item.
    pub item: OutboxId,
    /// The SHA-256 of the token.
    pub hash: [u8; 32],
}

/// A commit that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The place of its first event.
    pub first: Position,
    /// The place of its last event.
    pub last: Position,
    /// When.
    pub at: DateTime<Utc>,
}

/// Why a commit was not made. Nothing of it is in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Something it was based on has changed: decide again.
    #[error("what the commit was based on has changed")]
    Stale,
    /// It increases what is no integer, or past the range of one.
    #[error("an increased value is no integer or would leave the range of one")]
    NotANumber,
    /// Its idempotency claim was given to another attempt.
    #[error("the idempotency claim was lost")]
    Unclaimed,
    /// Its events match so many triggers, or say so much, that what they owe is too much for one commit.
    #[error("what the commit's events owe is too much")]
    OwesTooMuch,
    /// The item it was made for was cancelled, or another node runs it.
    #[error("the lease was lost")]
    Unleased,
    /// The database refuses what it says; the constraint's name, where one was broken.
    #[error("the database refuses the commit")]
    Invalid {
        /// The broken constraint.
        constraint: Option<Box<str>>,
    },
}

/// Why a commit has no answer, or not the wanted one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// It was looked at and refused.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Too much waits already. Nothing was written; try again.
    #[error("the queue of the log is full")]
    Busy,
    /// The database is away or the log is held by another. Nothing was written; try again.
    #[error("the log cannot be written at the moment")]
    Unavailable,
    /// The connection was lost while committing and the answer could not be found out in time.
    #[error("whether the commit was made is not known")]
    Unknown,
    /// The node has been declared dead by others and may not write any more.
    #[error("this node's right to write was revoked")]
    Revoked,
}
