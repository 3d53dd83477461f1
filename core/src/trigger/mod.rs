//! Triggers: which event owes which run.
//!
//! A kind of trigger is a file here and a line in the list below: its fields, what is wrong with them, and what it makes of
//! an event. [`Triggers`] matches whatever is committed against all of them. Pure.

mod cron;
mod dead_letter;
mod kv;
mod matching;
mod pattern;
mod queue;
mod topic;
mod written;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

pub use cron::Cron;
pub use dead_letter::{DeadLetters, SourceKind};
pub use kv::{Kv, Op};
pub use matching::{Matcher, Triggers};
pub use pattern::Pattern;
pub use queue::Queue;
pub use topic::Topic;
pub use written::Written;

use crate::{
    event::Event,
    id::{DeadLetterId, TriggerId},
};

/// How many items an event may owe.
pub const MAX_OWED: usize = 100;

/// How many items the events of one commit may owe together, and how many bytes these may have.
pub const MAX_OWED_BY_COMMIT: usize = 10_000;
/// See [`MAX_OWED_BY_COMMIT`].
pub const MAX_OWED_BYTES: usize = 16 << 20;

/// How many triggers may lie between the first run of a chain and its last: what lies further is a circle.
pub const MAX_DEPTH: u16 = 8;

/// A value that is longer than this is not copied to the items that its event owes.
pub const MAX_COPIED_BYTES: usize = 64 * 1024;

/// What an event owes by one trigger.
#[derive(Debug)]
struct Owes {
    /// What the run finds under the kind's name in `ctx.event`, as JSON.
    about: String,
    lane: Option<String>,
    priority: i16,
    due_at: Option<DateTime<Utc>>,
    /// The letter that the run takes care of.
    handles: Option<DeadLetterId>,
}

impl Owes {
    /// A run as soon as possible, in no order.
    fn now(about: &impl Serialize) -> Self {
        let about = serde_json::to_string(about).expect("what happened is plain data");
        Self { about, lane: None, priority: 0, due_at: None, handles: None }
    }
}

/// A field of a trigger that cannot be as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// Which.
    pub field: &'static str,
    /// What is wrong, with which value, and what is allowed.
    pub message: String,
}

impl Invalid {
    fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self { field, message: message.into() }
    }
}

/// A kind of trigger.
trait Kind: Sized {
    /// Its fields, for whoever reads them strictly.
    const FIELDS: &'static [&'static str];

    /// Whether it can be.
    fn check(&self) -> Result<(), Invalid>;

    /// What an event of one of the kind's sources owes by it.
    fn owes(&self, trigger: TriggerId, event: &Event) -> Option<Owes>;

    /// What keeps its runs in order, for what happened under such a key.
    fn lane(&self, _: TriggerId, _key: Option<&str>) -> Option<String> {
        None
    }

    /// What it waits for, short enough for a line. Two of one kind and script that wait for the same are one to a deployment.
    fn selects(&self) -> String;

    /// An example of what its runs find under the kind's name.
    fn sample(&self, now: DateTime<Utc>) -> Value;

    /// How many of these one event can match at most. Rather too many than too few.
    fn most_at_once(all: &[&Self]) -> usize;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident($type:ty) = $name:literal, on $($event:ident)|+;)*) => {
        /// When a trigger's script is to be run.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        pub enum When {
            $($(#[$doc])* $variant($type),)*
        }

        impl When {
            /// All kinds there are.
            pub const KINDS: &'static [&'static str] = &[$($name),*];

            /// The kind's name.
            #[must_use]
            pub const fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }

            /// The kind of triggers that an event may match.
            const fn kind_on(event: &Event) -> Option<&'static str> {
                match event {
                    $($(Event::$event(_))|+ => Some($name),)*
                    _ => None,
                }
            }

            /// The fields of a kind; none when there is no such kind.
            #[must_use]
            pub fn fields(kind: &str) -> Option<&'static [&'static str]> {
                match kind {
                    $($name => Some(<$type as Kind>::FIELDS),)*
                    _ => None,
                }
            }

            /// Whether it can be.
            ///
            /// # Errors
            /// The first field that cannot.
            pub fn check(&self) -> Result<(), Invalid> {
                match self { $(Self::$variant(kind) => kind.check(),)* }
            }

            fn owes(&self, trigger: TriggerId, event: &Event) -> Option<Owes> {
                match self { $(Self::$variant(kind) => kind.owes(trigger, event),)* }
            }

            /// What it waits for, short enough for a line: two of one kind that say the same here wait for the same, maybe
            /// for other things done to it, or with another policy.
            #[must_use]
            pub fn selects(&self) -> String {
                match self { $(Self::$variant(kind) => kind.selects(),)* }
            }

            /// An example of what its runs find in `ctx.event`, under the kind's name.
            #[must_use]
            pub fn sample(&self, now: DateTime<Utc>) -> Value {
                match self { $(Self::$variant(kind) => kind.sample(now),)* }
            }

            fn lane(&self, trigger: TriggerId, key: Option<&str>) -> Option<String> {
                match self { $(Self::$variant(kind) => kind.lane(trigger, key),)* }
            }

            /// How many of these one event can match at most.
            #[must_use]
            pub fn most_at_once<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> usize {
                let mut most = 0;
                $({
                    let alike: Vec<_> = all.clone().filter_map(|when| match when {
                        Self::$variant(kind) => Some(kind),
                        _ => None,
                    }).collect();
                    most = most.max(<$type as Kind>::most_at_once(&alike));
                })*
                most
            }
        }
    };
}

kinds! {
    /// A key-value entry was written.
    Kv(Kv) = "kv", on KvSet | KvIncreased | KvDeleted;
    /// A message was published.
    Topic(Topic) = "topic", on MessagePublished;
    /// A message was sent to a queue.
    Queue(Queue) = "queue", on MessageSent;
    /// It is time.
    Cron(Cron) = "cron", on CronFired;
    /// Work could not be done.
    DeadLetter(DeadLetters) = "dead_letter", on DeadLetterCreated;
}

#[cfg(test)]
mod tests;
