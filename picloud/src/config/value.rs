//! The configuration as the service uses it.

use std::{fmt, net::SocketAddr, path::PathBuf};

use chrono::TimeDelta;
use http::HeaderMap;
use ipnet::IpNet;
use picloud_workers::mail;
use reqwest::Url;

use crate::lasting;

/// Everything that was decided before the start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the data plane listens.
    pub listen: SocketAddr,
    /// Where the control plane is.
    pub control_plane: ControlPlane,
    /// Where database, files and keys lie.
    pub data_dir: PathBuf,
    /// Which PostgreSQL.
    pub database: Database,
    /// How the world reaches the data plane; without a slash at the end.
    pub public_url: String,
    /// How people reach the control plane; without a slash at the end.
    pub admin_url: String,
    /// What this node does.
    pub role: Role,
    /// The key that other keys are encrypted with.
    pub master_key_file: PathBuf,
    /// How long what ran is kept.
    pub keep_runs: KeptFor,
    /// How long what was stored can be looked back at.
    pub keep_data: KeptFor,
    /// Where what was kept for long enough is written to before it goes, if anywhere.
    pub archive_dir: Option<PathBuf>,
    /// Which server takes mail, and from whom it is; without it none is sent.
    pub mail: Option<mail::Settings>,
    /// A tracing filter.
    pub log: String,
    /// For whom the log is written.
    pub log_format: LogFormat,
    /// Where traces go, if anywhere.
    pub otlp: Option<Otlp>,
    /// The proxies whose `x-forwarded-for` counts.
    pub trusted_proxies: Vec<IpNet>,
}

/// How long something is kept; none is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptFor(pub Option<TimeDelta>);

impl fmt::Display for KeptFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.map_or_else(|| "forever".to_owned(), lasting::written))
    }
}

/// Where traces go, over OTLP with HTTP.
#[derive(Clone, Debug)]
pub struct Otlp {
    /// Where the collector is; `/v1/traces` is put behind it.
    pub endpoint: Url,
    /// What it is sent besides.
    pub headers: SecretHeaders,
    /// Which part of all traces, from 0 to 1.
    pub ratio: f64,
    /// `service.name`.
    pub service_name: Option<String>,
    /// What else is said of this service.
    pub attributes: Vec<(String, String)>,
}

/// Headers that hold keys. They show in no form of print.
#[derive(Clone, Default)]
pub struct SecretHeaders(pub(super) HeaderMap);

impl SecretHeaders {
    /// To be sent.
    #[must_use]
    pub const fn expose(&self) -> &HeaderMap {
        &self.0
    }
}

impl fmt::Debug for SecretHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(super::parse::MASK)
    }
}

impl fmt::Display for SecretHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Where the control plane is: never where scripts answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlPlane {
    /// At an address of its own.
    Listen(SocketAddr),
    /// At the data plane's address, under a host name of its own.
    Host(String),
}

/// Which PostgreSQL.
#[derive(Clone, Debug)]
pub enum Database {
    /// Our own, under the data directory.
    Embedded,
    /// One that runs elsewhere.
    Url {
        /// For everything but what follows.
        url: DatabaseUrl,
        /// For LISTEN and the committer, which need a connection of their own.
        listen: DatabaseUrl,
    },
}

/// A connection URL; it can hold a password, which shows in neither form of print.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    pub(super) fn new(url: String) -> Self {
        Self(url)
    }

    /// With its password, to connect with.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::parse::masked(&self.0))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    All,
    /// The control plane and the leader's work.
    Manager,
    /// HTTP, realtime and dispatch.
    Orchestrator,
    /// Running scripts.
    Executor,
}

impl Role {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::All, Self::Manager, Self::Orchestrator, Self::Executor];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Manager => "manager",
            Self::Orchestrator => "orchestrator",
            Self::Executor => "executor",
        }
    }
}

/// For whom the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// People.
    Text,
    /// Programs.
    Json,
}

impl LogFormat {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}
