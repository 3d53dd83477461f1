//! What waits to be committed, gathered fairly: apps take turns, so that one that floods the log does not delay the others.

use std::collections::{HashMap, VecDeque};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Commit, CommitError, Committed, NewEvent, Position, Read};
use crate::{
    event::Class,
    id::AppId,
    trigger::{MAX_OWED_BY_COMMIT, MAX_OWED_BYTES, Triggers},
};

/// A commit and who waits for its answer.
#[derive(Debug)]
pub(super) struct Pending {
    /// Its own events, and behind them what they owe.
    pub commit: Commit,
    /// How many are its own.
    own: usize,
    /// The triggers that these were matched against.
    matched: Option<Position>,
    pub answer: oneshot::Sender<Result<Committed, CommitError>>,
    /// Its share of the queue's memory, given back when it is answered.
    pub memory: Option<OwnedSemaphorePermit>,
}

impl Pending {
    pub fn new(commit: Commit, answer: oneshot::Sender<Result<Committed, CommitError>>) -> Self {
        Self { own: commit.events.len(), matched: None, commit, answer, memory: None }
    }

    /// Makes what its events owe follow them, unless that was done for the same triggers. Callers do it when they ask, so
    /// that the committer's one task seldom has to.
    pub fn owe(&mut self, triggers: &Triggers) {
        if self.matched == triggers.version && self.matched.is_some() {
            return;
        }
        self.commit.events.truncate(self.own);
        if !triggers.is_empty() {
            let owed: Vec<_> = self.commit.events.iter().flat_map(|event| triggers.owed(event)).collect();
            self.commit.events.extend(owed);
        }
        self.matched = triggers.version;
    }

    /// Whether what it owes is more than one commit may.
    pub fn owes_too_much(&self) -> bool {
        let owed = &self.commit.events[self.own..];
        owed.len() > MAX_OWED_BY_COMMIT || owed.iter().map(NewEvent::size_bytes).sum::<usize>() > MAX_OWED_BYTES
    }

    /// Configuration is folded, and looked at, by statements of its own: such commits go alone.
    pub fn concerns_config(&self) -> bool {
        self.commit.events.iter().any(|event| event.event.class() == Class::Config)
            || self.commit.reads.iter().any(|read| {
                matches!(
                    read,
                    Read::Config { .. }
                        | Read::DeadLetter { .. }
                        | Read::Cron { .. }
                        | Read::Owed { .. }
                        | Read::Lane { .. }
                        | Read::Alert { .. }
                        | Read::LastSeal { .. }
                )
            })
    }

    /// Whether it depends on nothing having been written in a range.
    pub fn holds_predicates(&self) -> bool {
        self.commit.reads.iter().any(|read| matches!(read, Read::KvRange { .. }))
    }
}

/// A first-come queue an app, and whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Fair {
    queues: HashMap<Option<AppId>, VecDeque<Pending>>,
    turns: VecDeque<Option<AppId>>,
    len: usize,
}

impl Fair {
    pub const fn len(&self) -> usize {
        self.len
    }

    pub fn push(&mut self, pending: Pending) {
        let app = pending.commit.app();
        let queue = self.queues.entry(app).or_default();
        if queue.is_empty() {
            self.turns.push_back(app);
        }
        queue.push_back(pending);
        self.len += 1;
    }

    /// The next batch: a commit of each app in turn, until it is large enough. Never empty while something waits.
    pub fn next_batch(&mut self, max_events: usize, max_bytes: usize) -> Vec<Pending> {
        let mut batch = Vec::new();
        let (mut events, mut bytes) = (0, 0);
        while let Some(app) = self.turns.front().copied() {
            let Some(queue) = self.queues.get_mut(&app) else { break };
            let Some(next) = queue.front() else { break };
            events += next.commit.events.len();
            bytes += next.commit.size_bytes();
            let alone = next.concerns_config();
            if !batch.is_empty() && (alone || events > max_events || bytes > max_bytes) {
                break;
            }
            batch.extend(queue.pop_front());
            self.len -= 1;
            self.turns.pop_front();
            if queue.is_empty() {
                self.queues.remove(&app);
            } else {
                self.turns.push_back(app);
            }
            if alone {
                break;
            }
        }
        batch
    }
}
