//! Routes: which request runs which script.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    id::{RouteId, ScriptId},
    retry::RetryPolicy,
    run::Record,
};

/// Whether the caller waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The answer is the script's.
    #[default]
    Sync,
    /// The answer is 202; the script runs after it.
    Async,
}

/// Which pages of other origins may call a route. Absent: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cors {
    /// Origins as browsers send them, or `*`.
    pub origins: Vec<String>,
    /// Request headers beyond the safelisted ones.
    pub headers: Vec<String>,
    /// Whether cookies and authorization may come along; not with `*`.
    pub credentials: bool,
    /// How long a browser may remember a preflight's answer, in seconds.
    pub max_age_s: u32,
}

/// How often a route may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Calls a second, in the long run.
    pub per_second: u32,
    /// Calls at once. 0: the same as `per_second`.
    #[serde(default)]
    pub burst: u32,
}

/// All that a route says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// `GET` or the like; none is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// `shop.example.com` or `*.example.com`; none is any host of the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `/greet`, `/users/:id` or `/files/*`.
    pub path: String,
    /// What it runs.
    pub script: ScriptId,
    /// Whether the caller waits.
    #[serde(default)]
    pub mode: Mode,
    /// What is kept of what comes and goes.
    #[serde(default)]
    pub record: Record,
    /// Who else may call.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::tolerant::cors")]
    pub cors: Option<Cors>,
    /// How often all callers together may call.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::tolerant::rate_limit")]
    pub rate_limit: Option<RateLimit>,
    /// How often one address may call.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::tolerant::rate_limit")]
    pub rate_limit_per_address: Option<RateLimit>,
    /// How patiently a call that is answered before it runs is tried; none is the usual patience.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::tolerant::maybe_retry")]
    pub retry: Option<RetryPolicy>,
}

/// A route came to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The route.
    pub route: RouteId,
    /// What it says.
    #[serde(flatten)]
    pub definition: Definition,
}

impl Bound {
    pub(super) fn subject(&self) -> String {
        self.route.to_string()
    }
}

/// A route says something else now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updated {
    /// The route.
    pub route: RouteId,
    /// All that it says now.
    #[serde(flatten)]
    pub definition: Definition,
}

impl Updated {
    pub(super) fn subject(&self) -> String {
        self.route.to_string()
    }
}

/// A route went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unbound {
    /// The route.
    pub route: RouteId,
}

impl Unbound {
    pub(super) fn subject(&self) -> String {
        self.route.to_string()
    }
}
