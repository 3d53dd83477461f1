//! What an app publishes, and who listens to it on this node.
//!
//! A subscriber is a place in the ring, not a queue: however slow it is, it holds nothing that would not be there anyway.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    task::Waker,
};

use bytes::{Bytes, BytesMut};
use itertools::{Either, Itertools as _};
use parking_lot::Mutex;
use picloud_core::{
    id::{AppId, HistoryId},
    keys::{Cursor, DataKey},
    log::Position,
    topic::Topics,
};
use tokio::time::Instant;

use super::{
    asked::Asked,
    frame::Reason,
    ring::{Capacity, Frame, Ring, Seq},
};

/// What is sent at once, as far as there is more than one frame.
const CHUNK_BYTES: usize = 64 * 1024;

/// An app's channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) app: AppId,
    key: Arc<DataKey>,
    history: HistoryId,
    state: Mutex<State>,
    /// Held by whoever reads what was before the ring, for all who come back together.
    pub(super) filling: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    topics: Arc<Topics>,
    ring: Ring,
    slots: HashMap<u64, Slot>,
    next_slot: u64,
    /// Who asked for a topic by its name.
    by_topic: HashMap<Box<str>, HashSet<u64>>,
    /// Who asked for more than single topics.
    by_pattern: HashSet<u64>,
    /// When somebody last went.
    used: Instant,
}

/// Where a subscriber stands.
#[derive(Debug)]
struct Slot {
    asked: Arc<Asked>,
    /// The first frame that it has not taken and that is for it; none, when it has all.
    unseen: Option<Seq>,
    /// What is kept is for it after this position,
    after: Position,
    /// and what is not kept, from here on.
    joined: Seq,
    ended: Option<Reason>,
    waker: Option<Waker>,
}

impl Slot {
    fn is_for(&self, seq: Seq, frame: &Frame) -> bool {
        let is_new = if frame.is_broadcast { seq >= self.joined } else { frame.position > self.after };
        is_new && self.asked.wants(&frame.topic, frame.auth)
    }

    /// Frames from a number on, in their order: if it named all topics that it wants, of no others.
    fn about<'a>(&'a self, ring: &'a Ring, from: Seq) -> impl Iterator<Item = (Seq, &'a Frame)> {
        let (singles, has_patterns) = self.asked.singles();
        if has_patterns {
            return Either::Left(ring.after(from));
        }
        let named = singles.map(|topic| ring.of(topic, from)).kmerge_by(|(one, _), (other, _)| one < other);
        // A topic may have been named twice.
        Either::Right(named.dedup_by(|(one, _), (other, _)| one == other))
    }
}

/// What there is for a subscriber.
#[derive(Debug)]
pub(super) enum Taken {
    /// Frames, and the position of the last that is kept.
    Frames(Bytes, Option<Position>),
    /// Nothing; it will be woken.
    Nothing,
    /// It was so slow that some are gone from the ring.
    Lagged,
    /// It is over.
    Ended(Reason),
}

/// Somebody's place; it ends with this.
#[derive(Debug)]
pub(super) struct Place {
    channel: Arc<Channel>,
    slot: u64,
}

impl Channel {
    pub(super) fn new(
        app: AppId,
        key: Arc<DataKey>,
        history: HistoryId,
        topics: Arc<Topics>,
        capacity: Capacity,
        from: Position,
    ) -> Self {
        let state = State {
            topics,
            ring: Ring::new(capacity, from),
            slots: HashMap::new(),
            next_slot: 0,
            by_topic: HashMap::new(),
            by_pattern: HashSet::new(),
            used: Instant::now(),
        };
        Self { app, key, history, state: Mutex::new(state), filling: tokio::sync::Mutex::default() }
    }

    /// A place in the log as this app's subscribers see it.
    pub(super) fn seal(&self, position: Position) -> String {
        Cursor { history: self.history, position }.seal(&self.key)
    }

    /// Reads what [`Channel::seal`] made.
    pub(super) fn open(&self, cursor: &str) -> Option<Position> {
        Cursor::open(cursor, &self.key, self.history).ok().map(|cursor| cursor.position)
    }

