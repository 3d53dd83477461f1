//! The one task of a node that appends.
//!
//! It waits for a commit, gathers what else is there, sends it as one batch in one round trip, and answers every caller.
//! While a batch commits, the next gathers: that is the whole batching policy. A full queue is answered
//! [`CommitError::Busy`] at once.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{
    Batch, Commit, CommitError, Committed, Position, Read, Recorded, Rejected,
    batch::{self, Arrays, Refusal, Verdict, Writer},
    config,
    fair::{Fair, Pending},
    partitions,
    recent::{Recent, covers},
    settle::settle,
};
use crate::{
    event::Event,
    id::{AppId, NodeEpoch},
};

/// How much the committer takes at once and how much may wait.
#[derive(Clone, Copy, Debug)]
pub struct CommitterConfig {
    /// Commits that may wait; one more is [`CommitError::Busy`].
    pub queue_commits: usize,
    /// Memory that waiting commits may take.
    pub queue_bytes: usize,
    /// Events of one batch. Larger ones gain little and cost the slowest callers.
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
            batch_events: 300,
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
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    head: AtomicI64,
    stuck: AtomicBool,
    revoked: AtomicBool,
    closed: tokio::sync::Notify,
}

/// One unit of the queue's memory.
const MEMORY_UNIT: usize = 1 << 10;

impl Committer {
    /// Starts the task on a connection of its own. It ends when [`Committer::close`] was called and all that waited is
    /// answered. What it commits it hands to `tail`.
    #[must_use]
    pub fn start(
        options: PgConnectOptions,
        epoch: NodeEpoch,
        config: CommitterConfig,
        tail: mpsc::UnboundedSender<Batch>,
    ) -> (Self, JoinHandle<()>) {
        let (queue, receiver) = mpsc::channel(config.queue_commits);
        let shared = Arc::new(Shared::default());
        let committer = Self {
            queue,
            memory: Arc::new(Semaphore::new(config.queue_bytes / MEMORY_UNIT)),
            shared: Arc::clone(&shared),
        };
        let task = Task {
            options: options.options(SESSION),
            config,
            receiver,
            waiting: Fair::default(),
            connection: None,
            writer: Writer { token: Uuid::nil(), known: None, epoch },
            recent: Recent::default(),
            tail,
            shared,
        };
        (committer, tokio::spawn(task.run()))
    }

    /// Appends a commit; resolves when it is durable or refused.
    ///
    /// # Errors
    /// [`CommitError`] says whether anything was written (only [`CommitError::Unknown`] cannot) and whether to try again.
    pub async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        if self.shared.revoked.load(Ordering::Relaxed) {
            return Err(CommitError::Revoked);
        }
        let units = (commit.size_bytes() / MEMORY_UNIT + 1) as u32;
        let memory = Arc::clone(&self.memory).try_acquire_many_owned(units).map_err(|_| CommitError::Busy)?;
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Pending { commit, answer, _memory: memory }).map_err(|refused| match refused {
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
        self.shared.closed.notify_one();
    }
}

