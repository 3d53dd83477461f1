//! One line, as it goes out.

use picloud_core::{
    event::{
        Event, FailureReason,
        invocation::{Failed, Logged, Started},
    },
    id::{InvocationId, RequestId, ScriptId, VersionId},
    log::Recorded,
    run::LogLevel,
};
use picloud_projections::{setup::App, views::logs::Entry};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Wanted;
use crate::admin::{events::Scope, time::Time};

/// What a script said, or (with a `reason`) how a run of it failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LogEntry)]
pub(in crate::admin) struct Line {
    /// When it became durable, with the run's end.
    time: Time,
    level: LogLevel,
    /// Null when the script is deleted.
    #[schema(required)]
    script_name: Option<String>,
    /// Null when the run's beginning is not in the log any more.
    #[schema(required)]
    script: Option<ScriptId>,
    #[schema(required)]
    version: Option<VersionId>,
    invocation: InvocationId,
    #[schema(required)]
    request_id: Option<RequestId>,
    /// Since the run began.
    after_us: u64,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = serde_json::Value)]
    data: Option<Box<RawValue>>,
    #[serde(flatten)]
    failure: Option<Failure>,
    cursor: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LoggedFailure)]
struct Failure {
    reason: FailureReason,
    /// Where in the script.
    #[schema(required)]
    line: Option<u32>,
    #[schema(required)]
    limit: Option<String>,
}

/// What was run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    script: ScriptId,
    version: VersionId,
}

impl From<&Started> for Origin {
    fn from(started: &Started) -> Self {
        Self { script: started.script, version: started.version }
    }
}

impl From<&Entry> for Origin {
    fn from(entry: &Entry) -> Self {
        Self { script: entry.script, version: entry.version }
    }
}

/// Whose run an event tells something of, for the events that become lines.
pub(super) const fn run_of(event: &Event) -> Option<InvocationId> {
    match event {
        Event::InvocationLogged(Logged { invocation, .. }) | Event::InvocationFailed(Failed { invocation, .. }) => {
            Some(*invocation)
        }
        _ => None,
    }
}

/// The lines that an event becomes, in the order in which they were written.
pub(super) fn lines(
    recorded: &Recorded,
    origin: Option<Origin>,
    wanted: &Wanted,
    app: Option<&App>,
    scope: &Scope,
) -> Vec<Line> {
    let is_of = |invocation| wanted.invocation.is_none_or(|only| only == invocation);
    let Some(invocation) = run_of(&recorded.event.event).filter(|&invocation| is_of(invocation)) else {
        return Vec::new();
    };
    if wanted.script.is_some_and(|script| origin.is_none_or(|origin| origin.script != script)) {
        return Vec::new();
    }
    let name = |script| app?.scripts.iter().find(|known| known.id == script).map(|known| known.name.clone());
    let make = |said: Said| Line {
        time: Time(recorded.at),
        level: said.level,
        script_name: origin.and_then(|origin| name(origin.script)),
        script: origin.map(|origin| origin.script),
        version: origin.map(|origin| origin.version),
        invocation,
        request_id: recorded.event.actor.request_id,
        after_us: said.after_us,
        message: said.message,
        data: said.data,
        failure: said.failure,
        cursor: scope.seal(recorded.position),
    };
    said(&recorded.event.event).into_iter().filter(|said| said.level >= wanted.level).map(make).collect()
}

/// A line's own part of it.
struct Said {
    level: LogLevel,
    after_us: u64,
    message: String,
    data: Option<Box<RawValue>>,
    failure: Option<Failure>,
}

fn said(event: &Event) -> Vec<Said> {
    match event {
        Event::InvocationLogged(logged) => {
            let own = logged.lines.iter().map(|line| Said {
                level: line.level,
                after_us: line.after_us,
                message: line.message.clone(),
                data: line.data.clone(),
                failure: None,
            });
            own.chain(cut(logged)).collect()
        }
        Event::InvocationFailed(failed) => vec![Said {
            level: LogLevel::Error,
            after_us: failed.duration_us,
            message: failed.message.clone(),
            data: None,
            failure: Some(Failure { reason: failed.reason, line: failed.line, limit: failed.limit.clone() }),
        }],
        _ => Vec::new(),
    }
}

/// That lines are missing is worth a line.
fn cut(logged: &Logged) -> Option<Said> {
    let dropped = match logged.dropped {
        0 => return None,
        1 => "one more line was".to_owned(),
        dropped => format!("{dropped} more lines were"),
    };
    Some(Said {
        level: LogLevel::Warn,
        after_us: logged.lines.last().map_or(0, |line| line.after_us),
        message: format!("{dropped} cut for being over the run's `max_log_bytes`"),
        data: None,
        failure: None,
    })
}
