//! What follows from what: all that a run belongs to, from what began it to the last that it set off.
//!
//! Every event names the one it follows from. [`chain`] reads those that have to do with a run, wherever they lie, and makes a
//! tree of them: runs, items of the outbox, dead letters, and what else happened.

use std::collections::{HashMap, HashSet, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use picloud_core::{
    event::{Event, outbox::CarriedForward},
    id::{AppId, EventId, InvocationId},
    log::{
        Recorded,
        read::{Direction, Filter, ReadError, Reader},
    },
};

/// A longer chain is told as far as this.
const MAX_EVENTS: usize = 2_000;

/// So many runs, items and letters of it are asked for by themselves.
const MAX_ASKED: usize = 200;

/// By how much the clock of a node may differ from the database's.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::minutes(1);

/// Something that happened, with all that is known of it.
#[derive(Clone, Debug)]
pub struct Node {
    /// How it began.
    pub began: Recorded,
    /// What more is told of it, in order: how a run ended, what became of an item or a letter.
    pub then: Vec<Recorded>,
    /// What follows from it, in order.
    pub children: Vec<Node>,
}

/// A chain: the trees of it, in order, and whether there is more of it than is told.
#[derive(Clone, Debug)]
pub struct Chain {
    /// More than one where what joins them is not in the log any more.
    pub trees: Vec<Node>,
    /// Whether something was left out.
    pub is_cut: bool,
}

/// The chain of a run.
///
/// # Errors
/// When the log cannot be read.
pub async fn chain(reader: &Reader, app: AppId, started: &Recorded) -> Result<Chain, ReadError> {
    let head = reader.head().await?;
    let mut asked = Asked::default();
    asked.by(started);
    let mut events = HashMap::from([(started.position, started.clone())]);
    let mut is_cut = false;
    while let Some(next) = asked.waiting.pop_front() {
        if events.len() >= MAX_EVENTS || asked.known.len() > MAX_ASKED {
            is_cut = true;
            break;
        }
        let made = next.made();
        let (after, _) = reader.around(made - CLOCKS_DIFFER, head).await?;
        let filter = next.filter(app);
        for recorded in reader.list(&filter, Direction::Forward, after, head, MAX_EVENTS).await? {
            asked.by(&recorded);
            events.insert(recorded.position, recorded);
        }
    }
    let mut events: Vec<Recorded> = events.into_values().collect();
    events.sort_by_key(|recorded| recorded.position);
    is_cut |= events.len() > MAX_EVENTS;
    events.truncate(MAX_EVENTS);
    Ok(Chain { trees: grow(events), is_cut })
}

/// What the log is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Ask {
    /// All that began with a run.
    Root(InvocationId),
    /// All about an item or a letter, and when its name was made.
    About(String, ulid::Ulid),
}

impl Ask {
    fn made(&self) -> DateTime<Utc> {
        let made = match self {
            Self::Root(run) => run.ulid(),
            Self::About(_, made) => *made,
        };
        made.datetime().into()
    }

    fn filter(&self, app: AppId) -> Filter {
        let filter = Filter { app: Some(Some(app)), ..Filter::default() };
        match self {
            Self::Root(run) => Filter { root: Some(run.uuid()), ..filter },
            Self::About(subject, _) => Filter { subject: Some(subject.clone()), ..filter },
        }
    }
}

/// What was asked for, and what is to be.
#[derive(Default)]
struct Asked {
    known: HashSet<Ask>,
    waiting: VecDeque<Ask>,
}

impl Asked {
    fn ask(&mut self, ask: Ask) {
        if self.known.insert(ask.clone()) {
            self.waiting.push_back(ask);
        }
    }

    fn about<I: ToString>(&mut self, id: I, made: ulid::Ulid) {
        self.ask(Ask::About(id.to_string(), made));
    }