/// A stopped node must not hold the log: every wait is bounded, well below the time after which a node counts as dead.
/// A generic plan is what makes the call cheap; compiling it would not pay.
const SESSION: [(&str, &str); 6] = [
    ("lock_timeout", "2s"),
    ("statement_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "2s"),
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
    ("enable_seqscan", "off"),
];

/// How long connecting may take before the callers are told that the log cannot be written.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Callers that the last answers have just woken get into the next batch when it waits this often for the others to run.
const YIELDS: usize = 4;

/// How often a batch is sent again because another node was quicker, before its callers are told to try again.
const MAX_AGAIN: u32 = 10;

struct Task {
    options: PgConnectOptions,
    config: CommitterConfig,
    receiver: mpsc::Receiver<Pending>,
    waiting: Fair,
    connection: Option<PgConnection>,
    writer: Writer,
    recent: Recent,
    tail: mpsc::UnboundedSender<Batch>,
    shared: Arc<Shared>,
}

/// What is to be done after an attempt at a batch.
enum Next {
    /// It is in the log.
    Committed(Position, DateTime<Utc>),
    /// Without these it may be.
    Without(Vec<Refusal>),
    /// The same again: something was missing that is there now.
    Again,
    /// Something in it the database cannot take.
    Poison(Option<Box<str>>),
    /// None of it is in the log, or it is not known.
    Failed(CommitError),
}

impl Task {
    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            if self.waiting.len() == 0 {
                tokio::select! {
                    biased;
                    pending = self.receiver.recv() => match pending {
                        Some(pending) => self.waiting.push(pending),
                        None => break,
                    },
                    () = shared.closed.notified() => self.receiver.close(),
                }
            }
            self.gather().await;
            let batch = self.waiting.next_batch(self.config.batch_events, self.config.batch_bytes);
            self.make(batch).await;
        }
        if let Some(connection) = self.connection.take() {
            // The server would notice by itself; this only spares its log a line.
            let _ = connection.close().await;
        }
    }

    async fn gather(&mut self) {
        for _ in 0..YIELDS {
            tokio::task::yield_now().await;
            while self.waiting.len() < self.config.queue_commits {
                let Ok(pending) = self.receiver.try_recv() else { break };
                self.waiting.push(pending);
            }
        }
    }

    /// Takes a batch to its end: every caller is answered.
    async fn make(&mut self, batch: Vec<Pending>) {
        // A batch with something in it that the database cannot take is halved until the culprit stands alone.
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            let mut refused = Vec::new();
            let mut again = 0;
            while !part.is_empty() {
                match self.attempt(&part).await {
                    Next::Committed(head, at) => {
                        self.committed(std::mem::take(&mut part), head, at);
                    }
                    Next::Without(refusals) => refused.extend(take_out(&mut part, refusals)),
                    Next::Again if again < MAX_AGAIN => again += 1,
                    Next::Again => fail(&mut part, &CommitError::Unavailable),
                    Next::Poison(constraint) if part.len() == 1 => {
                        refused.extend(take_out(&mut part, vec![(0, Rejected::Invalid { constraint })]));
                    }
                    Next::Poison(_) => {
                        parts.push(part.split_off(part.len() / 2));
                    }
                    Next::Failed(error) => fail(&mut part, &error),
                }
            }
            // Only now: who was refused for another's write in the same batch is to find it when it looks again.
            for (pending, why) in refused {
                let _ = pending.answer.send(Err(why.into()));
            }
        }
    }

    async fn attempt(&mut self, part: &[Pending]) -> Next {
        if part.iter().any(|pending| pending.commit.reads.iter().any(|read| matches!(read, Read::KvRange { .. })))
            && let Err(error) = self.fill_gaps().await
        {
            return self.failed(part, error).await;
        }
        let stale = stale_in_memory(part, &self.recent);
        if !stale.is_empty() {
            return Next::Without(stale);
        }
        let arrays = match Arrays::build(part.iter().map(|pending| &pending.commit)) {
            Ok(arrays) => arrays,
            Err(refusal) => return Next::Without(vec![refusal]),
        };
        match self.send(part, &arrays).await {
            Ok(Verdict::Committed { head, at }) => Next::Committed(head, at),
            Ok(Verdict::Refused(refusals)) => Next::Without(refusals),
            Ok(Verdict::Behind { head, at }) => match self.catch_up(head, at).await {
                Ok(()) => Next::Again,
                Err(error) => self.failed(part, error).await,
            },
            Ok(Verdict::Revoked) => {
                error!(node.epoch = %self.writer.epoch, "This node's right to write was revoked: it must be restarted");
                self.shared.revoked.store(true, Ordering::Relaxed);
                Next::Failed(CommitError::Revoked)
            }
            Err(error) => self.failed(part, error).await,
        }
    }

    async fn send(&mut self, part: &[Pending], arrays: &Arrays<'_>) -> Result<Verdict, sqlx::Error> {
        self.connect().await?;
        let connection = self.connection.as_mut().expect("connected above");
        let config = part.first().filter(|first| first.is_config());
        match config {
            None => batch::append(connection, &self.writer, arrays.holds_predicates, arrays).await,
            Some(only) => append_config(connection, &self.writer, &only.commit, arrays).await,
        }
    }

    async fn connect(&mut self) -> Result<(), sqlx::Error> {
        if self.connection.is_some() {
            return Ok(());
        }
        let connected = timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&self.options)).await;
        let connection =
            connected.map_err(|_| sqlx::Error::Io(std::io::Error::from(std::io::ErrorKind::TimedOut)))??;
        self.connection = Some(connection);
        self.writer.token = Uuid::from_u128(crate::id::EventId::generate().ulid().0);
        self.writer.known = None;
        Ok(())
    }

    /// Learns what other nodes appended, so that predicates can be answered.
    async fn catch_up(&mut self, head: Position, at: DateTime<Utc>) -> Result<(), sqlx::Error> {
        if self.writer.known.is_none() && self.shared.head.load(Ordering::Relaxed) == 0 {
            // The first append of this process: nothing was read before it.
            self.recent.forget(head);
        } else {
            self.recent.advance(head, head);
            self.fill_gaps().await?;
        }
        self.writer.known = Some((head, at));
        Ok(())
    }

    async fn fill_gaps(&mut self) -> Result<(), sqlx::Error> {
        for (from, to) in self.recent.take_gaps() {
            self.connect().await?;
            let connection = self.connection.as_mut().expect("connected above");
            let rows = sqlx::query!(
                "select position, app_id, kind, data::text from log.data where position > $1 and position <= $2
                order by position",
                from.0,
                to.0
            )
            .fetch_all(connection)
            .await;
            let rows = match rows {
                Ok(rows) => rows,
                Err(error) => {
                    self.recent.forget(to);
                    return Err(error);
                }
            };
            for row in rows {
                let event = row.data.as_deref().map(|data| Event::decode(&row.kind, data));
                match (row.app_id, event) {
                    (Some(app), Some(Ok(event))) => self.recent.wrote(Position(row.position), app.into(), &event),
                    // A newer node may write what this one cannot read: then nothing up to here is known.
                    _ => self.recent.forget(to),
                }
            }
        }
        Ok(())
    }

    fn committed(&mut self, part: Vec<Pending>, head: Position, at: DateTime<Utc>) {
        let events: usize = part.iter().map(|pending| pending.commit.events.len()).sum();
        let before = Position(head.0 - events as i64);
        if self.shared.head.load(Ordering::Relaxed) == 0 {
            self.recent.forget(before);
        }
        self.recent.advance(before, head);
        self.writer.known = Some((head, at));
        self.shared.head.store(head.0, Ordering::Release);
        self.shared.stuck.store(false, Ordering::Relaxed);

        let mut recorded = Vec::with_capacity(events);
        let mut position = before;
        for pending in part {
            let first = position.plus(1);
            for event in pending.commit.events {
                position = position.plus(1);
                if let Some(app) = event.app {
                    self.recent.wrote(position, app, &event.event);
                }
                recorded.push(Recorded { position, at, event: Arc::new(event) });
            }
            // A caller that went away has nobody to tell; its commit stands.
            let _ = pending.answer.send(Ok(Committed { first, last: position, at }));
        }
        // Without a tail there is nobody to tell either.
        let _ = self.tail.send(Batch::new(recorded));
    }

    async fn failed(&mut self, part: &[Pending], error: sqlx::Error) -> Next {
        self.writer.known = None;
        match Trouble::of(&error) {
            Trouble::Poison(constraint) => Next::Poison(constraint),
            Trouble::NoPartition => {
                warn!("The log ran out of partitions: making another");
                let Some(connection) = self.connection.as_mut() else {
                    return Next::Failed(CommitError::Unavailable);
                };
                match partitions::add(connection, partitions::MIN_SIZE).await {
                    Ok(()) => Next::Again,
                    Err(error) => {
                        error!(%error, "Failed to make a partition");
                        Next::Failed(CommitError::Unavailable)
                    }
                }
            }
            Trouble::Refused => {
                self.stuck(&error);
                Next::Failed(CommitError::Unavailable)
            }
            Trouble::Lost => {
                self.stuck(&error);
                let unsent = self.connection.take().is_none();
                if unsent { Next::Failed(CommitError::Unavailable) } else { self.settle(part).await }
            }
        }
    }

    fn stuck(&self, error: &sqlx::Error) {
        if !self.shared.stuck.swap(true, Ordering::Relaxed) {
            warn!(%error, "The log cannot be written");
        }
    }

    /// Finds out what became of a batch whose answer was lost.
    async fn settle(&mut self, part: &[Pending]) -> Next {
        let first = part.first().and_then(|pending| pending.commit.events.first());
        let Some(first) = first.map(|event| event.id) else { return Next::Failed(CommitError::Unavailable) };
        let events = part.iter().map(|pending| pending.commit.events.len()).sum();
        let above = match self.shared.head.load(Ordering::Relaxed) {
            0 => None,
            head => Some(Position(head)),
        };
        let deadline = Instant::now() + self.config.settle_for;
        let mut pause = Duration::from_millis(20);
        while Instant::now() < deadline {
            if self.connect().await.is_ok() {
                let connection = self.connection.as_mut().expect("connected above");
                match settle(connection, first, events, above).await {
                    Ok(Some((head, at))) => {
                        info!(log.head = %head, "The commit whose answer was lost had been made");
                        return Next::Committed(head, at);
                    }
                    Ok(None) => return Next::Failed(CommitError::Unavailable),
                    Err(error) => {
                        warn!(%error, "Failed to look for a commit whose answer was lost");
                        self.connection = None;
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
        Next::Failed(CommitError::Unknown)
    }
}

/// Appends a commit that also changes configuration: the append and the statements that fold it, in one transaction.
async fn append_config(
    connection: &mut PgConnection,
    writer: &Writer,
    commit: &Commit,
    arrays: &Arrays<'_>,
) -> Result<Verdict, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let verdict = batch::append(&mut transaction, writer, arrays.holds_predicates, arrays).await?;
    if let Verdict::Committed { head, at } = verdict {
        let before = Position(head.0 - commit.events.len() as i64);
        if !config::is_fresh(&mut transaction, &commit.reads, before).await? {
            transaction.rollback().await?;
            return Ok(Verdict::Refused(vec![(0, Rejected::Stale)]));
        }
        for (n, event) in commit.events.iter().enumerate() {
            config::fold(&mut transaction, event, before.plus(n + 1), at).await?;
        }
    }
    transaction.commit().await?;
    Ok(verdict)
}

fn fail(part: &mut Vec<Pending>, error: &CommitError) {
    for pending in part.drain(..) {
        let _ = pending.answer.send(Err(error.clone()));
    }
}

/// Takes the refused out of a batch, with the reason of each.
fn take_out(part: &mut Vec<Pending>, mut refusals: Vec<Refusal>) -> Vec<(Pending, Rejected)> {
    refusals.sort_by_key(|(index, _)| std::cmp::Reverse(*index));
    refusals.dedup_by_key(|(index, _)| *index);
    refusals.into_iter().map(|(index, why)| (part.remove(index), why)).collect()
}

/// The commits that what was committed lately, or an earlier commit of the same batch, has made stale.
fn stale_in_memory(part: &[Pending], recent: &Recent) -> Vec<Refusal> {
    let mut stale = Vec::new();
    let mut written: HashSet<(AppId, &str, &str)> = HashSet::new();
    for (index, pending) in part.iter().enumerate() {
        let overtaken = |read: &Read| match read {
            Read::Kv { app, collection, key, .. } => written.contains(&(*app, collection.as_str(), key.as_str())),
            Read::KvRange { .. } => written.iter().any(|(app, collection, key)| covers(read, *app, collection, key)),
            Read::Config { .. } => false,
        };
        if pending.commit.reads.iter().any(|read| recent.is_stale(read) || overtaken(read)) {
            stale.push((index, Rejected::Stale));
            continue;
        }
        for event in &pending.commit.events {
            let Some(app) = event.app else { continue };
            match &event.event {
                Event::KvSet(set) => written.insert((app, &set.collection, &set.key)),
                Event::KvIncreased(by) => written.insert((app, &by.collection, &by.key)),
                Event::KvDeleted(gone) => written.insert((app, &gone.collection, &gone.key)),
                _ => false,
            };
        }
    }
    stale
}

/// What kind of trouble an error is.
enum Trouble {
    /// The statement was refused for what it says.
    Poison(Option<Box<str>>),
    /// There is no partition for the next positions.
    NoPartition,
    /// The statement was refused for reasons of the server: the lock was not to be had, the disk is full.
    Refused,
    /// The connection is gone, and with it the answer.
    Lost,
}

impl Trouble {
    fn of(error: &sqlx::Error) -> Self {
        let sqlx::Error::Database(database) = error else { return Self::Lost };
        let code = database.code().unwrap_or_default();
        match code.as_ref() {
            "23514" if database.constraint().is_none() => Self::NoPartition,
            // The server is going down or was: whether it had committed is to be looked up.
            "57P01" | "57P02" | "57P03" => Self::Lost,
            // 21 cardinality, 22 data, 23 integrity: what is said, not who says it.
            code if ["21", "22", "23"].iter().any(|class| code.starts_with(class)) => {
                Self::Poison(database.constraint().map(Into::into))
            }
            // The transaction was ended under us while idle: 25P03 closes the connection too.
            code if code.starts_with("08") || code == "25P03" => Self::Lost,
            _ => Self::Refused,
        }
    }
}
