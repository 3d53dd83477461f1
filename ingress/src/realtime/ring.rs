//! What was published lately, ready to be sent: made once, whoever reads it.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::Arc,
};

use bytes::Bytes;
use picloud_core::{log::Position, topic::Auth};

/// How much is kept for those who come back, and before those who are slow are told so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity {
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

/// A message as it goes over the wire.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Its place in the log; of what is not kept, the place of what was before it.
    pub(super) position: Position,
    pub(super) topic: Arc<str>,
    /// Who may see it.
    pub(super) auth: Auth,
    /// Whether it is for those alone who were there when it was sent.
    pub(super) is_broadcast: bool,
    pub(super) text: Bytes,
}

/// Counts frames. What was there before the first is counted backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seq(u64);

impl Seq {
    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The last frames of an app, without a gap: all that may be seen from outside after a position.
#[derive(Debug)]
pub(super) struct Ring {
    capacity: Capacity,
    frames: VecDeque<Frame>,
    /// The numbers of each topic's frames: who listens to one of a thousand topics does not look through them all.
    by_topic: HashMap<Arc<str>, VecDeque<Seq>>,
    first: Seq,
    bytes: usize,
    /// All after this is in it.
    from: Position,
}

impl Ring {
    /// Empty, from a position on.
    pub(super) fn new(capacity: Capacity, from: Position) -> Self {
        Self { capacity, frames: VecDeque::new(), by_topic: HashMap::new(), first: Seq(1 << 62), bytes: 0, from }
    }

    /// All after this is in it.
    pub(super) const fn from(&self) -> Position {
        self.from
    }

    /// The oldest frame's number, or that of the next one.
    pub(super) const fn first(&self) -> Seq {
        self.first
    }

    /// The number of the next frame.
    pub(super) fn end(&self) -> Seq {
        Seq(self.first.0 + self.frames.len() as u64)
    }

    /// How much there is room for.
    pub(super) fn room(&self) -> Capacity {
        Capacity {
            frames: self.capacity.frames.saturating_sub(self.frames.len()),
            bytes: self.capacity.bytes.saturating_sub(self.bytes),
        }
    }

    /// Adds the next one; the oldest go where there is no room.
    pub(super) fn push(&mut self, frame: Frame) -> Seq {
        let seq = self.end();
        self.bytes += frame.text.len();
        self.by_topic.entry(Arc::clone(&frame.topic)).or_default().push_back(seq);
        self.frames.push_back(frame);
        while self.frames.len() > self.capacity.frames || (self.bytes > self.capacity.bytes && self.frames.len() > 1) {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.text.len();
            self.first = self.first.next();
            self.from = self.from.max(oldest.position);
            if let Entry::Occupied(mut of_topic) = self.by_topic.entry(oldest.topic) {
                of_topic.get_mut().pop_front();
                if of_topic.get().is_empty() {
                    of_topic.remove();
                }
            }
        }
        seq
    }

    /// Adds what was before: all that there is after another position, up to where it began.
    pub(super) fn extend_back(&mut self, from: Position, frames: Vec<Frame>) {
        for frame in frames.into_iter().rev() {
            self.bytes += frame.text.len();
            self.first.0 -= 1;
            self.by_topic.entry(Arc::clone(&frame.topic)).or_default().push_front(self.first);
            self.frames.push_front(frame);
        }
        self.from = from;
    }

    /// Gives up what is in it. Frames that come are counted on.
    pub(super) fn clear(&mut self, from: Position) {
        self.first = self.end();
        self.frames.clear();
        self.by_topic.clear();
        self.bytes = 0;
        self.from = self.from.max(from);
    }

    /// From a frame on, as far as they are still here.
    pub(super) fn after(&self, seq: Seq) -> impl Iterator<Item = (Seq, &Frame)> {
        let skipped = usize::try_from(seq.0.saturating_sub(self.first.0)).unwrap_or(usize::MAX).min(self.frames.len());
        let first = self.first.0 + skipped as u64;
        self.frames.range(skipped..).zip(first..).map(|(frame, seq)| (Seq(seq), frame))
    }

