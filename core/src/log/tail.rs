//! Tells everybody on the node of every event, once, in order, as soon as it is durable.
//!
//! What the node's own committer appended is handed over in memory; what other nodes appended is read when a notification
//! says so. A notification can be lost with its connection, so the same reading also happens on every reconnect and on a
//! slow timer. The tail notifies itself now and then: unheard, the node is on the timer alone, and says so.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tracing::{error, info, warn};

use super::{
    Broadcast, NewEvent, Position, Recorded,
    broadcast::{Pieces, send_on},
    read::{ReadError, Reader},
};
use crate::id::NodeEpoch;

mod ear;

use ear::{Ear, Heard};

/// The channel everybody listens on; `migrations/0004_append.sql` names the same.
const CHANNEL: &str = "picloud";

/// How often the tail looks without being told, and calls itself to hear whether it would be.
const TIMER: Duration = Duration::from_secs(4);

/// How many batches a subscriber may be behind before it has to read the log instead.
const RING: usize = 1_024;

/// How many events are read at once when catching up.
const CHUNK: usize = 2_000;

/// A batch as the committer leaves it. Making it what subscribers see is the tail's work: the next batch should not wait.
#[derive(Debug)]
pub struct Appended {
    /// The last position before it.
    pub(super) before: Position,
    /// When it was committed.
    pub(super) at: DateTime<Utc>,
    /// The events of its commits, in order.
    pub(super) commits: Vec<Vec<NewEvent>>,
    /// What is to be told with them, and not kept.
    pub(super) broadcasts: Vec<Broadcast>,
}

impl From<Appended> for Batch {
    fn from(appended: Appended) -> Self {
        let Appended { before, at, commits, broadcasts: _ } = appended;
        let events = commits.into_iter().flatten().enumerate();
        let recorded = events.map(|(n, event)| Recorded { position: before.plus(n + 1), at, event: Arc::new(event) });
        Self::new(recorded.collect())
    }
}

/// Events that lie next to each other in the log.
#[derive(Clone, Debug)]
pub struct Batch {
    events: Arc<[Recorded]>,
}

impl Batch {
    pub(super) fn new(events: Vec<Recorded>) -> Self {
        Self { events: events.into() }
    }

    /// In order, without a gap.
    #[must_use]
    pub fn events(&self) -> &[Recorded] {
        &self.events
    }

    /// The first and the last position; `None` when there is no event.
    fn bounds(&self) -> Option<(Position, Position)> {
        Some((self.events.first()?.position, self.events.last()?.position))
    }
}

/// How well the tail hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailHealth {
    /// Notifications arrive.
    Listening,
    /// They do not: other nodes' events come some seconds late.
    Polling,
    /// It stands before an event that this version cannot read.
    Parked,
}

/// The node's view of the log as it grows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tail {
    // Weak: when the task is gone, whoever follows is to hear of it.
    sender: broadcast::WeakSender<Batch>,
    broadcasts: broadcast::WeakSender<Arc<Broadcast>>,
    own: broadcast::WeakSender<Batch>,
    position: watch::Receiver<Position>,
    reader: Reader,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    polling: AtomicBool,
    parked: AtomicBool,
}

impl Shared {
    fn unheard(&self) {
        if !self.polling.swap(true, Ordering::Relaxed) {
            warn!("Notifications do not arrive: looking at the log every {TIMER:?} instead");
        }
    }

    fn heard(&self) {
        if self.polling.swap(false, Ordering::Relaxed) {
            info!("Notifications arrive again");
        }
    }
}

impl Tail {
    /// Starts the task at the present head. `local` is where the node's committer hands over what it appended. The task ends
    /// when that channel's other end is gone.
    ///
    /// # Errors
    /// When the database cannot be asked for the head.
    pub async fn start(
        pool: PgPool,
        listen: PgPool,
        epoch: NodeEpoch,
        local: mpsc::UnboundedReceiver<Appended>,
    ) -> Result<(Self, JoinHandle<()>), sqlx::Error> {
        let reader = Reader::new(pool.clone());
        let head = reader.head().await?;
        let (sender, _) = broadcast::channel(RING);
        let (position, watched) = watch::channel(head);
        let shared = Arc::new(Shared::default());
        let (broadcasts, _) = broadcast::channel(RING);
        let (own_batches, _) = broadcast::channel(RING);
        let tail = Self {
            sender: sender.downgrade(),
            broadcasts: broadcasts.downgrade(),
            own: own_batches.downgrade(),
            position: watched,
            reader: reader.clone(),
            shared: Arc::clone(&shared),
        };
        // Full, it holds up nobody: what is not kept may be lost.
        let (to_others, wanted) = mpsc::channel(RING);
        tokio::spawn(send_on(pool.clone(), epoch, wanted));
        let own = epoch.uuid().to_string();
        let task = Task { pool, listen, own, reader, sender, broadcasts, own_batches, to_others, position, shared };
        Ok((tail, tokio::spawn(task.run(local))))
    }

