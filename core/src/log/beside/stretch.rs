//! Which events can be folded at once.
//!
//! Within one call of the function time stands still, and it has one node. The committer calls it for a batch, and the batches
//! of the log could be told by their times; but most events do not ask what time it is, and then a stretch of many batches is
//! as good as each of them.

use chrono::{DateTime, Utc};

use crate::{event::Event, id::NodeEpoch, log::Recorded};

/// Events that lie next to each other in the log and can be folded as if they had been committed together.
#[derive(Debug)]
pub(super) struct Stretch<'a> {
    pub events: &'a [Recorded],
    /// What time it is for all of them that ask.
    pub at: DateTime<Utc>,
    /// The node of the runs that begin in it.
    pub node: Option<NodeEpoch>,
    /// Whether commits are matched against other triggers behind it.
    pub changes_triggers: bool,
}

impl<'a> Stretch<'a> {
    /// As long a one as can be, of events that follow each other; none of none.
    pub fn first_of(events: &'a [Recorded]) -> Option<Self> {
        let first = events.first()?;
        let (mut asked, mut node, mut changes_triggers) = (None, None, false);
        let mut count = 0;
        for (n, recorded) in events.iter().enumerate() {
            let is_next = recorded.position == first.position.plus(n);
            let is_now = !asks_the_time(&recorded.event.event) || *asked.get_or_insert(recorded.at) == recorded.at;
            let is_here = begins_on(&recorded.event.event).is_none_or(|on| *node.get_or_insert(on) == on);
            if !is_next || !is_now || !is_here {
                break;
            }
            changes_triggers |= recorded.event.event.kind().starts_with("trigger.");
            count = n + 1;
        }
        let events = &events[..count];
        Some(Self { events, at: asked.unwrap_or(first.at), node, changes_triggers })
    }
}

/// Whether the function writes the time of its call because of an event, or compares something with it. What the other
/// statements write is given each event's own time.
const fn asks_the_time(event: &Event) -> bool {
    match event {
        // What has expired begins anew; what ends is remembered with its time.
        Event::KvIncreased(_) | Event::OutboxDelivered(_) | Event::OutboxExhausted(_) | Event::OutboxCancelled(_) => {
            true
        }
        // Due at once is due from then on.
        Event::OutboxEnqueued(enqueued) => enqueued.due_at.is_none(),
        _ => false,
    }
}

const fn begins_on(event: &Event) -> Option<NodeEpoch> {
    match event {
        Event::InvocationStarted(started) => Some(started.node),
        _ => None,
    }
}
