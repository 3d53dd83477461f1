//! What the data plane must know of apps, routes and scripts, as of one moment.

use std::{collections::HashMap, sync::Arc};

use picloud_core::{
    event::route::{Definition, RateLimit},
    id::{AppId, RouteId, ScriptId},
    routing::{HostMap, Table},
    run::Program,
};

/// Who keeps the [`Snapshot`] up to date.
pub trait Catalog: Send + Sync + 'static {
    /// The newest. Called for every request: no lock, no IO.
    fn snapshot(&self) -> Arc<Snapshot>;
}

/// All hosts and scripts. Never changed: a change makes another one.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Which app answers for a host.
    pub hosts: HostMap<Arc<App>>,
    /// Scripts that have an active version, of kind `endpoint`.
    pub scripts: HashMap<ScriptId, Script>,
}

/// An app as requests meet it.
#[derive(Debug)]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// Its name.
    pub slug: Arc<str>,
    /// Whether someone paused it: it answers 503.
    pub is_paused: bool,
    /// How often all callers together may call it.
    pub rate_limit: Option<RateLimit>,
    /// Its routes.
    pub routes: Table<Arc<Route>>,
}

/// A route as requests meet it.
#[derive(Debug)]
pub struct Route {
    /// Its id.
    pub id: RouteId,
    /// What it says.
    pub definition: Definition,
    /// What it runs; none while its script has no active version.
    pub program: Option<Arc<Program>>,
    /// Whether someone paused its script: who waits for an answer gets 503, what is put off waits.
    pub is_paused: bool,
}

/// A script that can be run by its id.
#[derive(Clone, Debug)]
pub struct Script {
    /// Whose it is.
    pub app: Arc<App>,
    /// Its active version.
    pub program: Arc<Program>,
    /// Whether someone paused it: it answers 503.
    pub is_paused: bool,
}
