//! The seam between whoever wants a recorded run run again and whoever does that: in a world made of its recording, from
//! which nothing gets out.

use std::sync::Arc;

use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    event::{Actor, FailureReason},
    id::{AppId, InvocationId, ScriptId, VersionId},
    log::Position,
    run::{LogLevel, Program, Unavailable},
};

/// A run that is to be run again.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Whose.
    pub app: AppId,
    /// Where the log says that it began,
    pub began: Position,
    /// and where that it ended.
    pub ended: Position,
    /// What is to be run; none is the version that ran.
    pub candidate: Option<Candidate>,
}

/// What is to be run instead of what ran.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Of the same script.
    pub program: Arc<Program>,
    /// Who deployed it, or would.
    pub deployed_by: Actor,
}

/// What a run came to, and what it would come to now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Replayed {
    /// The run.
    pub invocation: InvocationId,
    /// What was run.
    pub script: ScriptId,
    /// Which version ran.
    pub version: VersionId,
    /// In what the two differ. Nothing: they are the same.
    pub differences: Vec<Difference>,
    /// What was asked for and is not in the recording: what came of it is a guess. Nothing: it is certain.
    pub lacking: Vec<Lacking>,
    /// What it came to.
    pub recorded: Course,
    /// What it would come to.
    pub replayed: Course,
}

/// What a run came to.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = RunCourse)]
pub struct Course {
    /// Its status, headers and body, as far as these are recorded. Null when it failed.
    #[schema(required)]
    pub answer: Option<Value>,
    /// Why it failed.
    #[schema(required)]
    pub failure: Option<Failed>,
    /// What it wrote and sent, in order.
    pub effects: Vec<Effect>,
    /// What it logged.
    pub logs: Vec<Line>,
    /// What it called outside, in order.
    pub calls: Vec<String>,
}

/// How a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RunFailed)]
pub struct Failed {
    /// What kind of end it was.
    pub reason: FailureReason,
    /// What happened.
    pub message: String,
    /// Where in the script, from 1.
    #[schema(required)]
    pub line: Option<u32>,
}

/// Something that a run wrote or sent: an event, without what is different each time.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = RunEffect)]
pub struct Effect {
    /// What happened.
    pub kind: String,
    /// To what.
    pub subject: String,
    /// What more there is to say.
    pub data: Value,
}

/// A line that a run logged.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = RunLine)]
pub struct Line {
    /// How loud.
    pub level: LogLevel,
    /// What it says.
    pub message: String,
    /// What it says it about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// In which respect two runs differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ReplayPart)]
pub enum Part {
    /// In what they answered, or why they failed.
    Answer,
    /// In what they wrote and sent.
    Effects,
    /// In what they logged.
    Logs,
    /// In what they called outside.
    Calls,
}

/// Something in which two runs differ.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = ReplayDifference)]
pub struct Difference {
    /// In which respect.
    pub part: Part,
    /// Where: `body.total`, `kv.set orders/42: value.state`.
    pub at: String,
    /// What was there; nothing, when it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Value>,
    /// What is there now; nothing, when it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed: Option<Value>,
}

/// Something that the recording does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ReplayLacking)]
pub struct Lacking {
    /// What was asked for.
    pub what: String,
    /// What was made of it.
    pub instead: String,
}

/// Why a run cannot be run again.
#[derive(Debug, thiserror::Error)]
pub enum CannotReplay {
    /// There is nothing of it in the log any more.
    #[error("the log does not hold it any more")]
    Gone,
    /// What came in was never recorded.
    #[error("nothing was recorded of what it received: its route says `record = \"none\"`")]
    NotRecorded,
    /// What was recorded cannot be read: it was erased.
    #[error("what was recorded of it was erased")]
    Erased,
    /// The script is gone, and its sources.
    #[error("the script that ran was deleted: there is nothing to run")]
    NoScript,
    /// The candidate is of another script.
    #[error("it was a run of another script")]
    OtherScript,
    /// Not now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Runs recorded runs again.
pub trait Replayer: Send + Sync + 'static {
    /// Runs one again and compares. Nothing is committed and nobody is called.
    fn replay(&self, wanted: Replay) -> BoxFuture<'static, Result<Replayed, CannotReplay>>;
}
