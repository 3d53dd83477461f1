//! The seam between whoever wants a script run and whoever runs it.
//!
//! Ingress (and later the outbox) turn what came in into a [`Call`] and hand it to an [`Invoker`]; they get a
//! [`Finished`] once everything the run did is durable. Neither side knows the other.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    capability::{Capabilities, Capability},
    event::{Actor, FailureReason},
    id::{AppId, InvocationId, OutboxId, RequestId, RouteId, ScriptId, VersionId},
    limits::Limits,
    outbox::Item,
    retry::RetryPolicy,
};

/// One script version, ready to be compiled and run. Shared: every call of the version holds the same one.
#[derive(Clone, Debug)]
pub struct Program {
    /// The app it belongs to.
    pub app: AppId,
    /// The app's slug, as `ctx.app` shows it.
    pub app_slug: Arc<str>,
    /// The script.
    pub script: ScriptId,
    /// The script's name.
    pub name: Arc<str>,
    /// The version; compiled programs are cached under it.
    pub version: VersionId,
    /// The version's number, counted from 1 within the script.
    pub number: u32,
    /// Rhai source.
    pub source: Arc<str>,
    /// What a run of it may use.
    pub limits: Limits,
    /// The app's plain configuration values, `ctx.env`.
    pub env: Arc<BTreeMap<String, String>>,
}

/// What made a run happen, `ctx.invocation_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvocationType {
    /// A request that waits for the answer.
    Http,
    /// A request that was answered 202.
    AsyncHttp,
    /// An event that matched a trigger.
    Trigger,
    /// Another script.
    Invoke,
    /// Someone trying it out.
    Test,
    /// A recorded run, run again.
    Replay,
}

impl InvocationType {
    /// As it stands in events and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::AsyncHttp => "async_http",
            Self::Trigger => "trigger",
            Self::Invoke => "invoke",
            Self::Test => "test",
            Self::Replay => "replay",
        }
    }
}

/// How much of what a run received and answered is kept with its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// Headers and bodies, each body up to 64 KiB.
    #[default]
    Full,
    /// Everything but the bodies.
    Headers,
    /// Nothing.
    None,
}

/// Headers that may hold credentials: never stored, and never sent on to another origin.
pub const CREDENTIALS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// What a script finds in `ctx.request`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Upper case.
    pub method: String,
    /// Percent-decoded where it is valid UTF-8, as it came otherwise.
    pub path: String,
    /// Lower case, without a port.
    pub host: String,
    /// Lower-case names, in order of arrival; a name may come twice.
    pub headers: Vec<(String, String)>,
    /// Decoded pairs, in order.
    pub query: Vec<(String, String)>,
    /// What the route's `:names` matched.
    pub params: Vec<(String, String)>,
    /// What a prefix route's `*` matched, without the leading slash.
    pub rest: Option<String>,
    /// The body as it came. `ctx.request.body` is decoded from it by `content-type`.
    pub body: Bytes,
}

/// What a run may do to its app in the name of whoever made it happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Nobody in particular did: all that the script does, for the script is the gate. But for what takes a principal.
    Public,
    /// A principal did: what it may do itself.
    Principal(Capabilities),
}

impl Rights {
    /// Whether this may be done, by who is known or by nobody.
    #[must_use]
    pub const fn allows(self, capability: Capability) -> bool {
        match self {
            Self::Public => true,
            Self::Principal(capabilities) => capabilities.contains(capability),
        }
    }

    /// What both allow.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        match (self, others) {
            (Self::Principal(own), Self::Principal(others)) => Self::Principal(own.and(others)),
            (Self::Public, rights) | (rights, Self::Public) => rights,
        }
    }

    /// Whether anybody acts.
    #[must_use]
    pub const fn has_principal(self) -> bool {
        matches!(self, Self::Principal(_))
    }
}

