//! What an app is made of, as its developer writes it: `picloud.toml`, or a bare script.
//!
//! [`Manifest`] is what `POST …/deploy` takes. [`read`] makes one from a path; what is wrong with a file is told with
//! its line and the nearest known key.

mod error;
mod file;
mod route;
mod source;
mod topic;
mod trigger;

use std::collections::BTreeMap;

use picloud_core::{
    event::{
        route::{Cors, Mode, RateLimit},
        script::ScriptKind,
    },
    retry::RetryPolicy,
    run::Record,
    topic::Auth,
    trigger::Written,
};
use serde::Serialize;
use serde_json::{Map, Value};

pub use error::ManifestError;
pub use route::{InvalidRoute, RoutePattern};
pub use source::{FILE_NAME, Overrides, read};

/// An app, or a part of one, as it shall be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Manifest {
    /// Its slug.
    pub app: String,
    /// Whether it is made if it is not there.
    pub create_app: bool,
    /// Names that lead to it.
    pub hosts: Vec<String>,
    /// `ctx.env`; none: nothing is said of it, and what was set stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, String>>,
    /// Its scripts.
    pub scripts: Vec<Script>,
    /// Which events run them; none: nothing is said of that, and the triggers there are stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triggers: Option<Vec<Written>>,
    /// How messages are taken from its queues; none: nothing is said of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queues: Option<Vec<Queue>>,
    /// Who may listen to its topics from outside; none: nothing is said of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<Vec<Topic>>,
    /// Whether what is not named here goes.
    pub prune: bool,
}

/// One script of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Script {
    /// Unique in the app.
    pub name: String,
    /// What it is for.
    pub kind: ScriptKind,
    /// Rhai.
    pub source: String,
    /// What it asks for; the rest is by default.
    pub limits: Map<String, Value>,
    /// What leads to it.
    pub routes: Vec<Route>,
    /// What leads to it if nothing does yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub default_routes: Vec<Route>,
    /// What the deployer says of this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// One route to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Route {
    /// None is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// `/greet`, `/users/:id` or `/files/*`.
    pub path: String,
    /// None is any of the app's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Whether the caller waits.
    pub mode: Mode,
    /// What is kept of requests and answers.
    pub record: Record,
    /// Who else may call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// How often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// How patiently a call is tried whose caller does not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
}

/// What is said of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// How many of its messages each consumer works on at once; none is as many as there is room for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
}

/// What is said of a topic, or of all below one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Topic {
    /// A topic, `prefix.*` or `*`.
    pub name: String,
    /// Whether it can be listened to from outside.
    pub external: bool,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
}

#[cfg(test)]
mod tests;
