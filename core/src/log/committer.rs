//! The one task of a node that appends.
//!
//! It waits for a commit, gathers what else is there, sends it as one batch in one round trip, and answers every caller.
//! While a batch commits, the next gathers: that is the whole batching policy. A full queue is answered
//! [`CommitError::Busy`] at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use sqlx::postgres::PgConnectOptions;
use tokio::{
    sync::{Notify, Semaphore, mpsc, oneshot},
    task::JoinHandle,
};

use super::{Appended, Commit, CommitError, Committed, Handoff, Position, Rejected, fair::Pending};
use crate::{id::NodeEpoch, trigger::Triggers};

mod appender;
mod configuring;

use appender::Appender;

/// How much the committer takes at once and how much may wait.
#[derive(Clone, Copy, Debug)]
pub struct CommitterConfig {
    /// Commits that may wait; one more is [`CommitError::Busy`].
    pub queue_commits: usize,
    /// Memory that waiting commits may take.
    pub queue_bytes: usize,
    /// Events of one batch: what the ends of half a node's attempts take. Larger ones gain little and cost the slowest callers.
    pub batch_events: usize,
    /// Bytes of one batch.
    pub batch_bytes: usize,
    /// How long to look for the outcome of a commit whose connection was lost.
    pub settle_for: Duration,
}

impl Default for CommitterConfig {
    fn default() -> Self {
        Self {
            queue_commits: 4_096,
            queue_bytes: 64 << 20,
            batch_events: 1_500,
            batch_bytes: 1 << 20,
            settle_for: Duration::from_secs(10),
        }
    }
}

/// Takes commits. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Committer {
    queue: mpsc::Sender<Pending>,
    memory: Arc<Semaphore>,
    epoch: NodeEpoch,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    head: AtomicI64,
    /// What commits are matched against.
    triggers: ArcSwap<Triggers>,
    stuck: AtomicBool,
    revoked: AtomicBool,
    closing: AtomicBool,
    closed: Notify,
}

/// One unit of the queue's memory.
const MEMORY_UNIT: usize = 1 << 10;

impl Committer {
    /// Starts the task on a connection of its own. It ends when [`Committer::close`] was called and all that waited is
    /// answered. What it commits it hands to `tail`, and what it can to the workers of this node.
    #[must_use]
    pub fn start(
        options: PgConnectOptions,
        epoch: NodeEpoch,
        config: CommitterConfig,
        tail: mpsc::UnboundedSender<Appended>,
        handoff: Option<Handoff>,
    ) -> (Self, JoinHandle<()>) {
        let (queue, receiver) = mpsc::channel(config.queue_commits);
        let shared = Arc::new(Shared::default());
        let committer = Self {
            queue,
            memory: Arc::new(Semaphore::new(config.queue_bytes / MEMORY_UNIT)),
            epoch,
            shared: Arc::clone(&shared),
        };
        let appender = Appender::new(options, epoch, config, receiver, tail, handoff, shared);
        (committer, tokio::spawn(appender.run()))
    }

    /// Appends a commit; resolves when it is durable or refused.
    ///
    /// # Errors
    /// [`CommitError`] says whether anything was written (only [`CommitError::Unknown`] cannot) and whether to try again.
    pub async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        if self.shared.revoked.load(Ordering::Relaxed) || commit.authority.epoch != self.epoch {
            return Err(CommitError::Revoked);
        }
        if self.shared.closing.load(Ordering::Relaxed) {
            return Err(CommitError::Unavailable);
        }
        let (answer, answered) = oneshot::channel();
        let mut pending = Pending::new(commit, answer);
        pending.owe(&self.shared.triggers.load());
        if pending.owes_too_much() {
            return Err(Rejected::OwesTooMuch.into());
        }
        let units = (pending.commit.size_bytes() / MEMORY_UNIT + 1) as u32;
        let memory = Arc::clone(&self.memory).try_acquire_many_owned(units).map_err(|_| CommitError::Busy)?;
        pending.memory = Some(memory);
        self.queue.try_send(pending).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => CommitError::Busy,
            mpsc::error::TrySendError::Closed(_) => CommitError::Unavailable,
        })?;
        // The task answers all it took, unless it died with its runtime.
        answered.await.unwrap_or(Err(CommitError::Unknown))
    }

    /// The last position this node knows to be committed. What is read from the database from now on holds at least that.
    #[must_use]
    pub fn head(&self) -> Position {
        Position(self.shared.head.load(Ordering::Acquire))
    }

    /// Whether the last attempt to append failed for reasons of the database: nothing can be written at the moment.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.shared.stuck.load(Ordering::Relaxed)
    }

    /// Whether the node's right to write was taken away. Only a restart gives it a new one.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.shared.revoked.load(Ordering::Relaxed)
    }

    /// Takes no more commits; those that wait are still made.
    pub fn close(&self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        self.shared.closed.notify_one();
    }
}
