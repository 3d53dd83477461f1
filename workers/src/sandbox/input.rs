//! What one run is given, and what it hands back.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use chrono::{DateTime, Utc};
use picloud_core::{
    event::ActorKind,
    id::{InvocationId, RequestId},
    run::{Answer, Failure, InvocationType, LogLine, Request, Rights},
};
use serde_json::value::RawValue;

/// Everything from outside that a run can see. The same input and the same data make the same run.
#[derive(Clone, Debug)]
pub struct Input {
    /// What came in. Shared, so that a repeated run copies nothing.
    pub request: Arc<Request>,
    /// Why the script runs.
    pub kind: InvocationType,
    /// Names the run.
    pub invocation: InvocationId,
    /// The request it answers, if any.
    pub request_id: Option<RequestId>,
    /// Who calls; `None` is nobody.
    pub principal: Option<PrincipalInfo>,
    /// What the run may do in that name.
    pub rights: Rights,
    /// The event that triggered it, as `ctx.event`.
    pub event: Option<Arc<RawValue>>,
    /// The run's clock: it stands still.
    pub now: DateTime<Utc>,
    /// Where the run's randomness comes from.
    pub seed: [u8; 32],
    /// When it must be over.
    pub deadline: Instant,
    /// Set by whoever wants it to end early.
    pub cancelled: Arc<AtomicBool>,
}

/// Who calls, as `ctx.principal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalInfo {
    /// What kind of principal.
    pub kind: ActorKind,
    /// The key's, account's or trigger's id.
    pub id: String,
}

/// How a run went.
#[derive(Debug)]
pub struct Report {
    /// What it answered, or why it did not.
    pub result: Result<Answer, Ended>,
    /// What it logged.
    pub logs: Vec<LogLine>,
    /// How many more lines were cut for being over the run's limit.
    pub logs_dropped: u32,
    /// Interpreter steps.
    pub operations: u64,
    /// The most it held allocated at once; 0 where allocations are not counted.
    pub peak_memory_bytes: usize,
}

/// Why a run has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It failed by its own doing or passed a limit.
    Failed(Failure),
    /// The request's body is not what its content type says; the script never began. Says what is wrong with it.
    BadInput(String),
    /// What it had read changed under it: it must be repeated.
    Conflict,
    /// The database was away.
    Unavailable,
}
