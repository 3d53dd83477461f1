//! Looks for items that can run and gives each a place, apps in turn.
//!
//! It is woken by the log (an item that is owed, a pause that ends) and by its own attempts (a lane whose head is done). What
//! another node's attempts let run it finds with the slow timer, the safety net; an idle node does nothing else.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use picloud_core::{
    event::Event,
    id::{AppId, OutboxId},
    keys::Keyring,
    log::{
        Committer, Follow, Handed, Handoff, Node, Recorded, Tail,
        outbox::{self, Claimed, Turn, first_rank},
    },
    outbox::{Gate, Item},
};
use picloud_projections::setup::LiveSetup;
use sqlx::PgPool;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use super::{
    attempt::Ended,
    waiting::{Asked, Waiting},
};
use crate::runner::Runner;

/// How many items a node runs at once, computing or waiting: while the ends of some are committed, as many others run.
pub const PLACES: usize = 1024;

/// What an item holds that takes one place. One that holds more takes more of them, if there are more: they are memory.
const PLACE_BYTES: usize = 64 * 1024;

/// How many are claimed at once: more gain nothing and keep others from them.
const CLAIM: usize = 512;

/// With fewer places free than this, a claim waits for others to become so, but not for long.
const FEW: usize = 256;
const PATIENCE: Duration = Duration::from_millis(4);

/// How often to look without being told.
const TIMER: Duration = Duration::from_secs(4);

/// How long an item of a paused script is left alone that nothing tells of when it may run.
const PUT_OFF: Duration = Duration::from_secs(10);

/// How long an item that could not begin is left alone.
const PAUSE: Duration = Duration::from_millis(250);

/// What running items leans on.
pub struct DispatcherParts {
    /// Runs scripts.
    pub runner: Runner,
    /// How apps are set up.
    pub setup: LiveSetup,
    /// Where items lie; for claims, so connections that need not wait for the disk will do.
    pub claims: PgPool,
    /// For all else that is looked up.
    pub database: PgPool,
    /// Where their ends go.
    pub committer: Committer,
    /// By what right.
    pub node: Node,
    /// What payloads are under.
    pub keyring: Keyring,
}

/// Runs what is owed.
pub struct Dispatcher {
    parts: Arc<DispatcherParts>,
    places: Arc<Semaphore>,
    handoff: Handoff,
    attempts: TaskTracker,
    /// Where there may be items which can run.
    waiting: Waiting,
    /// Something was heard of that may let any item run.
    has_to_look: bool,
    /// When the next delayed item is due.
    due: Option<Instant>,
    /// When to claim, though few places are free.
    patience: Option<Instant>,
    /// Called when a place is free again.
    freed: Arc<Notify>,
    /// What this node runs, or is about to give back.
    running: Arc<Mutex<HashSet<OutboxId>>>,
    /// Leased to this node and not run by it, when that was looked at last: an answer or a word was lost.
    idle: HashSet<OutboxId>,
    /// Attempts whose end lets other items run: the next of a lane, or the item itself once more.
    ended: mpsc::UnboundedReceiver<(AppId, Gate)>,
    /// What they tell it by.
    ending: mpsc::UnboundedSender<(AppId, Gate)>,
}

impl Dispatcher {
    /// One for a node's places; see [`Handoff::new`].
    #[must_use]
    pub fn new(parts: DispatcherParts, places: Arc<Semaphore>, handoff: Handoff) -> Self {
        let (ending, ended) = mpsc::unbounded_channel();
        Self {
            parts: Arc::new(parts),
            places,
            handoff,
            attempts: TaskTracker::new(),
            waiting: Waiting::default(),
            has_to_look: false,
            due: None,
            patience: None,
            freed: Arc::default(),
            running: Arc::default(),
            idle: HashSet::new(),
            ended,
            ending,
        }
    }

