//! Jobs: work on many things at once, that goes on when who asked for it is gone.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::dead_letter::{Closing, Reason};
use crate::id::{DeadLetterId, JobId, ScriptId};

/// What is done to each thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// Letters are tried again.
    ReplayLetters,
    /// Letters are closed.
    ResolveLetters {
        /// How.
        resolution: Closing,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// What the letters had in common when they were chosen. For people: the letters themselves are what counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Chosen {
    /// Of this script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<ScriptId>,
    /// For this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// They failed alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Only those whose handler had failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_handler_failed: bool,
}

/// A job began. What it works on is settled from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Its name.
    pub job: JobId,
    /// What is done.
    pub action: Action,
    /// How the letters were chosen.
    pub chosen: Chosen,
    /// At most so many a second.
    pub per_second: u32,
    /// To these letters, in this order.
    pub letters: Vec<DeadLetterId>,
}

impl Started {
    pub(super) fn subject(&self) -> String {
        self.job.to_string()
    }
}

/// What has become of a job's letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// The job has decided about them.
    pub done: u32,
    /// Somebody else had by then, or they were gone.
    pub skipped: u32,
    /// It could not.
    pub failed: u32,
    /// Why it could not, the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl Counts {
    /// How many letters of the job are behind it.
    #[must_use]
    pub const fn sum(&self) -> u32 {
        self.done + self.skipped + self.failed
    }
}

/// A job has come so far: to its letter number `done + skipped + failed`. Told now and then, each letter's own event tells
/// the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progressed {
    /// The job.
    pub job: JobId,
    /// What has become of the letters so far.
    pub counts: Counts,
}

impl Progressed {
    pub(super) fn subject(&self) -> String {
        self.job.to_string()
    }
}

/// Somebody wants a job to end before it is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancellationRequested {
    /// The job.
    pub job: JobId,
}

impl CancellationRequested {
    pub(super) fn subject(&self) -> String {
        self.job.to_string()
    }
}

/// How a job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All of its letters are behind it.
    Done,
    /// Somebody wanted it to end; what was done stays.
    Cancelled,
    /// It could not go on.
    Failed,
}

impl Outcome {
    /// As it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// A job is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The job.
    pub job: JobId,
    /// How.
    pub outcome: Outcome,
    /// What has become of its letters; those not counted are as they were.
    pub counts: Counts,
    /// Why it could not go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Ended {
    pub(super) fn subject(&self) -> String {
        self.job.to_string()
    }
}
