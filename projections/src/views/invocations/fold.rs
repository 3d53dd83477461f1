//! From events to what becomes of runs. Pure.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use picloud_core::{
    event::{
        Event, FailureReason,
        invocation::{Completed, Failed, Logged},
    },
    id::InvocationId,
    log::{Position, Recorded},
};

use crate::views::origins::Origin;

/// What more a run says than this is not searched.
const MAX_SAID_BYTES: usize = 16 * 1024;

/// Runs that have begun and not ended.
pub(super) type Running = HashMap<InvocationId, Run>;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub id: InvocationId,
    pub origin: Origin,
    /// What it logged and how it failed, cut where it is too much to search.
    pub said: String,
}

/// A run that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub run: Run,
    pub position: Position,
    pub at: DateTime<Utc>,
    pub duration_us: u64,
    pub runs: u32,
    pub end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Ok { status: u16, operations: u64 },
    Failed { reason: FailureReason, message: String, line: Option<u32>, limit: Option<String> },
}

/// What a stretch of the log does to runs.
#[derive(Debug, Default)]
pub(super) struct Fold {
    /// Those that go on behind the stretch, and began or said something in it.
    pub begun: HashSet<InvocationId>,
    /// Those that ended in it, in the order of their ends.
    pub ended: Vec<Ended>,
    /// Those of them that were running before it.
    pub left: Vec<InvocationId>,
}

impl Fold {
    /// Takes in events, in order. Of a run that nobody knows, it began before the log does, nothing is told.
    pub fn of(running: &mut Running, events: &[Recorded]) -> Self {
        let mut fold = Self::default();
        let mut new = HashSet::new();
        for recorded in events {
            match &recorded.event.event {
                Event::InvocationStarted(started) => {
                    let Some(origin) = Origin::of(recorded, started) else { continue };
                    let id = started.invocation;
                    new.insert(id);
                    fold.begun.insert(id);
                    running.insert(id, Run { id, origin, said: String::new() });
                }
                Event::InvocationLogged(Logged { invocation, lines, .. }) => {
                    let Some(run) = running.get_mut(invocation) else { continue };
                    fold.begun.insert(*invocation);
                    for line in lines {
                        run.say(&line.message);
                        if let Some(data) = &line.data {
                            run.say(data.get());
                        }
                    }
                }
                Event::InvocationCompleted(Completed { invocation, status, duration_us, operations, runs, .. }) => {
                    let end = End::Ok { status: *status, operations: *operations };
                    fold.end(running, *invocation, recorded, (*duration_us, *runs), end);
                }
                Event::InvocationFailed(Failed { invocation, reason, message, line, limit, duration_us, runs }) => {
                    if let Some(run) = running.get_mut(invocation) {
                        run.say(message);
                    }
                    let end =
                        End::Failed { reason: *reason, message: message.clone(), line: *line, limit: limit.clone() };
                    fold.end(running, *invocation, recorded, (*duration_us, *runs), end);
                }
                _ => {}
            }
        }
        fold.left.retain(|id| !new.contains(id));
        fold
    }

    fn end(
        &mut self,
        running: &mut Running,
        id: InvocationId,
        Recorded { position, at, .. }: &Recorded,
        (duration_us, runs): (u64, u32),
        end: End,
    ) {
        let Some(run) = running.remove(&id) else { return };
        self.begun.remove(&id);
        self.left.push(id);
        self.ended.push(Ended { run, position: *position, at: *at, duration_us, runs, end });
    }
}

impl Run {
    fn say(&mut self, what: &str) {
        let room = MAX_SAID_BYTES.saturating_sub(self.said.len() + 1);
        if room == 0 || what.is_empty() {
            return;
        }
        if !self.said.is_empty() {
            self.said.push('\n');
        }
        self.said.push_str(&what[..what.floor_char_boundary(room)]);
    }
}

/// How many times a millisecond has to be doubled to come near a duration; 0 is below one.
pub(super) fn slowness(duration_us: u64) -> i16 {
    (duration_us / 1_000).checked_ilog2().map_or(0, |doubled| doubled as i16 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slowness_doubles() {
        assert_eq!([0, 999, 1_000, 1_999, 2_000, 4_000, 300_000_000].map(slowness), [0, 0, 1, 1, 2, 3, 19]);
    }
}