    /// A topic's frames from a number on, in their order.
    pub(super) fn of(&self, topic: &str, seq: Seq) -> impl Iterator<Item = (Seq, &Frame)> {
        let of_topic = self.by_topic.get(topic);
        let seqs = of_topic.map(|seqs| seqs.range(seqs.partition_point(|before| *before < seq)..));
        seqs.into_iter().flatten().filter_map(|seq| Some((*seq, self.frames.get((seq.0 - self.first.0) as usize)?)))
    }

    /// The first frame after a position.
    pub(super) fn behind(&self, position: Position) -> Seq {
        Seq(self.first.0 + self.frames.partition_point(|frame| frame.position <= position) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(position: i64) -> Frame {
        frame_of("a", position)
    }

    fn frame_of(topic: &str, position: i64) -> Frame {
        Frame {
            position: Position(position),
            topic: topic.into(),
            auth: Auth::Public,
            is_broadcast: false,
            text: Bytes::from(position.to_string()),
        }
    }

    fn positions(ring: &Ring, after: Seq) -> Vec<i64> {
        ring.after(after).map(|(_, frame)| frame.position.0).collect()
    }

    #[test]
    fn what_has_no_room_goes_and_the_ring_knows_from_where_it_is_whole() {
        let mut ring = Ring::new(Capacity { frames: 3, bytes: 1_000 }, Position(5));
        let first = ring.push(frame(7));
        for position in [8, 11] {
            ring.push(frame(position));
        }
        assert_eq!((ring.from(), positions(&ring, first)), (Position(5), vec![7, 8, 11]));
        ring.push(frame(12));
        assert_eq!(ring.from(), Position(7));
        assert!(first < ring.first());
        assert_eq!(positions(&ring, ring.first()), [8, 11, 12]);
        assert_eq!(positions(&ring, ring.behind(Position(8))), [11, 12]);
        assert_eq!(positions(&ring, ring.end()), [0; 0]);
    }

    #[test]
    fn one_frame_stays_however_large() {
        let mut ring = Ring::new(Capacity { frames: 3, bytes: 1 }, Position(0));
        ring.push(frame(10));
        assert_eq!(positions(&ring, ring.first()), [10]);
        ring.push(frame(11));
        assert_eq!(positions(&ring, ring.first()), [11]);
    }

    #[test]
    fn what_was_before_is_put_before_without_moving_the_rest() {
        let mut ring = Ring::new(Capacity { frames: 10, bytes: 1_000 }, Position(5));
        let seven = ring.push(frame(7));
        ring.extend_back(Position(1), vec![frame(2), frame(5)]);
        assert_eq!((ring.from(), ring.room().frames), (Position(1), 7));
        assert_eq!(positions(&ring, ring.first()), [2, 5, 7]);
        assert_eq!(positions(&ring, seven), [7]);
    }

    #[test]
    fn frames_of_a_topic_are_those_that_are_there() {
        let mut ring = Ring::new(Capacity { frames: 4, bytes: 1_000 }, Position(5));
        let of = |ring: &Ring, topic: &str, seq| -> Vec<i64> {
            let found: Vec<_> = ring.of(topic, seq).collect();
            let all: Vec<_> = ring.after(seq).filter(|(_, frame)| &*frame.topic == topic).collect();
            assert_eq!(format!("{found:?}"), format!("{all:?}"));
            found.iter().map(|(_, frame)| frame.position.0).collect()
        };
        ring.push(frame_of("a", 7));
        let eight = ring.push(frame_of("b", 8));
        ring.push(frame_of("a", 9));
        ring.extend_back(Position(1), vec![frame_of("b", 2)]);
        assert_eq!(of(&ring, "a", ring.first()), [7, 9]);
        assert_eq!(of(&ring, "a", eight), [9]);
        assert_eq!(of(&ring, "b", ring.first()), [2, 8]);
        assert_eq!(of(&ring, "c", ring.first()), [0; 0]);
        for position in 10..13 {
            ring.push(frame_of("c", position));
        }
        // Of what went nothing is left, also not that there was such a topic.
        assert_eq!(of(&ring, "b", eight), [0; 0]);
        assert_eq!((of(&ring, "a", eight), ring.by_topic.len()), (vec![9], 2));
        ring.clear(Position(12));
        ring.push(frame_of("a", 13));
        assert_eq!((of(&ring, "a", eight), ring.by_topic.len()), (vec![13], 1));
    }
}