    /// Up to where everybody has been told.
    #[must_use]
    pub fn position(&self) -> Position {
        *self.position.borrow()
    }

    /// Resolves when everybody has been told up to a position.
    pub async fn reached(&self, position: Position) {
        let mut watched = self.position.clone();
        // The task is gone only when the node is: then nobody waits for long.
        let _ = watched.wait_for(|reached| *reached >= position).await;
    }

    /// All that comes from now on. Who falls more than a thousand batches behind is told so and must read the log.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Batch> {
        // The task is gone: so is the other end of what is handed out.
        self.sender.upgrade().map_or_else(|| broadcast::channel(1).1, |sender| sender.subscribe())
    }

    /// What this node appends from now on, as it does. Who falls behind misses some.
    #[must_use]
    pub fn own(&self) -> broadcast::Receiver<Batch> {
        self.own.upgrade().map_or_else(|| broadcast::channel(1).1, |own| own.subscribe())
    }

    /// What is broadcast from now on, here and on other nodes. Who falls behind misses some.
    #[must_use]
    pub fn broadcasts(&self) -> broadcast::Receiver<Arc<Broadcast>> {
        self.broadcasts.upgrade().map_or_else(|| broadcast::channel(1).1, |sender| sender.subscribe())
    }

    /// All that comes after a position: first from the log, then live, without gap or duplicate.
    #[must_use]
    pub fn follow(&self, after: Position) -> Follow {
        Follow { live: self.subscribe(), held: None, tail: self.clone(), cursor: after }
    }

    /// How well it hears.
    #[must_use]
    pub fn health(&self) -> TailHealth {
        if self.shared.parked.load(Ordering::Relaxed) {
            TailHealth::Parked
        } else if self.shared.polling.load(Ordering::Relaxed) {
            TailHealth::Polling
        } else {
            TailHealth::Listening
        }
    }
}

/// A reader of the log that never ends. Who is slow reads from the log what it missed; it holds nobody up.
#[derive(Debug)]
pub struct Follow {
    live: broadcast::Receiver<Batch>,
    /// What came live and has something missing before it.
    held: Option<Batch>,
    tail: Tail,
    cursor: Position,
}

impl Follow {
    /// Where it stands: the last position it has told of.
    #[must_use]
    pub const fn cursor(&self) -> Position {
        self.cursor
    }

    /// The next events, at least one. `None` when the node goes away. May be dropped while it waits: nothing is lost.
    ///
    /// # Errors
    /// When the log cannot be read. Asking again goes on where it stood.
    pub async fn next(&mut self) -> Result<Option<Vec<Recorded>>, ReadError> {
        loop {
            let Some((first, last)) = self.held.as_ref().and_then(Batch::bounds) else {
                let told = self.tail.position();
                // What comes next may come live; only who is behind without it has to read.
                if self.cursor < told && self.live.is_empty() {
                    let events = self.history(told).await?;
                    if !events.is_empty() {
                        return Ok(Some(events));
                    }
                    continue;
                }
                match self.live.recv().await {
                    Ok(batch) => self.held = Some(batch),
                    // The next one shows what is missing.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return Ok(None),
                }
                continue;
            };
            if first > self.cursor.plus(1) {
                let events = self.history(Position(first.0 - 1)).await?;
                if !events.is_empty() {
                    return Ok(Some(events));
                }
                continue;
            }
            let batch = self.held.take().into_iter().flat_map(|batch| batch.events().to_vec());
            let news: Vec<_> = batch.filter(|event| event.position > self.cursor).collect();
            if !news.is_empty() {
                self.cursor = last;
                return Ok(Some(news));
            }
        }
    }

    async fn history(&mut self, up_to: Position) -> Result<Vec<Recorded>, ReadError> {
        let (events, reached) = readable(&self.tail.reader, self.cursor, up_to).await?;
        self.cursor = reached;
        Ok(events)
    }
}

