//! Runs of scripts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    id::{InvocationId, NodeEpoch, OutboxId, RouteId, ScriptId, TriggerId, VersionId},
    keys::Sealed,
    run::{InvocationType, LogLine},
};

/// A run began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The run.
    pub invocation: InvocationId,
    /// What was run.
    pub script: ScriptId,
    /// Which version of it.
    pub version: VersionId,
    /// Why.
    pub invocation_type: InvocationType,
    /// Through which route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteId>,
    /// The trigger that owed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<TriggerId>,
    /// The item of the outbox that it is an attempt at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<OutboxId>,
    /// Counts from 1; a call that waits for its answer has only the first.
    pub attempt: u16,
    /// On which node.
    pub node: NodeEpoch,
    /// What it received, the clock it saw and the seed of its randomness, under the app's data key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Sealed>,
}

impl Started {
    pub(super) fn subject(&self) -> String {
        self.invocation.to_string()
    }
}

/// What a run logged, or a part of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Logged {
    /// The run.
    pub invocation: InvocationId,
    /// In the order they were written.
    pub lines: Vec<LogLine>,
    /// How many more were cut for being over the run's limit.
    #[serde(default)]
    pub dropped: u32,
}

impl Logged {
    pub(super) fn subject(&self) -> String {
        self.invocation.to_string()
    }
}

/// What a run learnt from outside itself: what it read and what others answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journaled {
    /// The run.
    pub invocation: InvocationId,
    /// The entries, under the app's data key.
    pub recording: Sealed,
}

impl Journaled {
    pub(super) fn subject(&self) -> String {
        self.invocation.to_string()
    }
}

/// A run ended well; its effects were committed with this event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completed {
    /// The run.
    pub invocation: InvocationId,
    /// The HTTP status it answered.
    pub status: u16,
    /// From its first instruction to its last, repetitions included.
    pub duration_us: u64,
    /// Interpreter steps.
    pub operations: u64,
    /// How often it ran until nothing it had read was changed meanwhile; 1 is the usual.
    pub runs: u32,
    /// What it answered, under the app's data key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Sealed>,
}

impl Completed {
    pub(super) fn subject(&self) -> String {
        self.invocation.to_string()
    }
}

/// A run ended badly and wrote nothing. Whether it is tried again is the outbox item's business.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The run.
    pub invocation: InvocationId,
    /// What kind of end it was.
    pub reason: FailureReason,
    /// What happened, known secrets cut out.
    pub message: String,
    /// Where in the script, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Which limit was passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// From its first instruction to its last, repetitions included.
    pub duration_us: u64,
    /// How often it ran.
    pub runs: u32,
}

impl Failed {
    pub(super) fn subject(&self) -> String {
        self.invocation.to_string()
    }
}

/// How a run can end badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// The script threw, or did what cannot be done.
    Threw,
    /// What came in is not what its content type says; the script never began.
    BadInput,
    /// What it answered is no response.
    BadResponse,
    /// It was not done in time.
    TimedOut,
    /// It took more steps than it may.
    OverOperations,
    /// It held more memory than it may.
    OverMemory,
    /// It passed another of its limits.
    OverLimit,
    /// What it had read kept changing until its time was up, or it would have called outside differently.
    Conflict,
    /// It increased what is no integer, or past the range of one.
    KvNotANumber,
    /// It was to do what whoever made it happen may not.
    Forbidden,
    /// Someone ended it.
    Cancelled,
    /// Its node went away.
    Abandoned,
}

impl FailureReason {
    /// As it stands in events and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Threw => "threw",
            Self::BadInput => "bad_input",
            Self::BadResponse => "bad_response",
            Self::TimedOut => "timed_out",
            Self::OverOperations => "over_operations",
            Self::OverMemory => "over_memory",
            Self::OverLimit => "over_limit",
            Self::Conflict => "conflict",
            Self::KvNotANumber => "kv_not_a_number",
            Self::Forbidden => "forbidden",
            Self::Cancelled => "cancelled",
            Self::Abandoned => "abandoned",
        }
    }
}