    /// Runs items until it is told to stop; then what has not begun is given back and what has may end.
    pub async fn run(mut self, tail: Tail, mut handed: mpsc::UnboundedReceiver<Handed>, stop: CancellationToken) {
        let mut log = tail.follow(tail.position());
        let mut changes = self.parts.setup.watch();
        changes.mark_changed();
        let mut timer = interval(TIMER);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (due, freed) = (self.due, Arc::clone(&self.freed));
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(Handed { item, place }) = handed.recv() => self.start(item, place),
                Some((app, gate)) = self.ended.recv() => self.has_ended(app, gate),
                // Before what happens: however much that is, what is paused has to be known.
                Ok(()) = changes.changed() => self.learn(),
                events = next(&mut log) => match events {
                    Some(events) => self.hear(&events),
                    None => break,
                },
                () = until(due) => self.promote().await,
                () = until(self.patience) => self.patience = None,
                () = freed.notified(), if self.patience.is_none() && !self.waiting.is_empty() => {
                    if self.places.available_permits() < FEW {
                        self.patience = Some(Instant::now() + PATIENCE);
                        continue;
                    }
                }
                _ = timer.tick() => {
                    self.release().await;
                    self.has_to_look = true;
                }
            }
            if std::mem::take(&mut self.has_to_look) {
                self.look().await;
            }
            self.claim().await;
        }
        self.handoff.set_open(false);
        handed.close();
        while let Some(Handed { item, place }) = handed.recv().await {
            drop(place);
            self.give_back(&[item.enqueued.item]).await;
        }
        self.attempts.close();
        self.attempts.wait().await;
    }

    fn hear(&mut self, events: &[Recorded]) {
        for recorded in events {
            let Some(app) = recorded.event.app else { continue };
            match &recorded.event.event {
                Event::OutboxEnqueued(enqueued) => match enqueued.due_at {
                    // Handed over, or in a lane: then looking for it costs a glance.
                    None if self.handoff.has_handed(enqueued.item) => {}
                    None => self.waiting.may_have(app, Gate::of(enqueued), first_rank(enqueued.priority)),
                    Some(due_at) => self.due_at(due_at),
                },
                Event::OutboxRescheduled(rescheduled) => self.due_at(rescheduled.due_at),
                // It may have been the first of its lane.
                Event::OutboxCancelled(_) => self.has_to_look = true,
                _ => {}
            }
        }
    }

    /// An attempt is over, of a lane or behind a limited gate, or did not begin.
    fn has_ended(&mut self, app: AppId, gate: Gate) {
        if self.waiting.is_limited(gate) {
            self.waiting.has_place(app, gate);
        } else {
            self.waiting.may_have(app, gate, i64::MIN);
        }
    }

    /// Apps are set up differently: what was held back may run, or the other way round.
    fn learn(&mut self) {
        if self.waiting.learn(&self.parts.setup.get()) {
            self.handoff.hold(self.waiting.held());
            self.has_to_look = true;
        }
    }

    fn due_at(&mut self, at: chrono::DateTime<chrono::Utc>) {
        let wait = (at - chrono::Utc::now()).to_std().unwrap_or(Duration::ZERO);
        let at = Instant::now() + wait;
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Lets run what is due, and learns when the next is.
    async fn promote(&mut self) {
        match outbox::promote(&self.parts.claims).await {
            Ok(promoted) => {
                for (app, gate, priority) in promoted.gates {
                    self.waiting.may_have(app, gate, first_rank(priority));
                }
                let wait = |seconds: f64| Duration::try_from_secs_f64(seconds.clamp(0.001, 3600.0)).unwrap_or(TIMER);
                self.due = promoted.next_in_s.map(|seconds| Instant::now() + wait(seconds));
            }
            Err(error) => {
                warn!(%error, "Failed to look for what is due");
                self.due = Some(Instant::now() + TIMER);
            }
        }
    }

    /// Gives back what was leased to this node and is not run by it: what it was twice in a row, is not on its way either.
    async fn release(&mut self) {
        let leased = match outbox::leased(&self.parts.claims, self.parts.node.epoch()).await {
            Ok(leased) => leased,
            Err(error) => {
                warn!(%error, "Failed to look what is leased to this node");
                return;
            }
        };
        let idle: HashSet<OutboxId> = {
            let running = self.running.lock();
            leased.into_iter().filter(|item| !running.contains(item)).collect()
        };
        let lost: Vec<OutboxId> = idle.intersection(&self.idle).copied().collect();
        if !lost.is_empty() {
            warn!(items = lost.len(), "Items were leased to this node that it does not run: it gives them back");
            self.give_back(&lost).await;
        }
        self.idle = idle;
    }

    /// What nobody told of, or is hidden behind what was claimed before.
    async fn look(&mut self) {
        self.promote().await;
        match outbox::waiting(&self.parts.claims).await {
            Ok(gates) => {
                for (app, gate) in gates {
                    self.waiting.may_have(app, gate, i64::MIN);
                }
            }
            Err(error) => warn!(%error, "Failed to look for items of the outbox"),
        }
    }

    /// Claims for as long as there are places and items.
    async fn claim(&mut self) {
        loop {
            let room = self.places.available_permits().min(CLAIM);
            let asked = self.waiting.ask(room);
            // Taken before: what is handed over meanwhile must not take the places of what is claimed.
            let places = Arc::clone(&self.places).try_acquire_many_owned(u32::try_from(room).unwrap_or(u32::MAX));
            let (Ok(places), false) = (places, asked.is_empty() || room == 0) else {
                // What is left waits for a place: nothing may overtake it.
                self.handoff.set_open(asked.is_empty());
                return;
            };
            match self.ask(&asked).await {
                Ok(claimed) => self.take(&asked, claimed, places),
                Err(error) => {
                    warn!(%error, "Failed to claim items of the outbox");
                    // The timer finds them again.
                    self.waiting.forget();
                    return;
                }
            }
        }
    }

    async fn ask(&self, asked: &[Asked]) -> Result<Vec<Claimed>, sqlx::Error> {
        let (claims, epoch) = (&self.parts.claims, self.parts.node.epoch());
        let mut claimed = Vec::new();
        let mut alike: BTreeMap<usize, Vec<Turn>> = BTreeMap::new();
        for Asked { turn, each, limit } in asked {
            match limit {
                Some(most) => claimed.extend(outbox::claim_limited(claims, epoch, *turn, *each, *most).await?),
                None => alike.entry(*each).or_default().push(*turn),
            }
        }
        for (each, turns) in alike {
            claimed.extend(outbox::claim(claims, epoch, &turns, each).await?);
        }
        Ok(claimed)
    }

    fn take(&mut self, asked: &[Asked], claimed: Vec<Claimed>, mut places: OwnedSemaphorePermit) {
        let mut found: HashMap<Gate, (usize, i64)> = HashMap::new();
        for claimed in &claimed {
            let (count, last) = found.entry(Gate::of(&claimed.item.enqueued)).or_insert((0, i64::MIN));
            *count += 1;
            *last = claimed.rank.max(*last);
        }
        for asked in asked {
            let (count, last) = found.get(&asked.turn.gate).copied().unwrap_or((0, i64::MIN));
            self.waiting.answered(*asked, count, last);
        }
        for claimed in claimed {
            // As many as there is room for were asked for.
            let Some(place) = places.split(1) else { return };
            self.start(claimed.item, place);
        }
    }

    fn start(&self, item: Item, place: OwnedSemaphorePermit) {
        let place = weighed(&self.places, place, item.enqueued.payload.size_bytes());
        let (parts, running) = (Arc::clone(&self.parts), Arc::clone(&self.running));
        running.lock().insert(item.enqueued.item);
        let (ended, freed) = (self.ending.clone(), Arc::clone(&self.freed));
        let gate = Gate::of(&item.enqueued);
        // It may have been paused since it was claimed.
        let (is_paused, is_limited) = (self.waiting.is_paused(gate), self.waiting.is_limited(gate));
        // In a box: it is large, and is moved several times before it lies where it runs.
        self.attempts.spawn(Box::pin(async move {
            let item = Arc::new(item);
            let became = if is_paused { Ended::NotBegun } else { parts.attempt(Arc::clone(&item)).await };
            drop(place);
            freed.notify_one();
            match became {
                Ended::Told => {
                    running.lock().remove(&item.enqueued.item);
                    if is_limited || item.enqueued.lane.is_some() {
                        let _ = ended.send((item.app, gate));
                    }
                }
                Ended::NotBegun => {
                    // Whatever kept it from beginning needs a moment; what is paused is not looked for anyway.
                    sleep(PAUSE).await;
                    // Before: it may be claimed again at once.
                    running.lock().remove(&item.enqueued.item);
                    give_back(&parts, &[item.enqueued.item]).await;
                    let _ = ended.send((item.app, gate));
                }
                Ended::Paused => {
                    running.lock().remove(&item.enqueued.item);
                    put_off(&parts, item.enqueued.item).await;
                }
            }
        }));
    }

    async fn give_back(&self, items: &[OutboxId]) {
        give_back(&self.parts, items).await;
    }
}