    /// What an event leads to. Items, letters and runs that somebody outside of all runs began are in no chain by themselves.
    fn by(&mut self, recorded: &Recorded) {
        if let Some(root) = recorded.event.root {
            self.ask(Ask::Root(root));
        }
        match &recorded.event.event {
            Event::InvocationStarted(started) => {
                if let Some(item) = started.item {
                    self.about(item, item.ulid());
                }
            }
            Event::OutboxEnqueued(enqueued) | Event::OutboxCarriedForward(CarriedForward(enqueued)) => {
                self.about(enqueued.item, enqueued.item.ulid());
                for letter in [enqueued.replay_of, enqueued.handles].into_iter().flatten() {
                    self.about(letter, letter.ulid());
                }
            }
            Event::OutboxRescheduled(rescheduled) => {
                if let Some(run) = rescheduled.attempt.invocation {
                    self.ask(Ask::Root(recorded.event.root.unwrap_or(run)));
                }
            }
            Event::OutboxDelivered(delivered) => {
                self.ask(Ask::Root(recorded.event.root.unwrap_or(delivered.invocation)));
            }
            Event::OutboxExhausted(exhausted) => self.about(exhausted.dead_letter, exhausted.dead_letter.ulid()),
            Event::DeadLetterCreated(created) => {
                self.about(created.item, created.item.ulid());
                self.about(created.dead_letter, created.dead_letter.ulid());
                for run in created.attempts.iter().filter_map(|attempt| attempt.invocation) {
                    self.ask(Ask::Root(recorded.event.root.unwrap_or(run)));
                }
            }
            Event::DeadLetterReplayed(replayed) => self.about(replayed.item, replayed.item.ulid()),
            Event::DeadLetterHandlerEnded(ended) => self.about(ended.item, ended.item.ulid()),
            _ => {}
        }
    }
}

/// Makes trees of events in order.
fn grow(events: Vec<Recorded>) -> Vec<Node> {
    let mut nodes: Vec<Option<Node>> = Vec::new();
    let mut parents: Vec<Option<usize>> = Vec::new();
    // Where an event has gone, and where what it is about is.
    let mut by_event: HashMap<EventId, usize> = HashMap::new();
    let mut by_subject: HashMap<String, usize> = HashMap::new();
    for recorded in events {
        let (id, subject) = (recorded.event.id, recorded.event.subject.clone());
        let place = match by_subject.get(&subject) {
            Some(place) if continues(&recorded.event.event) => {
                if let Some(node) = nodes.get_mut(*place).and_then(Option::as_mut) {
                    node.then.push(recorded);
                }
                *place
            }
            _ => {
                parents.push(parent(&recorded, &by_event, &by_subject));
                nodes.push(Some(Node { began: recorded, then: Vec::new(), children: Vec::new() }));
                by_subject.insert(subject, nodes.len() - 1);
                nodes.len() - 1
            }
        };
        by_event.insert(id, place);
    }
    // Parents come before their children: from the last on, each has all of its own when it is given to its parent.
    let mut trees = Vec::new();
    for place in (0..nodes.len()).rev() {
        let Some(mut node) = nodes[place].take() else { continue };
        node.children.reverse();
        match parents[place].and_then(|parent| nodes[parent].as_mut()) {
            Some(parent) => parent.children.push(node),
            None => trees.push(node),
        }
    }
    trees.reverse();
    trees
}

/// Whether an event says more of something that began earlier.
const fn continues(event: &Event) -> bool {
    matches!(
        event,
        Event::InvocationLogged(_)
            | Event::InvocationJournaled(_)
            | Event::InvocationCompleted(_)
            | Event::InvocationFailed(_)
            | Event::OutboxCarriedForward(_)
            | Event::OutboxRescheduled(_)
            | Event::OutboxDelivered(_)
            | Event::OutboxExhausted(_)
            | Event::OutboxCancelled(_)
            | Event::DeadLetterReplayed(_)
            | Event::DeadLetterResolved(_)
            | Event::DeadLetterHandlerEnded(_)
            | Event::DeadLetterPurged(_)
    )
}

/// What something follows from: a run from the item it is an attempt at, a letter from the item that it was, all else from
/// what it says itself.
fn parent(
    recorded: &Recorded,
    by_event: &HashMap<EventId, usize>,
    by_subject: &HashMap<String, usize>,
) -> Option<usize> {
    let item = match &recorded.event.event {
        Event::InvocationStarted(started) => started.item,
        Event::DeadLetterCreated(created) => Some(created.item),
        _ => None,
    };
    let by_item = item.and_then(|item| by_subject.get(&item.to_string()));
    by_item.or_else(|| by_event.get(&recorded.event.cause?)).copied()
}
