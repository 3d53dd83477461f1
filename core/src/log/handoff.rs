//! From the committer to a worker of the same node, without a look at the database: an item that is committed with its
//! lease can run at once.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::NewEvent;
use crate::{
    event::{Event, outbox::Enqueued},
    id::OutboxId,
    outbox::{Gate, Item},
};

/// An item that this node may run, and its place among those it runs.
#[derive(Debug)]
pub struct Handed {
    /// The item, leased to this node.
    pub item: Item,
    /// Dropped when it has been run.
    pub place: OwnedSemaphorePermit,
}

/// What is not handed over: it is for a claim, which looks closer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldBack {
    /// Nothing is.
    All,
    /// What stands behind these: held back, or counted.
    Gates(HashSet<Gate>),
}

/// The committer's side. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handoff {
    places: Arc<Semaphore>,
    is_open: Arc<AtomicBool>,
    held: Arc<ArcSwap<HeldBack>>,
    /// Handed over, and not yet heard of from the log.
    handed: Arc<Mutex<HashSet<OutboxId>>>,
    sender: mpsc::UnboundedSender<Handed>,
}

impl Handoff {
    /// For workers with so many places; and what they take from. Closed at first.
    #[must_use]
    pub fn new(places: Arc<Semaphore>) -> (Self, mpsc::UnboundedReceiver<Handed>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let held = Arc::new(ArcSwap::from_pointee(HeldBack::Gates(HashSet::new())));
        (Self { places, is_open: Arc::default(), held, handed: Arc::default(), sender }, receiver)
    }

    /// Whether items may be handed over: not while others wait that came before them.
    pub fn set_open(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::Relaxed);
    }

    /// Says what is not handed over from now on.
    pub fn hold(&self, held: HeldBack) {
        self.held.store(Arc::new(held));
    }

    /// Whether an item that the log tells of was handed over. To be asked once.
    #[must_use]
    pub fn has_handed(&self, item: OutboxId) -> bool {
        self.handed.lock().unwrap_or_else(PoisonError::into_inner).remove(&item)
    }

    /// A place for an item, when there is one and nothing has to go before it.
    pub(super) fn place_for(&self, enqueued: &Enqueued) -> Option<OwnedSemaphorePermit> {
        if !self.is_open.load(Ordering::Relaxed) || enqueued.lane.is_some() || enqueued.due_at.is_some() {
            return None;
        }
        match &**self.held.load() {
            HeldBack::All => return None,
            HeldBack::Gates(gates) if gates.contains(&Gate::of(enqueued)) => return None,
            HeldBack::Gates(_) => {}
        }
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Hands over what was just committed.
    pub(super) fn hand(&self, new: &NewEvent, at: DateTime<Utc>, place: OwnedSemaphorePermit) {
        let (Some(app), Event::OutboxEnqueued(enqueued)) = (new.app, &new.event) else { return };
        let item = Item {
            app,
            event: new.id,
            enqueued_at: at,
            enqueued: enqueued.clone(),
            actor: new.actor.clone(),
            root: new.root,
            depth: new.depth,
            failed: Vec::new(),
        };
        self.handed.lock().unwrap_or_else(PoisonError::into_inner).insert(enqueued.item);
        // Nobody takes any more: the node ends, and its leases with it.
        let _ = self.sender.send(Handed { item, place });
    }
}
