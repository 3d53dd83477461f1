//! What a run came to, as HTTP.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use picloud_core::{
    event::FailureReason,
    id::InvocationId,
    run::{Answer, Failure, Finished, Unavailable},
};

use super::headers;
use crate::{
    problem::{Kind, Problem},
    request_id,
};

const INVOCATION: HeaderName = HeaderName::from_static("x-picloud-invocation");
const OUTBOX: HeaderName = HeaderName::from_static("x-picloud-outbox");
const REPEATED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A script's answer and whose it is.
#[derive(Debug)]
pub(super) struct Reply {
    /// None when the run is still owed.
    pub(super) invocation: Option<InvocationId>,
    pub(super) answer: Answer,
    /// Whether it was given before, to an earlier request under the same idempotency key.
    pub(super) is_repeated: bool,
}

/// How an answer is to be shaped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) is_head: bool,
    /// Whether the platform speaks for the script about other origins.
    pub(super) has_cors: bool,
}

/// Whether the outcome stays under its idempotency key: what failed, on our side or the script's, may be tried again.
pub(super) fn is_kept(end: &Result<Finished, Unavailable>) -> bool {
    matches!(end, Ok(Finished { result: Ok(answer), .. }) if answer.status < 500)
}

/// The script's answer, or the problem that there is none.
pub(super) fn reply(invocation: InvocationId, end: Result<Finished, Unavailable>) -> Result<Reply, Problem> {
    match end {
        Ok(Finished { result: Ok(answer), .. }) => {
            Ok(Reply { invocation: Some(invocation), answer, is_repeated: false })
        }
        Ok(Finished { result: Err(failure), .. }) => Err(failed(failure).invocation(invocation)),
        Err(unavailable) => Err(not_run(invocation, &unavailable)),
    }
}

/// Why a run never began or its end is not known.
pub(crate) fn not_run(invocation: InvocationId, why: &Unavailable) -> Problem {
    match why {
        Unavailable::Busy => {
            let detail = "too many runs are waiting; nothing was run, try again shortly";
            Problem::new(Kind::QueueFull, detail).retry_after(1)
        }
        Unavailable::ShuttingDown => {
            let detail = "this node is shutting down; nothing was run, try again shortly";
            Problem::new(Kind::ShuttingDown, detail).retry_after(2)
        }
        Unavailable::Log | Unavailable::Unleased => Problem::unavailable(why).invocation(invocation),
    }
}

/// Why a run ended badly.
pub(crate) fn failed(failure: Failure) -> Problem {
    // Whether to try again is the caller's to say: nobody does it for whoever waits for the answer.
    let Failure { reason, message, line, column, limit, retry: _ } = failure;
    let kind = match reason {
        FailureReason::Threw => Kind::ScriptThrew,
        FailureReason::KvNotANumber => Kind::KvNotANumber,
        FailureReason::Forbidden => Kind::Forbidden,
        FailureReason::BadInput => Kind::InvalidInput,
        FailureReason::BadResponse => Kind::BadResponse,
        FailureReason::TimedOut => Kind::TimedOut,
        FailureReason::OverOperations => Kind::OverOperations,
        FailureReason::OverMemory => Kind::OverMemory,
        FailureReason::OverLimit => Kind::OverLimit,
        FailureReason::Conflict => Kind::Conflict,
        FailureReason::Cancelled => Kind::Cancelled,
        FailureReason::Abandoned => Kind::Abandoned,
    };
    let mut problem = Problem::new(kind, message);
    if let Some(limit) = limit {
        problem = problem.limit(limit);
    }
    if let Some(line) = line {
        problem = problem.with("line", line);
    }
    if let Some(column) = column {
        problem = problem.with("column", column);
    }
    if kind.status() == StatusCode::SERVICE_UNAVAILABLE {
        problem = problem.retry_after(1);
    }
    problem
}

/// The answer as it goes out.
pub(super) fn respond(reply: Reply, shape: Shape) -> Result<Response, Problem> {
    let Reply { invocation, answer: Answer { status, headers, body }, is_repeated } = reply;
    let malformed = |detail: String| {
        let problem = Problem::new(Kind::BadResponse, detail);
        if let Some(invocation) = invocation { problem.invocation(invocation) } else { problem }
    };
    // 1xx are not answers: more would have to follow.
    let code = StatusCode::from_u16(status)
        .ok()
        .filter(|code| (200..600).contains(&code.as_u16()))
        .ok_or_else(|| malformed(format!("the script answered status {status}: allowed is 200 to 599")))?;
    let mut response = Response::default();
    *response.status_mut() = code;
    // The platform's own word, which scripts may not use.
    let owed = headers.iter().find(|(name, _)| invocation.is_none() && *name == OUTBOX.as_str());
    let owed = owed.and_then(|(_, item)| HeaderValue::from_str(item).ok());
    headers::from_script(headers, &mut response, shape.has_cors)
        .ok_or_else(|| malformed("the script answered a header whose name or value cannot be sent".to_owned()))?;
    let has_body = !matches!(code, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    if shape.is_head && has_body {
        response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
    }
    if has_body && !shape.is_head && !body.is_empty() {
        *response.body_mut() = Body::from(body);
    }
    response.headers_mut().extend(owed.map(|item| (OUTBOX, item)));
    if let Some(invocation) = invocation {
        response.headers_mut().insert(INVOCATION, request_id::value(invocation));
    }
    if is_repeated {
        response.headers_mut().insert(REPEATED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// A problem told through a response to `HEAD` says its length and keeps its body to itself.
pub(super) fn told(problem: Problem, is_head: bool) -> Response {
    let mut response = problem.into_response();
    if is_head {
        if let Some(length) = axum::body::HttpBody::size_hint(response.body()).exact() {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        *response.body_mut() = Body::from(Bytes::new());
    }
    response
}
