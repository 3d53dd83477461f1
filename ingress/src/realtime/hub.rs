//! From the log to the channels of apps: each message is read and written out once, however many listen.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use picloud_core::{
    event::{Class, Event, message::Published},
    id::{AppId, HistoryId},
    keys::{Keyring, KeyringError},
    log::{
        Broadcast, Position, Recorded, Tail,
        read::{self, ReadError, Reader},
    },
    topic::{Access, Topics},
};
use picloud_projections::setup::{LiveSetup, Setup};
use tokio::{
    sync::{OnceCell, Semaphore, broadcast::error::RecvError, watch},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    asked::Asked,
    channel::{Channel, Place, Texts},
    frame::{self, Reason},
    ring::{Capacity, Frame},
};
use crate::household::household;

/// What is kept of an app's messages for those who come back and those who are slow.
const RING: Capacity = Capacity { frames: 8_192, bytes: 8 << 20 };

/// For how long it is kept when nobody listens any more.
const WARM: Duration = Duration::from_secs(300);

/// How many messages somebody who was away for long reads at once.
const CHUNK: usize = 500;

/// How many read at the same time: the database has others to serve.
const READERS: usize = 4;

/// How many streams there may be.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    /// On this node.
    pub node: usize,
    /// Of one app, on this node.
    pub app: usize,
    /// From one address (of IPv6, one network), on this node.
    pub address: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { node: 50_000, app: 20_000, address: 2_000 }
    }
}

/// The channels of all apps to which somebody listens here.
#[derive(Debug)]
pub(super) struct Hub {
    tail: Tail,
    reader: Reader,
    keyring: Keyring,
    setup: LiveSetup,
    history: HistoryId,
    limits: StreamLimits,
    channels: RwLock<HashMap<AppId, Arc<Channel>>>,
    /// Up to where the channels have everything.
    told: AtomicI64,
    /// Up to where messages are no longer kept, as far as somebody has asked or the log has said.
    floor: OnceCell<AtomicI64>,
    open: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    reading: Semaphore,
}

/// One stream among those that may be open.
#[derive(Debug)]
pub(super) struct Seat {
    hub: Arc<Hub>,
    address: Option<IpAddr>,
}

/// How a reader goes on.
pub(super) enum Step {
    /// From the ring.
    Joined(Place),
    /// With more of the log, up to a position.
    Read(Option<Bytes>, Position),
    /// What comes next is no longer kept.
    Gone,
}

impl Hub {
    /// Follows the log from here on. The task ends with `stop`, and every stream with it.
    pub(super) fn start(
        tail: Tail,
        reader: Reader,
        keyring: Keyring,
        setup: LiveSetup,
        history: HistoryId,
        limits: StreamLimits,
        stop: CancellationToken,
    ) -> (Arc<Self>, JoinHandle<()>) {
        let hub = Arc::new(Self {
            told: AtomicI64::new(tail.position().0),
            floor: OnceCell::new(),
            tail,
            reader,
            keyring,
            setup,
            history,
            limits,
            channels: RwLock::default(),
            open: AtomicUsize::new(0),
            by_address: Mutex::default(),
            reading: Semaphore::new(READERS),
        });
        let task = tokio::spawn(Arc::clone(&hub).run(stop));
        (hub, task)
    }

