//! What went wrong, as clients are told: RFC 9457 `application/problem+json`.
//!
//! `type` is the relative reference `/problems/{name}`, stable for ever; [`Kind`] lists them all. The status is decided
//! there, the answer is made in the one `IntoResponse` here. Internals are logged in it, once, and never told.

use std::{borrow::Cow, error::Error};

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use picloud_core::{
    causes::with_causes,
    id::{InvocationId, RequestId},
};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::request_id;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $status:literal, $name:literal, $title:literal;)*) => {
        /// What kind of problem it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The `type`.
            #[must_use]
            pub const fn reference(self) -> &'static str {
                match self { $(Self::$variant => concat!("/problems/", $name),)* }
            }

            /// The `title`, the same for all problems of the kind.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                let code = match self { $(Self::$variant => $status,)* };
                match StatusCode::from_u16(code) {
                    Ok(status) => status,
                    Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
                }
            }
        }
    };
}

kinds! {
    /// The request is not HTTP as it should be.
    BadRequest = 400, "bad-request", "Bad request";
    /// Credentials are missing or not good.
    Unauthorized = 401, "unauthorized", "Not signed in";
    /// A password alone is not enough for this account.
    SecondFactorNeeded = 401, "second-factor-needed", "Second factor needed";
    /// The caller may see this but not do it.
    Forbidden = 403, "forbidden", "Not allowed";
    /// Nothing is there, or nothing the caller may see.
    NotFound = 404, "not-found", "Not found";
    /// No app answers for the host.
    UnknownHost = 404, "unknown-host", "Unknown host";
    /// The path exists, the method does not.
    MethodNotAllowed = 405, "method-not-allowed", "Method not allowed";
    /// The body did not come in time.
    RequestTimeout = 408, "request-timeout", "Request not received in time";
    /// What the run read kept changing, or what is to be changed is not as the caller thinks.
    Conflict = 409, "conflict", "Conflict";
    /// It cannot be taken back: what it would do is told, and it is to be asked for again, in full.
    ConfirmationNeeded = 409, "confirmation-needed", "Confirmation needed";
    /// The first request under this idempotency key is not done.
    IdempotencyInFlight = 409, "idempotency-in-flight", "Request still in flight";
    /// The first request under this idempotency key is done, its answer was too large to keep.
    IdempotencyNotKept = 409, "idempotency-not-kept", "First answer not kept";
    /// What is to be changed was changed since the client read it.
    PreconditionFailed = 412, "precondition-failed", "Changed meanwhile";
    /// A body is over its limit.
    BodyTooLarge = 413, "body-too-large", "Body too large";
    /// The body is of a type that is not read here.
    UnsupportedMediaType = 415, "unsupported-media-type", "Unsupported media type";
    /// What was sent is understood and wrong.
    InvalidInput = 422, "invalid-input", "Invalid input";
    /// A script's source cannot be run; the diagnostics say where and why.
    InvalidScript = 422, "invalid-script", "Invalid script";
    /// Another request was made under this idempotency key.
    IdempotencyMismatch = 422, "idempotency-mismatch", "Idempotency key used for another request";
    /// Too often.
    RateLimited = 429, "rate-limited", "Too many requests";
    /// The script threw.
    ScriptThrew = 500, "script-threw", "Script failed";
    /// The script increased what is no integer.
    KvNotANumber = 500, "kv-not-a-number", "Not a number";
    /// Ours.
    Internal = 500, "internal", "Internal error";
    /// What the script answered is no response.
    BadResponse = 502, "bad-response", "Malformed response from the script";
    /// Too many runs wait already.
    QueueFull = 503, "queue-full", "Too many runs are waiting";
    /// Someone paused the app.
    AppPaused = 503, "app-paused", "App paused";
    /// Someone paused the script.
    ScriptPaused = 503, "script-paused", "Script paused";
    /// The route's script has no version to run.
    NoActiveVersion = 503, "no-active-version", "Script has no active version";
    /// The run was ended from outside.
    Cancelled = 503, "cancelled", "Run cancelled";
    /// The node went away during the run.
    Abandoned = 503, "abandoned", "Run abandoned";
    /// The node is going away.
    ShuttingDown = 503, "shutting-down", "Shutting down";
    /// The database is away.
    Unavailable = 503, "unavailable", "Temporarily unavailable";
    /// The run was not done in time.
    TimedOut = 504, "timed-out", "Script timed out";
    /// The run took more steps than it may.
    OverOperations = 507, "over-operations", "Operation budget used up";
    /// The run held more memory than it may.
    OverMemory = 507, "over-memory", "Memory budget used up";
    /// The run passed another of its limits.
    OverLimit = 507, "over-limit", "Limit passed";
    /// There is no more room.
    StorageFull = 507, "storage-full", "Storage full";
}

