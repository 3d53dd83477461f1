//! How the interpreter's errors read to the author of a script.

use picloud_core::{event::FailureReason, run::Failure};
use rhai::{Dynamic, EvalAltResult, Position};

use super::{
    input::Ended,
    meter::Over,
    sdk::retry,
    value::{Kind, show},
};

/// The longest message that is kept of what a script threw.
const MAX_MESSAGE_BYTES: usize = 4096;

/// The end of a run that was over before it was done.
pub(super) fn over(over: Over, position: Position) -> Ended {
    let (reason, message, limit) = match over {
        Over::Conflict => return Ended::Conflict,
        Over::Unavailable => return Ended::Unavailable,
        Over::TimedOut => (FailureReason::TimedOut, "the run took longer than it may".to_owned(), Some("timeout_ms")),
        Over::Operations => {
            let message = "the run took more operations than it may".to_owned();
            (FailureReason::OverOperations, message, Some("max_operations"))
        }
        Over::Memory => {
            let message = "the run used more memory than it may".to_owned();
            (FailureReason::OverMemory, message, Some("max_memory_bytes"))
        }
        Over::Limit { name, message } => (FailureReason::OverLimit, message, Some(name)),
        Over::NotANumber(message) => (FailureReason::KvNotANumber, message, None),
        Over::Diverged(message) => (FailureReason::Conflict, message, None),
        Over::Forbidden(message) => (FailureReason::Forbidden, message, None),
        Over::Cancelled => (FailureReason::Cancelled, "the run was cancelled".to_owned(), None),
    };
    Ended::Failed(placed(reason, message, position, limit))
}

/// The end of a run whose script threw, or did what cannot be done.
pub(super) fn thrown(error: &EvalAltResult) -> Failure {
    let (innermost, position) = innermost(error);
    match innermost {
        EvalAltResult::ErrorStackOverflow(_) => {
            let message = "functions call each other too deep".to_owned();
            placed(FailureReason::OverLimit, message, position, Some("max_call_depth"))
        }
        EvalAltResult::ErrorRuntime(value, _) => {
            let failure = placed(FailureReason::Threw, thrown_text(value), position, None);
            Failure { retry: retry::hint(value), ..failure }
        }
        other => placed(FailureReason::Threw, cut(&without_position(other)), position, None),
    }
}

/// A failure of ours: the details are in the service's own log.
pub(super) fn internal() -> Failure {
    placed(FailureReason::Threw, "internal error".to_owned(), Position::NONE, None)
}

/// Where an error happened: in the script's text, not where the function that failed was called from.
pub(super) fn innermost(error: &EvalAltResult) -> (&EvalAltResult, Position) {
    let mut error = error;
    let mut position = error.position();
    while let EvalAltResult::ErrorInFunctionCall(_, _, inner, _) | EvalAltResult::ErrorInModule(_, inner, _) = error {
        error = inner;
        if !error.position().is_none() {
            position = error.position();
        }
    }
    (error, position)
}

fn thrown_text(value: &Dynamic) -> String {
    match Kind::of(value) {
        Kind::Unit => "the script threw".to_owned(),
        _ => cut(&show::to_text(value)),
    }
}

/// The interpreter's own words, without the position that it appends: that has fields of its own.
fn without_position(error: &EvalAltResult) -> String {
    let text = error.to_string();
    let position = error.position();
    if position.is_none() {
        return text;
    }
    text.strip_suffix(&format!(" ({position})")).map_or(text.clone(), ToOwned::to_owned)
}

fn cut(text: &str) -> String {
    if text.len() <= MAX_MESSAGE_BYTES {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(MAX_MESSAGE_BYTES)])
}

fn placed(reason: FailureReason, message: String, position: Position, limit: Option<&'static str>) -> Failure {
    let line = position.line().and_then(|line| u32::try_from(line).ok());
    let column = position.position().and_then(|column| u32::try_from(column).ok());
    Failure { reason, message, line, column, limit, retry: None }
}