    async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut log = self.tail.follow(self.told());
        let mut broadcasts = self.tail.broadcasts();
        let mut setup: watch::Receiver<Position> = self.setup.watch();
        let mut cleaning = interval(WARM / 5);
        cleaning.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // In no order: a flood of one must not keep the others from being heard.
            tokio::select! {
                () = stop.cancelled() => break,
                news = log.next() => match news {
                    Ok(Some(events)) => self.tell(&events, log.cursor()).await,
                    Ok(None) => break,
                    Err(error) => {
                        warn!(%error, "Failed to follow the log for subscribers; trying again in a second");
                        sleep(Duration::from_secs(1)).await;
                    }
                },
                broadcast = broadcasts.recv() => match broadcast {
                    Ok(broadcast) => self.pass_on(&broadcast),
                    // What is not kept may be missed.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => break,
                },
                changed = setup.changed() => match changed {
                    Ok(()) => self.refresh(&self.setup.get()),
                    Err(_) => break,
                },
                _ = cleaning.tick() => self.clean(),
            }
        }
        for channel in self.channels.read().values() {
            channel.end(Reason::ShuttingDown);
        }
    }

    /// Up to where the channels have everything.
    pub(super) fn told(&self) -> Position {
        Position(self.told.load(Ordering::Acquire))
    }

    /// Hands the messages of a stretch of the log to the channels, up to a position.
    async fn tell(&self, events: &[Recorded], up_to: Position) {
        let messages: Vec<_> = events.iter().filter_map(message).collect();
        if !messages.is_empty() {
            // Who may listen may have been said just before.
            self.setup.reached(up_to).await;
            self.refresh(&self.setup.get());
        }
        if let Some(floor) = self.floor.get() {
            let gone = events.iter().filter_map(archived).max().unwrap_or(0);
            floor.fetch_max(gone, Ordering::AcqRel);
        }
        let channels = self.channels.read();
        let mut frames: HashMap<AppId, Vec<Frame>> = HashMap::new();
        for (app, recorded, published) in messages {
            let Some(channel) = channels.get(&app) else { continue };
            let topics = channel.topics();
            frames.entry(app).or_default().extend(kept(channel, &topics, recorded.position, recorded.at, published));
        }
        for (app, frames) in frames {
            if let Some(channel) = channels.get(&app) {
                channel.push(frames);
            }
        }
        // While nobody can add a channel: whoever does begins where these end.
        self.told.store(up_to.0, Ordering::Release);
    }

    /// Tells those who listen now of what is not kept.
    fn pass_on(&self, broadcast: &Broadcast) {
        let Broadcast { app, topic, message, at } = broadcast;
        let Some(channel) = self.channels.read().get(app).map(Arc::clone) else { return };
        let Access::External(auth) = channel.topics().access(topic) else { return };
        let text = frame::message(topic, message, *at, None);
        let (position, topic) = (self.told(), topic.as_str().into());
        channel.push(vec![Frame { position, topic, auth, is_broadcast: true, text }]);
    }

    /// Looks who may still listen to what.
    fn refresh(&self, setup: &Setup) {
        for channel in self.channels.read().values() {
            match setup.apps.get(&channel.app) {
                None => channel.end(Reason::Unauthorized),
                Some(app) if app.is_paused => channel.end(Reason::AppPaused),
                Some(app) => channel.set_topics(&app.access, self.told()),
            }
        }
    }

    /// Gives up what is kept for nobody.
    fn clean(&self) {
        // Who holds it has not taken a place yet.
        let is_held = |channel: &Arc<Channel>| Arc::strong_count(channel) > 1;
        self.channels.write().retain(|_, channel| is_held(channel) || channel.used().elapsed() < WARM);
    }

    /// An app's channel. It has everything from now on.
    pub(super) async fn channel(&self, app: AppId, topics: &Arc<Topics>) -> Result<Arc<Channel>, KeyringError> {
        if let Some(known) = self.channels.read().get(&app) {
            return Ok(Arc::clone(known));
        }
        let key = self.keyring.app(app).await?;
        let mut channels = self.channels.write();
        let new = || Channel::new(app, key, self.history, Arc::clone(topics), RING, self.told());
        Ok(Arc::clone(channels.entry(app).or_insert_with(|| Arc::new(new()))))
    }

    /// Whether the log has what comes after a position: a cursor may be of one that was lost, or be so old that what follows is
    /// no longer kept.
    pub(super) async fn has(&self, position: Position) -> Result<bool, sqlx::Error> {
        let known = || async { Ok::<_, sqlx::Error>(AtomicI64::new(self.reader.floor(Class::Data).await?.0)) };
        self.floor.get_or_try_init(known).await?;
        Ok(self.is_kept_after(position) && (position <= self.told() || position <= self.reader.head().await?))
    }

    /// Whether all that comes after a position is kept, as far as is known.
    fn is_kept_after(&self, position: Position) -> bool {
        self.floor.get().is_none_or(|floor| position.0 >= floor.load(Ordering::Acquire))
    }

    /// Room for one more stream of an app; none, when there are too many.
    pub(super) fn seat(self: &Arc<Self>, channel: &Channel, address: Option<IpAddr>) -> Option<Seat> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        // Counted: dropped, it counts itself out.
        let mut seat = Seat { hub: Arc::clone(self), address: None };
        if open >= self.limits.node || channel.len() >= self.limits.app {
            return None;
        }
        if let Some(address) = address.map(household) {
            let mut by_address = self.by_address.lock();
            let open = by_address.entry(address).or_default();
            if *open >= self.limits.address {
                return None;
            }
            *open += 1;
            seat.address = Some(address);
        }
        Some(seat)
    }

    /// Goes on after a position: from the ring if it goes back that far, or can be made to; else with some of the log.
    pub(super) async fn advance(
        self: Arc<Self>,
        channel: Arc<Channel>,
        asked: Arc<Asked>,
        after: Position,
    ) -> Result<Step, ReadError> {
        if let Some(place) = channel.join(&asked, after) {
            return Ok(Step::Joined(place));
        }
        self.fill(&channel, after).await?;
        if let Some(place) = channel.join(&asked, after) {
            return Ok(Step::Joined(place));
        }
        let _turn = self.reading.acquire().await;
        let up_to = channel.covers().0;
        let found = self.reader.published(channel.app, after, up_to, CHUNK).await?;
        // Asked last: what went while it was read is not taken for what never was.
        if !self.is_kept_after(after) {
            return Ok(Step::Gone);
        }
        let topics = channel.topics();
        let (mut texts, mut reached) = (Texts::default(), after);
        for read::Published { position, at, message } in &found {
            if let Some(frame) = kept(&channel, &topics, *position, *at, message)
                && asked.wants(&frame.topic, frame.auth)
                && !texts.push(&frame.text)
            {
                return Ok(Step::Read(texts.into_bytes(), reached));
            }
            reached = *position;
        }
        let reached = if found.len() < CHUNK { up_to } else { reached };
        Ok(Step::Read(texts.into_bytes(), reached))
    }

    /// Makes the ring go back to a position, if there is room: those who come back together are told from one reading.
    async fn fill(&self, channel: &Channel, after: Position) -> Result<(), ReadError> {
        let _turn = channel.filling.lock().await;
        let (from, room) = channel.covers();
        // Half of it: what comes next should not push out at once what was just read.
        let (frames, bytes) = (room.frames / 2, room.bytes / 2);
        if after >= from {
            return Ok(());
        }
        let found = self.reader.published(channel.app, after, from, frames + 1).await?;
        if found.len() > frames {
            return Ok(());
        }
        let topics = channel.topics();
        let made: Vec<_> = found
            .iter()
            .filter_map(|read::Published { position, at, message }| kept(channel, &topics, *position, *at, message))
            .collect();
        if made.iter().map(|frame| frame.text.len()).sum::<usize>() <= bytes {
            channel.extend_back(after, from, made);
        }
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.open.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else { return };
        let mut by_address = self.hub.by_address.lock();
        if let Some(open) = by_address.get_mut(&address) {
            *open -= 1;
            if *open == 0 {
                by_address.remove(&address);
            }
        }
    }
}

/// Up to where messages are said to be no longer kept.
fn archived(recorded: &Recorded) -> Option<i64> {
    match &recorded.event.event {
        Event::PartitionArchived(archived) if archived.class == Class::Data => Some(archived.high - 1),
        _ => None,
    }
}

fn message(recorded: &Recorded) -> Option<(AppId, &Recorded, &Published)> {
    match (recorded.event.app, &recorded.event.event) {
        (Some(app), Event::MessagePublished(published)) => Some((app, recorded, published)),
        _ => None,
    }
}

/// A message in the log as subscribers get it; none, when nobody outside may.
fn kept(
    channel: &Channel,
    topics: &Topics,
    position: Position,
    at: chrono::DateTime<chrono::Utc>,
    published: &Published,
) -> Option<Frame> {
    let Published { topic, message } = published;
    let Access::External(auth) = topics.access(topic) else { return None };
    let text = frame::message(topic, message, at, Some(&channel.seal(position)));
    Some(Frame { position, topic: topic.as_str().into(), auth, is_broadcast: false, text })
}