/// A run that is wanted.
#[derive(Clone, Debug)]
pub struct Call {
    /// Names the run.
    pub invocation: InvocationId,
    /// The request it answers, if any.
    pub request_id: Option<RequestId>,
    /// What to run.
    pub program: Arc<Program>,
    /// Why it runs.
    pub kind: InvocationType,
    /// Through which route, if any.
    pub route: Option<RouteId>,
    /// Who acts.
    pub actor: Actor,
    /// What that lets it do.
    pub rights: Rights,
    /// What came in.
    pub request: Request,
    /// What happened, `ctx.event`, when that is why it runs.
    pub event: Option<Box<RawValue>>,
    /// What to keep of it.
    pub record: Record,
    /// The item of the outbox that this is an attempt at.
    pub item: Option<Arc<Item>>,
    /// Under which idempotency key the outcome is to be remembered, by the same commit as the run's completion.
    pub idempotency: Option<crate::log::IdempotencyClaim>,
}

/// A run that is owed: its caller is answered before it begins.
#[derive(Debug)]
pub struct Owed {
    /// Names the work.
    pub item: OutboxId,
    /// What is to be run, and what came in.
    pub call: Call,
    /// How patiently.
    pub retry: RetryPolicy,
    /// The SHA-256 of a token whose holder may ask what became of it.
    pub token: Option<[u8; 32]>,
    /// What its caller is answered once it is durable.
    pub answer: Answer,
}

/// What a script answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200 to 599: what comes before an answer is the server's to say.
    pub status: u16,
    /// Lower-case names; valid header values.
    pub headers: Vec<(String, String)>,
    /// The bytes that go out.
    pub body: Bytes,
}

/// How loud a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// `log::trace`.
    Trace,
    /// `log::debug`.
    Debug,
    /// `log::info`, `print` and `debug`.
    Info,
    /// `log::warn`.
    Warn,
    /// `log::error`.
    Error,
}

/// One line a script logged.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// How loud.
    pub level: LogLevel,
    /// Microseconds since the run began.
    pub after_us: u64,
    /// What it says.
    pub message: String,
    /// What it says it about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = serde_json::Value)]
    pub data: Option<Box<RawValue>>,
}

/// A run that ended, well or badly, and whose end is durable.
#[derive(Debug)]
pub struct Finished {
    /// What to answer.
    pub result: Result<Answer, Failure>,
    /// What it logged.
    pub logs: Vec<LogLine>,
    /// From the first instruction to the end, all repetitions included.
    pub duration_us: u64,
    /// Interpreter steps of the last repetition.
    pub operations: u64,
}

/// Why a run ended badly. It wrote nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The kind of failure; decides the HTTP status.
    pub reason: FailureReason,
    /// What happened, for the developer of the script; names line and column where there is one.
    pub message: String,
    /// Line in the script, from 1.
    pub line: Option<u32>,
    /// Column in that line, from 1.
    pub column: Option<u32>,
    /// Which limit was passed, by its name in [`Limits`].
    pub limit: Option<&'static str>,
    /// What the script itself said about being tried again.
    pub retry: Option<RetryHint>,
}

/// What a script says about being tried again: by throwing `retry::after(…)` or `retry::never(…)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryHint {
    /// After so many seconds, whatever the policy says.
    After(u32),
    /// Not at all: another try would come to the same.
    Never,
}

/// Why a run never began or its end is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Too much waits already: the node's queue or the app's own.
    #[error("too many runs are waiting")]
    Busy,
    /// The node is going away.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// The database is away or the node lost its right to write.
    #[error("the log cannot be written")]
    Log,
    /// The work that it was an attempt at was cancelled, or is another node's now. It wrote nothing.
    #[error("the work was taken away")]
    Unleased,
}

/// Something wrong, or questionable, with a script's source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Diagnostic {
    /// Errors refuse an upload, warnings do not.
    pub severity: Severity,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
    /// What is wrong, with what was expected or the nearest known name.
    pub message: String,
}

/// How bad a [`Diagnostic`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The source is refused.
    Error,
    /// It is accepted; someone should look.
    Warning,
}

/// Runs scripts.
pub trait Invoker: Send + Sync + 'static {
    /// Runs a call to its end and resolves when that end is durable. Dropping the future does not end the run.
    fn invoke(&self, call: Call) -> BoxFuture<'static, Result<Finished, Unavailable>>;

    /// Makes a run be owed; resolves when that is durable.
    fn enqueue(&self, owed: Owed) -> BoxFuture<'static, Result<(), Unavailable>>;

    /// Everything wrong with a source, worst first in order of place. Empty: it may be uploaded.
    fn validate(&self, source: &str, limits: &Limits) -> Vec<Diagnostic>;
}