/// A problem, ready to be told. Small on the stack: it is the rare half of every `Result`.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    kind: Kind,
    detail: Cow<'static, str>,
    request_id: Option<RequestId>,
    invocation_id: Option<InvocationId>,
    field: Option<Cow<'static, str>>,
    limit: Option<Cow<'static, str>>,
    members: Map<String, Value>,
    retry_after_s: Option<u64>,
    allow: Option<String>,
    cause: Option<String>,
}

#[derive(Serialize)]
struct Body<'p> {
    #[serde(rename = "type")]
    reference: &'static str,
    title: &'static str,
    status: u16,
    detail: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<RequestId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invocation_id: Option<InvocationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'p str>,
    #[serde(flatten)]
    members: &'p Map<String, Value>,
}

impl Problem {
    /// A problem of a kind; the detail says what was wrong, with which value, and what to do.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            kind,
            detail: detail.into(),
            request_id: None,
            invocation_id: None,
            field: None,
            limit: None,
            members: Map::new(),
            retry_after_s: None,
            allow: None,
            cause: None,
        }))
    }

    /// A failure of our own: logged with its causes, told as `internal error`.
    pub fn internal(error: &(dyn Error + 'static)) -> Self {
        let mut problem = Self::new(Kind::Internal, "internal error");
        problem.0.cause = Some(with_causes(error));
        problem
    }

    /// The database is away: logged, and told as something to be tried again.
    pub fn unavailable(error: &(dyn Error + 'static)) -> Self {
        let detail = "the database cannot be reached; try again shortly";
        let mut problem = Self::new(Kind::Unavailable, detail).retry_after(1);
        problem.0.cause = Some(with_causes(error));
        problem
    }

    /// Which part of the input is wrong.
    #[must_use]
    pub fn field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Which limit was passed, by its name.
    #[must_use]
    pub fn limit(mut self, limit: impl Into<Cow<'static, str>>) -> Self {
        self.0.limit = Some(limit.into());
        self
    }

    /// When to try again, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// Which methods there are.
    #[must_use]
    pub fn allow(mut self, allow: impl ToString) -> Self {
        self.0.allow = Some(allow.to_string());
        self
    }

    /// The request that met it. Handlers under [`request_id::name`] need not say.
    #[must_use]
    pub fn request(mut self, request: RequestId) -> Self {
        self.0.request_id = Some(request);
        self
    }

    /// The run that met it.
    #[must_use]
    pub fn invocation(mut self, invocation: InvocationId) -> Self {
        self.0.invocation_id = Some(invocation);
        self
    }

    /// A member of its own, such as a list of diagnostics. What cannot be JSON is left out.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Serialize) -> Self {
        if let Ok(value) = serde_json::to_value(value) {
            self.0.members.insert(member.to_owned(), value);
        }
        self
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What it says.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// As JSON, for a problem that is part of an answer rather than the answer.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self.0.body(self.0.request_id)).expect("problems are plain data")
    }
}

impl Parts {
    fn body(&self, request_id: Option<RequestId>) -> Body<'_> {
        Body {
            reference: self.kind.reference(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            request_id,
            invocation_id: self.invocation_id,
            field: self.field.as_deref(),
            limit: self.limit.as_deref(),
            members: &self.members,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let parts = self.0;
        let request_id = parts.request_id.or_else(request_id::current);
        if let Some(cause) = &parts.cause {
            let id = request_id.map(tracing::field::display);
            tracing::error!(request.id = id, error = %cause, "Failed to answer a request");
        }
        let json = serde_json::to_vec(&parts.body(request_id)).expect("problems are plain data");
        let mut response = (parts.kind.status(), json).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = parts.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(allow) = parts.allow.and_then(|allow| HeaderValue::try_from(allow).ok()) {
            headers.insert(header::ALLOW, allow);
        }
        if parts.kind == Kind::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(invocation) = parts.invocation_id {
            headers.insert("x-picloud-invocation", request_id::value(invocation));
        }
        response
    }
}
