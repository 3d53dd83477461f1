//! Outbox items that used up their attempts, and what people or scripts decided about them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::outbox::{Attempt, Source};
use crate::{
    id::{DeadLetterId, InvocationId, JobId, OutboxId, ScriptId, VersionId},
    keys::Sealed,
    retry::RetryPolicy,
};

/// Why an item became a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Its policy allows no further attempt.
    AttemptsExhausted,
    /// The script said that no further attempt would help.
    GaveUp,
    /// It lies too far from what began it: a circle of triggers.
    DepthExceeded,
    /// There is nothing to run: the script went, or has no active version.
    NothingToRun,
}

impl Reason {
    /// As it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::GaveUp => "gave_up",
            Self::DepthExceeded => "depth_exceeded",
            Self::NothingToRun => "nothing_to_run",
        }
    }
}

/// An item became a letter. It holds all that is needed to understand it and to try it again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Created {
    /// Its name.
    pub dead_letter: DeadLetterId,
    /// What it was.
    pub item: OutboxId,
    /// What owed it.
    pub source: Source,
    /// What was run.
    pub script: ScriptId,
    /// What the script was called then.
    pub script_name: String,
    /// The version that was run last; none when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// Its lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// Its priority.
    #[serde(default)]
    pub priority: i16,
    /// Its policy.
    #[serde(deserialize_with = "super::tolerant::retry")]
    pub retry: RetryPolicy,
    /// When it was owed.
    pub enqueued_at: DateTime<Utc>,
    /// Why it is a letter.
    pub reason: Reason,
    /// What happened last.
    pub error: String,
    /// The same for letters that failed alike.
    pub fingerprint: String,
    /// All that was tried, in order.
    pub attempts: Vec<Attempt>,
    /// What the run gets ([`super::outbox::Payload`] as JSON), under a key of its own, so that it can be erased by itself.
    pub payload: Sealed,
}

impl Created {
    pub(super) fn subject(&self) -> String {
        self.dead_letter.to_string()
    }
}

/// A letter was tried again: it is an item of the outbox once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// The letter.
    pub dead_letter: DeadLetterId,
    /// The new item.
    pub item: OutboxId,
    /// Whether somebody changed what the run gets. The item says to what.
    #[serde(default)]
    pub is_edited: bool,
    /// On this version instead of the active one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// The job that did it, one letter of many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
}

impl Replayed {
    pub(super) fn subject(&self) -> String {
        self.dead_letter.to_string()
    }
}

/// How a letter can be closed by a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Closing {
    /// Nothing needs to be done about it.
    #[default]
    Ignored,
    /// A script has taken care of it.
    HandledByScript,
}

impl Closing {
    /// As it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::HandledByScript => "handled_by_script",
        }
    }
}

/// A letter was closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// The letter.
    pub dead_letter: DeadLetterId,
    /// How.
    pub resolution: Closing,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The job that did it, one letter of many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
}

impl Resolved {
    pub(super) fn subject(&self) -> String {
        self.dead_letter.to_string()
    }
}

/// Nothing more comes of a trigger's run that was to take care of a letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandlerEnded {
    /// The letter.
    pub dead_letter: DeadLetterId,
    /// The item that took care of it.
    pub item: OutboxId,
    /// Its last run; none when none began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation: Option<InvocationId>,
    /// Why it could not; none when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl HandlerEnded {
    pub(super) fn subject(&self) -> String {
        self.dead_letter.to_string()
    }
}

/// A letter was closed so long ago that nobody asks for it: what it held cannot be read any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// The letter.
    pub dead_letter: DeadLetterId,
}

impl Purged {
    pub(super) fn subject(&self) -> String {
        self.dead_letter.to_string()
    }
}
