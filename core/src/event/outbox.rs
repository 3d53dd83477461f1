//! Work that is owed: one run of a script, tried until it succeeds or becomes a dead letter.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::FailureReason;
use crate::{
    id::{DeadLetterId, InvocationId, OutboxId, RouteId, ScriptId, TriggerId, VersionId},
    keys::Sealed,
    retry::RetryPolicy,
};

/// Nothing that is owed begins to run, on the whole instance, until it is resumed. What runs already may end; what is owed from
/// now on waits, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Why, as whoever paused it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What is owed runs again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {}

macro_rules! about_all {
    ($($type:ty),*) => {$(
        impl $type {
            pub(super) fn subject(&self) -> String {
                "outbox".to_owned()
            }
        }
    )*};
}

about_all!(Paused, Resumed);

/// What made the work be owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// A request to an asynchronous route.
    AsyncRoute {
        /// Which.
        route: RouteId,
    },
    /// An event that a trigger matched.
    Trigger {
        /// Which.
        trigger: TriggerId,
    },
    /// A script, by `invoke::later`.
    Invoke,
}

impl Source {
    /// The kind alone.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::AsyncRoute { .. } => "async_route",
            Self::Trigger { .. } => "trigger",
            Self::Invoke => "invoke",
        }
    }

    /// The trigger, if it was one.
    #[must_use]
    pub const fn trigger(&self) -> Option<TriggerId> {
        match self {
            Self::Trigger { trigger } => Some(*trigger),
            Self::AsyncRoute { .. } | Self::Invoke => None,
        }
    }
}

/// What the run gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "StoredPayload", into = "StoredPayload")]
pub enum Payload {
    /// A request, under a key of the app, bound to the item.
    Request(Sealed),
    /// What happened, as `ctx.event` shows it, without what each attempt adds. It repeats what the log has in plain text.
    Event(Box<RawValue>),
}

impl Payload {
    /// How long it is, as it is stored.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Request(sealed) => sealed.ciphertext.len(),
            Self::Event(event) => event.get().len(),
        }
    }
}

/// A payload as it is stored: one of these. Spelt out, for serde refuses what a newer version may say beside a variant.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredPayload {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<Sealed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<Box<RawValue>>,
}

impl From<Payload> for StoredPayload {
    fn from(payload: Payload) -> Self {
        match payload {
            Payload::Request(sealed) => Self { request: Some(sealed), event: None },
            Payload::Event(event) => Self { request: None, event: Some(event) },
        }
    }
}

impl TryFrom<StoredPayload> for Payload {
    type Error = &'static str;

    fn try_from(stored: StoredPayload) -> Result<Self, Self::Error> {
        match (stored.request, stored.event) {
            (Some(sealed), None) => Ok(Self::Request(sealed)),
            (None, Some(event)) => Ok(Self::Event(event)),
            _ => Err("a payload is a request or an event"),
        }
    }
}

/// Work is owed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Enqueued {
    /// Its name.
    pub item: OutboxId,
    /// What owes it.
    pub source: Source,
    /// What is to be run.
    pub script: ScriptId,
    /// This version of it; none: whichever is active then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// Items of one lane run one at a time, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// Higher goes first.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub priority: i16,
    /// Not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
    /// How patiently.
    #[serde(deserialize_with = "super::tolerant::retry")]
    pub retry: RetryPolicy,
    /// What the run gets.
    pub payload: Payload,
    /// Whether someone may ask later what became of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_watched: bool,
    /// The letter that it tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<DeadLetterId>,
    /// The letter that it takes care of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handles: Option<DeadLetterId>,
    /// What came of it until it was said again; none, where it is said for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<Carried>,
}

/// What came of an item until it was carried forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// When it was owed first.
    pub since: DateTime<Utc>,
    /// When it is to run next.
    pub due_at: DateTime<Utc>,
    /// What failed so far, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Attempt>,
}

/// Work is still owed, and what said so first goes with its part of the log: it is said again, in the words of
/// [`Enqueued`], with [`Enqueued::carried`]. Everything else about it is as it was.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CarriedForward(pub Enqueued);

impl CarriedForward {
    pub(super) fn subject(&self) -> String {
        self.0.subject()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_usual(priority: &i16) -> bool {
    *priority == 0
}

impl Enqueued {
    /// When it was owed first, as far as the event says something else than its own time.
    #[must_use]
    pub fn since(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        self.carried.as_ref().map_or(at, |carried| carried.since)
    }

    pub(super) fn subject(&self) -> String {
        self.item.to_string()
    }
}

/// A try that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// Counts from 1.
    pub number: u16,
    /// Its run; none when none began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation: Option<InvocationId>,
    /// When it ended.
    pub at: DateTime<Utc>,
    /// What kind of end it was.
    pub reason: FailureReason,
    /// What happened.
    pub error: String,
    /// How long the run took.
    pub duration_us: u64,
}

/// An attempt failed, and there will be another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rescheduled {
    /// The item.
    pub item: OutboxId,
    /// What failed.
    pub attempt: Attempt,
    /// Not before.
    pub due_at: DateTime<Utc>,
}

impl Rescheduled {
    pub(super) fn subject(&self) -> String {
        self.item.to_string()
    }
}

/// An attempt succeeded; what it wrote was committed with this event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// The item.
    pub item: OutboxId,
    /// Which attempt.
    pub attempt: u16,
    /// Its run.
    pub invocation: InvocationId,
}

impl Delivered {
    pub(super) fn subject(&self) -> String {
        self.item.to_string()
    }
}

/// There will be no other attempt: the item is a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exhausted {
    /// The item.
    pub item: OutboxId,
    /// What became of it.
    pub dead_letter: DeadLetterId,
}

impl Exhausted {
    pub(super) fn subject(&self) -> String {
        self.item.to_string()
    }
}

/// Somebody took the work back before it was done. A run under way writes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// The item.
    pub item: OutboxId,
}

impl Cancelled {
    pub(super) fn subject(&self) -> String {
        self.item.to_string()
    }
}