/// The place of an item that holds so much, with as many more as that takes, if they are free.
fn weighed(places: &Arc<Semaphore>, mut place: OwnedSemaphorePermit, bytes: usize) -> OwnedSemaphorePermit {
    let more = u32::try_from(bytes / PLACE_BYTES).unwrap_or(u32::MAX);
    if more > 0
        && let Ok(more) = Arc::clone(places).try_acquire_many_owned(more)
    {
        place.merge(more);
    }
    place
}

/// Its gate is open, but its own script may not run: its trigger is gone, or runs another by now.
async fn put_off(parts: &DispatcherParts, item: OutboxId) {
    if let Err(error) = outbox::put_off(&parts.database, parts.node.epoch(), item, PUT_OFF).await {
        warn!(%error, "Failed to put an item off: it is given back later");
    }
}

async fn give_back(parts: &DispatcherParts, items: &[OutboxId]) {
    if let Err(error) = outbox::give_back(&parts.database, parts.node.epoch(), items).await {
        warn!(%error, "Failed to give items back: the next look will");
    }
}

/// The next events; what cannot be read is tried again.
async fn next(log: &mut Follow) -> Option<Vec<Recorded>> {
    loop {
        match log.next().await {
            Ok(events) => return events,
            Err(error) => {
                warn!(%error, "Failed to follow the log for items of the outbox");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_much_takes_more_places_while_there_are_more() {
        let places = Arc::new(Semaphore::new(5));
        let one = || Arc::clone(&places).try_acquire_owned().expect("a place is free");
        let small = weighed(&places, one(), PLACE_BYTES - 1);
        assert_eq!(places.available_permits(), 4);
        let large = weighed(&places, one(), 2 * PLACE_BYTES);
        assert_eq!(places.available_permits(), 1);
        let larger = weighed(&places, one(), 100 * PLACE_BYTES);
        assert_eq!(places.available_permits(), 0);
        drop((small, large, larger));
        assert_eq!(places.available_permits(), 5);
    }
}
