//! What the committer's task does: it takes batches to their end, one after the other, and knows what to do about trouble.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, sleep, timeout},
};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{CommitterConfig, Shared, configuring};
use crate::{
    event::Event,
    id::NodeEpoch,
    log::{
        Appended, Broadcast, CommitError, Committed, Handoff, Position, Rejected,
        batch::{self, Arrays, Refusal, Verdict, Writer},
        fair::{Fair, Pending},
        overtaken::stale_in_memory,
        partitions,
        recent::{self, Recent, WINDOW},
        settle::{lock, settle},
        triggers,
        trouble::Trouble,
    },
};

/// A stopped node must not hold the log: every wait is bounded, well below the time after which a node counts as dead.
/// A generic plan is what makes the call cheap; compiling it would not pay. It outlives the sizes it was made for, so it
/// must look every key up by its index, also while the tables are empty.
const SESSION: [(&str, &str); 8] = [
    ("lock_timeout", "2s"),
    ("statement_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "2s"),
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];

/// How long connecting may take before the callers are told that the log cannot be written.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Callers that the last answers have just woken get into the next batch when it waits this often for the others to run.
const YIELDS: usize = 4;

/// How often to look whether the log can be written again while nobody asks for it.
const PROBE: Duration = Duration::from_secs(1);

/// How often a batch is sent again because another node was quicker, before its callers are told to try again.
const MAX_AGAIN: u32 = 10;

pub(super) struct Appender {
    options: PgConnectOptions,
    config: CommitterConfig,
    receiver: mpsc::Receiver<Pending>,
    waiting: Fair,
    connection: Option<PgConnection>,
    writer: Writer,
    recent: Recent,
    /// Callers that the last batch answered.
    answered: usize,
    tail: mpsc::UnboundedSender<Appended>,
    handoff: Option<Handoff>,
    shared: Arc<Shared>,
}

/// Items that go to workers of this node once they are committed: which event of the batch each is, from 0, and its place.
type Places = Vec<(usize, OwnedSemaphorePermit)>;

/// What is to be done after an attempt at a batch.
enum Next {
    /// It is in the log.
    Committed(Position, DateTime<Utc>),
    /// Without these it may be.
    Without(Vec<Refusal>),
    /// The same again: something was missing that is there now.
    Again,
    /// The first so many, then the rest. Not 0 and not all.
    InTwo(usize),
    /// Something in it the database cannot take.
    Poison(Rejected),
    /// None of it is in the log, or it is not known.
    Failed(CommitError),
}

impl Appender {
    pub fn new(
        options: PgConnectOptions,
        epoch: NodeEpoch,
        config: CommitterConfig,
        receiver: mpsc::Receiver<Pending>,
        tail: mpsc::UnboundedSender<Appended>,
        handoff: Option<Handoff>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            options: options.options(SESSION),
            config,
            receiver,
            waiting: Fair::default(),
            connection: None,
            writer: Writer { token: Uuid::nil(), known: None, epoch, triggers: None },
            recent: Recent::default(),
            answered: 0,
            tail,
            handoff,
            shared,
        }
    }

    pub async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        // So that the head is known before the first commit. When it fails, the first commit tries again.
        if let Err(error) = self.connect().await {
            self.stuck(&error);
        }
        loop {
            if self.waiting.len() == 0 {
                tokio::select! {
                    biased;
                    pending = self.receiver.recv() => match pending {
                        Some(pending) => self.waiting.push(pending),
                        None => break,
                    },
                    () = shared.closed.notified() => self.receiver.close(),
                    () = sleep(PROBE), if shared.stuck.load(Ordering::Relaxed) => self.probe().await,
                }
            }
            self.gather().await;
            let batch = self.waiting.next_batch(self.config.batch_events, self.config.batch_bytes);
            self.answered = batch.len();
            self.make(batch).await;
        }
        if let Some(connection) = self.connection.take() {
            // The server would notice by itself; this only spares its log a line.
            let _ = connection.close().await;
        }
    }

    async fn gather(&mut self) {
        // A caller that was alone has nobody to wait for.
        let yields = if self.answered > 1 { YIELDS } else { 0 };
        for round in 0..=yields {
            if round > 0 {
                tokio::task::yield_now().await;
            }
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
                let mut places = Places::new();
                match self.attempt(&mut part, &mut places).await {
                    Next::Committed(head, at) => {
                        self.hand(&part, places, at);
                        self.committed(std::mem::take(&mut part), head, at).await;
                    }
                    Next::Without(refusals) => refused.extend(take_out(&mut part, refusals)),
                    Next::Again if again < MAX_AGAIN => again += 1,
                    Next::Again => {
                        // Other nodes are quicker every time. Whoever depends on nothing having happened decides anew.
                        let tired: Vec<_> = (0..part.len()).filter(|n| part[*n].holds_predicates()).collect();
                        if tired.is_empty() {
                            fail(&mut part, &CommitError::Unavailable);
                        }
                        refused.extend(take_out(&mut part, tired.into_iter().map(|n| (n, Rejected::Stale)).collect()));
                    }
                    Next::InTwo(first) => parts.push(part.split_off(first)),
                    Next::Poison(why) if part.len() == 1 => refused.extend(take_out(&mut part, vec![(0, why)])),
                    Next::Poison(_) => parts.push(part.split_off(part.len() / 2)),
                    Next::Failed(error) => fail(&mut part, &error),
                }
            }
            // Only now: who was refused for another's write in the same batch is to find it when it looks again.
            for (pending, why) in refused {
                let _ = pending.answer.send(Err(why.into()));
            }
        }
    }

    async fn attempt(&mut self, part: &mut [Pending], places: &mut Places) -> Next {
        if let Err(error) = self.connect().await {
            return self.failed(part, error).await;
        }
        let triggers = self.shared.triggers.load_full();
        for pending in &mut *part {
            pending.owe(&triggers);
        }
        let part = &*part;
        // Known to whoever asked, unless there were other triggers then.
        let too_much = part.iter().enumerate().filter(|(_, pending)| pending.owes_too_much());
        let too_much: Vec<Refusal> = too_much.map(|(n, _)| (n, Rejected::OwesTooMuch)).collect();
        if !too_much.is_empty() {
            return Next::Without(too_much);
        }
        if part.iter().any(Pending::holds_predicates)
            && let Err(error) = self.fill_gaps().await
        {
            return self.failed(part, error).await;
        }
        let stale = stale_in_memory(part, &self.recent);
        if !stale.is_empty() {
            return Next::Without(stale);
        }
        let mut arrays = match Arrays::build(part.iter().map(|pending| &pending.commit)) {
            Ok(arrays) => arrays,
            Err(0) => return Next::Without(vec![(0, Rejected::NotANumber)]),
            // On top of what is really committed it may fit, and who came before it may yet be refused.
            Err(second) => return Next::InTwo(second),
        };
        if let Some(handoff) = &self.handoff {
            *places = arrays.lease(|enqueued| handoff.place_for(enqueued));
        }
        match self.send(part, &arrays).await {
            Ok(Verdict::Committed { head, at }) => Next::Committed(head, at),
            Ok(Verdict::Refused(refusals)) => Next::Without(refusals),
            Ok(Verdict::Crowded) => Next::Poison(Rejected::NotANumber),
            Ok(Verdict::Behind { head, at }) => match self.catch_up(head, at).await {
                Ok(()) => Next::Again,
                Err(error) => self.failed(part, error).await,
            },
            Ok(Verdict::Unmatched) => match self.learn_triggers().await {
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

    /// Looks up what commits are to be matched against.
    async fn learn_triggers(&mut self) -> Result<(), sqlx::Error> {
        let connection = self.connection.as_mut().expect("whoever asks is connected");
        let triggers = triggers::load(connection).await?;
        self.writer.triggers = triggers.version;
        self.shared.triggers.store(Arc::new(triggers));
        Ok(())
    }

    async fn send(&mut self, part: &[Pending], arrays: &Arrays<'_>) -> Result<Verdict, sqlx::Error> {
        let connection = self.connection.as_mut().expect("connected above");
        let config = part.first().filter(|first| first.concerns_config());
        match config {
            None => batch::append(connection, &self.writer, arrays.holds_predicates, arrays).await,
            Some(only) => configuring::append(connection, &self.writer, &only.commit, arrays).await,
        }
    }

    async fn connect(&mut self) -> Result<(), sqlx::Error> {
        if self.connection.is_some() {
            return Ok(());
        }
        let connected = timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&self.options)).await;
        let mut connection =
            connected.map_err(|_| sqlx::Error::Io(std::io::Error::from(std::io::ErrorKind::TimedOut)))??;
        let head = sqlx::query_scalar!(r#"select log.find_head() as "head!""#).fetch_one(&mut connection).await?;
        let remembered = self.shared.head.load(Ordering::Relaxed);
        if head < remembered {
            // A replica that lagged was promoted, an older copy restored. What this node remembers, and its tail has told, is
            // not so any more: going on would give positions out twice.
            error!(
                log.head = head,
                log.remembered = remembered,
                "The database has lost commits that it had acknowledged: this node must be restarted"
            );
            self.shared.revoked.store(true, Ordering::Relaxed);
            return Err(sqlx::Error::Protocol("the log ends before what this node has seen of it".to_owned()));
        }
        if remembered == 0 {
            // Nothing was read before this, and nothing of this process lies below it.
            self.recent.forget(Position(head));
            self.shared.head.store(head, Ordering::Release);
        }
        self.connection = Some(connection);
        if self.writer.triggers.is_none()
            && let Err(error) = self.learn_triggers().await
        {
            self.connection = None;
            return Err(error);
        }
        self.writer.token = Uuid::from_u128(crate::id::EventId::generate().ulid().0);
        self.writer.known = None;
        Ok(())
    }

    /// Looks whether the log can be written again: who watches this node sends it nothing before it says so.
    async fn probe(&mut self) {
        let probed = async {
            self.connect().await?;
            lock(self.connection.as_mut().expect("connected above")).await
        };
        match probed.await {
            Ok(()) => {
                info!("The log can be written again");
                self.shared.stuck.store(false, Ordering::Relaxed);
            }
            Err(error) if matches!(Trouble::of(&error), Trouble::Lost) => self.connection = None,
            Err(_) => {}
        }
    }

    /// Learns what other nodes appended, so that predicates can be answered.
    async fn catch_up(&mut self, head: Position, at: DateTime<Utc>) -> Result<(), sqlx::Error> {
        self.recent.advance(head, head);
        self.fill_gaps().await?;
        self.writer.known = Some((head, at));
        self.shared.head.fetch_max(head.0, Ordering::Release);
        Ok(())
    }

    async fn fill_gaps(&mut self) -> Result<(), sqlx::Error> {
        while let Some((from, to)) = self.recent.gap() {
            // Further back than memory goes there is nothing to be learnt.
            let from = from.max(Position(to.0 - WINDOW as i64));
            self.recent.unknown(from);
            self.connect().await?;
            let connection = self.connection.as_mut().expect("connected above");
            // The values are not asked for: there may be a lot of them.
            let rows = sqlx::query!(
                "select position, app_id, kind, data ->> 'collection' as collection, data ->> 'key' as key
                from log.data where position > $1 and position <= $2
                order by position",
                from.0,
                to.0
            )
            .fetch_all(connection)
            .await?;
            for row in rows {
                let writes = matches!(row.kind.as_str(), "kv.set" | "kv.increased" | "kv.deleted");
                match (row.app_id, row.collection, row.key) {
                    (Some(app), Some(collection), Some(key)) if writes => {
                        self.recent.wrote(Position(row.position), app.into(), &collection, &key);
                    }
                    // Messages, and what entries were before: no entry is another for it.
                    _ if !writes && Event::KINDS.iter().any(|(kind, _)| *kind == row.kind) => {}
                    // A newer node may write what this one does not know: then nothing up to here is known.
                    _ => self.recent.unknown(Position(row.position)),
                }
            }
            self.recent.filled();
        }
        Ok(())
    }

    /// Lets workers of this node begin at once.
    fn hand(&self, part: &[Pending], places: Places, at: DateTime<Utc>) {
        let Some(handoff) = self.handoff.as_ref().filter(|_| !places.is_empty()) else { return };
        let events: Vec<_> = part.iter().flat_map(|pending| &pending.commit.events).collect();
        for (index, place) in places {
            handoff.hand(events[index], at, place);
        }
    }

    async fn committed(&mut self, part: Vec<Pending>, head: Position, at: DateTime<Utc>) {
        let events: usize = part.iter().map(|pending| pending.commit.events.len()).sum();
        let before = Position(head.0 - events as i64);
        self.recent.advance(before, head);
        self.writer.known = Some((head, at));
        self.shared.head.store(head.0, Ordering::Release);
        self.shared.stuck.store(false, Ordering::Relaxed);

        let (mut commits, mut broadcasts) = (Vec::with_capacity(part.len()), Vec::new());
        let mut position = before;
        for Pending { commit, answer, .. } in part {
            let first = position.plus(1);
            for event in &commit.events {
                position = position.plus(1);
                if let (Some(app), Some((collection, key))) = (event.app, recent::written(&event.event)) {
                    self.recent.wrote(position, app, collection, key);
                }
            }
            // A caller that went away has nobody to tell; its commit stands.
            let _ = answer.send(Ok(Committed { first, last: position, at }));
            broadcasts.extend(commit.broadcasts.into_iter().map(|broadcast| Broadcast { at, ..broadcast }));
            commits.push(commit.events);
        }
        // The callers go first: waking the tail as well would hand one of them to another thread, which has to wake for it.
        tokio::task::yield_now().await;
        // Without a tail there is nobody to tell.
        let _ = self.tail.send(Appended { before, at, commits, broadcasts });
    }

    async fn failed(&mut self, part: &[Pending], error: sqlx::Error) -> Next {
        self.writer.known = None;
        match Trouble::of(&error) {
            Trouble::Poison(constraint) => Next::Poison(Rejected::Invalid { constraint }),
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
        // Every connection began by finding the head, or had one to remember: what is looked for lies above it.
        let above = Position(self.shared.head.load(Ordering::Relaxed));
        let deadline = Instant::now() + self.config.settle_for;
        let mut pause = Duration::from_millis(20);
        while Instant::now() < deadline {
            let connected = self.connect().await.is_ok();
            if self.shared.revoked.load(Ordering::Relaxed) {
                // The log ends before what was there when this batch was sent.
                return Next::Failed(CommitError::Revoked);
            }
            if connected {
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