/// The next events of a range, and up to where they are all there are; fails only when the very first cannot be read.
async fn readable(reader: &Reader, after: Position, up_to: Position) -> Result<(Vec<Recorded>, Position), ReadError> {
    let (events, up_to) = match reader.range(after, up_to, CHUNK).await {
        Err(ReadError::Undecodable { position, .. }) if position > after.plus(1) => {
            let before = Position(position.0 - 1);
            (reader.range(after, before, CHUNK).await?, before)
        }
        read => (read?, up_to),
    };
    // Fewer than asked for: what is missing was dropped by retention.
    let reached = if events.len() < CHUNK { up_to } else { events.last().map_or(up_to, |last| last.position) };
    Ok((events, reached))
}

struct Task {
    pool: PgPool,
    listen: PgPool,
    own: String,
    reader: Reader,
    sender: broadcast::Sender<Batch>,
    broadcasts: broadcast::Sender<Arc<Broadcast>>,
    own_batches: broadcast::Sender<Batch>,
    to_others: mpsc::Sender<Arc<Broadcast>>,
    position: watch::Sender<Position>,
    shared: Arc<Shared>,
}

impl Task {
    async fn run(self, mut local: mpsc::UnboundedReceiver<Appended>) {
        let (heard, mut wakes) = mpsc::channel(256);
        let pinged = Arc::new(AtomicBool::new(true));
        let ear = Ear { own: self.own.clone(), heard, pinged: Arc::clone(&pinged), shared: Arc::clone(&self.shared) };
        let listener = tokio::spawn(ear.listen(self.listen.clone()));
        let mut timer = interval(TIMER);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                batch = local.recv() => match batch {
                    Some(mut appended) => {
                        let broadcasts = std::mem::take(&mut appended.broadcasts);
                        let batch = Batch::from(appended);
                        // Nobody listens: fine.
                        let _ = self.own_batches.send(batch.clone());
                        self.local(batch).await;
                        self.broadcast(broadcasts);
                    }
                    None => break,
                },
                Some(heard) = wakes.recv() => match heard {
                    Heard::Head(head) => self.catch_up(head).await,
                    // Nobody listens: fine.
                    Heard::Broadcast(broadcast) => _ = self.broadcasts.send(Arc::new(broadcast)),
                    Heard::Reconnected => {
                        self.look().await;
                        self.ping().await;
                    }
                },
                _ = timer.tick() => {
                    if !pinged.swap(false, Ordering::Relaxed) {
                        self.shared.unheard();
                    }
                    self.look().await;
                    self.ping().await;
                }
            }
        }
        listener.abort();
    }

    fn cursor(&self) -> Position {
        *self.position.borrow()
    }

    async fn local(&self, batch: Batch) {
        let Some((first, last)) = batch.bounds() else { return };
        let cursor = self.cursor();
        if last <= cursor {
            return;
        }
        if first > cursor.plus(1) {
            self.catch_up(Position(first.0 - 1)).await;
        }
        if first == self.cursor().plus(1) {
            self.tell(batch, last);
        } else {
            // Something before it could not be read, or a part of it was told already.
            self.catch_up(last).await;
        }
    }

    fn broadcast(&self, broadcasts: Vec<Broadcast>) {
        for broadcast in broadcasts {
            let broadcast = Arc::new(broadcast);
            let _ = self.to_others.try_send(Arc::clone(&broadcast));
            let _ = self.broadcasts.send(broadcast);
        }
    }

    fn tell(&self, batch: Batch, last: Position) {
        // Nobody listens: fine.
        let _ = self.sender.send(batch);
        self.position.send_replace(last);
    }

    async fn look(&self) {
        match self.reader.head().await {
            Ok(head) => self.catch_up(head).await,
            Err(error) => warn!(%error, "Failed to ask for the head of the log"),
        }
    }

    async fn ping(&self) {
        let ping = format!("ping {}", self.own);
        if let Err(error) = sqlx::query!("select pg_notify($1, $2)", CHANNEL, ping).execute(&self.pool).await {
            warn!(%error, "Failed to notify myself");
        }
    }

    async fn catch_up(&self, head: Position) {
        while self.cursor() < head {
            match readable(&self.reader, self.cursor(), head).await {
                Ok((events, reached)) => {
                    self.shared.parked.store(false, Ordering::Relaxed);
                    if events.is_empty() {
                        self.position.send_replace(reached);
                    } else {
                        self.tell(Batch::new(events), reached);
                    }
                }
                Err(ReadError::Database(error)) => {
                    // The timer tries again.
                    warn!(%error, "Failed to catch up with the log");
                    return;
                }
                Err(error @ ReadError::Undecodable { .. }) => {
                    if !self.shared.parked.swap(true, Ordering::Relaxed) {
                        error!(%error, "The tail stands still: this node is too old for what another one wrote");
                    }
                    return;
                }
            }
        }
    }
}
