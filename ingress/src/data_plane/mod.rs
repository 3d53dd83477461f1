//! The data plane: public HTTP to scripts.
//!
//! [`router`] answers everything on the data plane's port: Host → app → route → run, the platform's few own paths, and
//! every way in which that can fail. Where apps, keys and outcomes are kept is behind small traits, joined in the binary.

mod body;
mod body_memory;
mod call;
mod cookies;
mod cors;
mod credentials;
mod headers;
mod idempotency;
mod later;
mod lookup;
pub(crate) mod outcome;
mod rate;
mod service;
mod traced;

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State};
use picloud_core::{event::route::RateLimit, run::Invoker, trace::Tracer};

pub(crate) use call::Incoming;
pub use cookies::SESSION_COOKIES;
pub use credentials::Credentials;
pub(crate) use credentials::bearer;
pub use idempotency::{Begin, Outcomes, StoredOutcome};
pub use later::{Accepted, Later, Status};
pub use lookup::{App, Catalog, Route, Script, Snapshot};
pub(crate) use service::only_get;

use crate::health::{Health, Versions};

/// All that the data plane leans on.
#[derive(Clone)]
pub struct DataPlane {
    /// Which hosts, routes and scripts there are.
    pub catalog: Arc<dyn Catalog>,
    /// Runs scripts.
    pub invoker: Arc<dyn Invoker>,
    /// What idempotent requests came to.
    pub outcomes: Arc<dyn Outcomes>,
    /// What became of calls that were answered before they ran.
    pub later: Arc<dyn Later>,
    /// Who a bearer token is.
    pub credentials: Arc<dyn Credentials>,
    /// How the node is.
    pub health: Arc<dyn Health>,
    /// What `/version` answers.
    pub versions: Versions,
    /// Where this plane is reached, as links to it begin: no slash at the end.
    pub public_url: Arc<str>,
    /// What a request may cost.
    pub settings: Settings,
    /// Where its way is told.
    pub tracer: Tracer,
}

/// What a request may cost, beyond the limits of its script.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// A body must have come by then; each 64 KiB that have come give it another second.
    pub body_read_timeout: Duration,
    /// What the bodies of all requests may take together, from their first piece to the end of their run; beyond it 503.
    pub body_memory_bytes: usize,
    /// How often one address may call this node, whatever it calls. None: as often as it likes.
    pub rate_limit_per_address: Option<RateLimit>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { body_read_timeout: Duration::from_secs(30), body_memory_bytes: 256 << 20, rate_limit_per_address: None }
    }
}

/// The data plane as a router. Routes added to it win over the apps' own; only reserved paths may be.
pub fn router(plane: DataPlane) -> Router {
    let service = Arc::new(service::Service::new(plane));
    Router::new().fallback(service::handle).with_state::<()>(service)
}

type Served = State<Arc<service::Service>>;