    /// Who may listen to what.
    pub(super) fn topics(&self) -> Arc<Topics> {
        Arc::clone(&self.state.lock().topics)
    }

    /// From where on the ring has everything, and how much more there is room for.
    pub(super) fn covers(&self) -> (Position, Capacity) {
        let state = self.state.lock();
        (state.ring.from(), state.ring.room())
    }

    /// Puts what was before before, if the ring is still as it was.
    pub(super) fn extend_back(&self, from: Position, up_to: Position, frames: Vec<Frame>) {
        let mut state = self.state.lock();
        if state.ring.from() == up_to {
            state.ring.extend_back(from, frames);
        }
    }

    /// Takes a place after a position; none, when the ring does not go back that far.
    pub(super) fn join(self: &Arc<Self>, asked: &Arc<Asked>, after: Position) -> Option<Place> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if after < state.ring.from() {
            return None;
        }
        let slot = state.next_slot;
        state.next_slot += 1;
        let behind = state.ring.behind(after);
        let unseen = (behind < state.ring.end()).then_some(behind);
        let ended = asked.check(&state.topics).err().map(|_| Reason::Unauthorized);
        let joined = state.ring.end();
        state.slots.insert(slot, Slot { asked: Arc::clone(asked), unseen, after, joined, ended, waker: None });
        let (singles, has_patterns) = asked.singles();
        for topic in singles {
            state.by_topic.entry(topic.into()).or_default().insert(slot);
        }
        if has_patterns {
            state.by_pattern.insert(slot);
        }
        drop(guard);
        Some(Place { channel: Arc::clone(self), slot })
    }

    /// Adds what was published, and wakes those it is for.
    pub(super) fn push(&self, frames: Vec<Frame>) {
        let mut wakers = Vec::new();
        let mut guard = self.state.lock();
        let State { ring, slots, by_topic, by_pattern, .. } = &mut *guard;
        for frame in frames {
            let topic = Arc::clone(&frame.topic);
            let seq = ring.push(frame);
            let Some((_, frame)) = ring.after(seq).next() else { continue };
            let named = by_topic.get(&*topic).into_iter().flatten();
            for slot in named.chain(by_pattern.iter()) {
                let Some(slot) = slots.get_mut(slot) else { continue };
                if slot.unseen.is_none() && slot.is_for(seq, frame) {
                    slot.unseen = Some(seq);
                    wakers.extend(slot.waker.take());
                }
            }
        }
        drop(guard);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Other things are said of topics: who may not go on is told so. What is in the ring was for those who might before.
    pub(super) fn set_topics(&self, topics: &Arc<Topics>, told: Position) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.topics == *topics {
            // The newest, though it says the same: the next time a look at the pointer will do.
            state.topics = Arc::clone(topics);
            return;
        }
        state.topics = Arc::clone(topics);
        state.ring.clear(told);
        let mut wakers = Vec::new();
        for slot in state.slots.values_mut() {
            if slot.asked.check(topics).is_err() {
                slot.ended = Some(Reason::Unauthorized);
                wakers.extend(slot.waker.take());
            }
        }
        drop(guard);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Everybody's stream is over.
    pub(super) fn end(&self, reason: Reason) {
        let mut state = self.state.lock();
        let wakers: Vec<_> = state
            .slots
            .values_mut()
            .filter_map(|slot| {
                slot.ended = Some(reason);
                slot.waker.take()
            })
            .collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How many listen.
    pub(super) fn len(&self) -> usize {
        self.state.lock().slots.len()
    }

    /// When somebody last went.
    pub(super) fn used(&self) -> Instant {
        self.state.lock().used
    }
}

impl Place {
    /// Takes what there is, at most [`CHUNK_BYTES`] unless one frame is larger.
    pub(super) fn take(&self, waker: &Waker) -> Taken {
        let mut guard = self.channel.state.lock();
        let State { ring, slots, .. } = &mut *guard;
        let Some(slot) = slots.get_mut(&self.slot) else { return Taken::Ended(Reason::Unavailable) };
        if let Some(reason) = slot.ended {
            return Taken::Ended(reason);
        }
        let Some(unseen) = slot.unseen else {
            slot.wake_by(waker);
            return Taken::Nothing;
        };
        if unseen < ring.first() {
            return Taken::Lagged;
        }
        let (mut texts, mut last) = (Texts::default(), None);
        let mut rest = None;
        for (seq, frame) in slot.about(ring, unseen).filter(|(seq, frame)| slot.is_for(*seq, frame)) {
            if !texts.push(&frame.text) {
                rest = Some(seq);
                break;
            }
            if !frame.is_broadcast {
                last = Some(frame.position);
            }
        }
        slot.unseen = rest;
        match texts.into_bytes() {
            Some(bytes) => Taken::Frames(bytes, last),
            None => {
                slot.wake_by(waker);
                Taken::Nothing
            }
        }
    }
}

impl Slot {
    /// Woken by the next frame that is for it.
    fn wake_by(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut guard = self.channel.state.lock();
        let state = &mut *guard;
        state.used = Instant::now();
        state.by_pattern.remove(&self.slot);
        let Some(slot) = state.slots.remove(&self.slot) else { return };
        for topic in slot.asked.singles().0 {
            if let Some(slots) = state.by_topic.get_mut(topic) {
                slots.remove(&self.slot);
                if slots.is_empty() {
                    state.by_topic.remove(topic);
                }
            }
        }
    }
}

/// Frames to be sent together. One alone is not copied.
#[derive(Debug, Default)]
pub(super) struct Texts {
    first: Option<Bytes>,
    more: BytesMut,
}

impl Texts {
    /// Adds one; not, when there is something already and it would be too much.
    pub(super) fn push(&mut self, text: &Bytes) -> bool {
        let Some(first) = &self.first else {
            self.first = Some(text.clone());
            return true;
        };
        if self.more.is_empty() {
            if first.len() + text.len() > CHUNK_BYTES {
                return false;
            }
            self.more.extend_from_slice(first);
        } else if self.more.len() + text.len() > CHUNK_BYTES {
            return false;
        }
        self.more.extend_from_slice(text);
        true
    }

    /// All of them; none, when there was none.
    pub(super) fn into_bytes(self) -> Option<Bytes> {
        if self.more.is_empty() { self.first } else { Some(self.more.freeze()) }
    }
}

#[cfg(test)]
mod tests {
    use picloud_core::topic::Auth;
    use proptest::{prelude::*, sample::select};

    use super::{super::asked, *};

    const CAPACITY: Capacity = Capacity { frames: 20, bytes: 1_000 };

    fn slot(text: &str, after: i64, joined: Seq) -> Slot {
        let asked = Arc::new(Asked::new(asked::topics(text).expect("topics"), None));
        Slot { asked, unseen: None, after: Position(after), joined, ended: None, waker: None }
    }

    proptest! {
        #[test]
        fn what_a_subscriber_looks_at_is_all_that_is_for_it(
            topics in prop::collection::vec((select(vec!["a", "a.b", "a.c", "d"]), any::<bool>()), 1..40),
            asked in select(vec!["a", "d", "e", "a,d", "d,a,d", "a.*", "*", "d,a.*", "a.b,a.*"]),
            after in 0..40_i64,
            (joined, from) in (0..40_usize, 0..40_usize),
        ) {
            let mut ring = Ring::new(CAPACITY, Position(0));
            let mut seqs = vec![ring.end()];
            for (position, (topic, is_broadcast)) in topics.into_iter().enumerate() {
                let (position, topic) = (Position(position as i64), topic.into());
                let seq = ring.push(Frame { position, topic, auth: Auth::Public, is_broadcast, text: Bytes::new() });
                seqs.push(seq.next());
            }
            let seq = |n: usize| seqs[n % seqs.len()];
            let slot = slot(asked, after, seq(joined));
            let wanted = |(at, frame): &(Seq, &Frame)| slot.is_for(*at, frame);
            let looked_at: Vec<Seq> = slot.about(&ring, seq(from)).filter(wanted).map(|(at, _)| at).collect();
            let all: Vec<Seq> = ring.after(seq(from)).filter(wanted).map(|(at, _)| at).collect();
            prop_assert_eq!(looked_at, all);
        }
    }
}
