//! The two planes on their addresses.

use std::{future::Future, net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::{
    Router,
    extract::{Request, State},
    response::Response,
};
use picloud_core::{
    limits::Limits,
    log::{read::Bound, schema},
    routing::normalise_host,
    trace::Tracer,
};
use picloud_ingress::{
    admin::{self, AdminPlane, Urls},
    data_plane::{self, Catalog, DataPlane, Settings},
    health::Versions,
    proxies::TrustedProxies,
    realtime::{self, RealtimeParts, StreamLimits},
    server::{self, ServerLimits},
};
use picloud_projections::travel::PastEntries;
use picloud_workers::sandbox;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::error;

use super::{
    Platform,
    joints::{AsyncCalls, Keys, Lookup, NodeHealth, StoredOutcomes},
    telemetry::Figures,
    traces,
};
use crate::config::{Config, ControlPlane};

/// What others see of what the planes do.
pub(super) struct Shown {
    /// Where requests are told.
    pub(super) tracer: Tracer,
    /// What becomes of that.
    pub(super) traces: traces::Counts,
}

/// The addresses, taken.
pub(super) struct Listeners {
    data: TcpListener,
    /// None when the control plane shares the data plane's under a host name of its own.
    control: Option<TcpListener>,
}

impl Listeners {
    /// Takes them.
    ///
    /// # Errors
    /// Which one is not to be had, and what to do.
    pub(super) async fn bind(config: &Config) -> anyhow::Result<Self> {
        let data = bind(config.listen, "--listen").await?;
        let control = match &config.control_plane {
            ControlPlane::Listen(address) => Some(bind(*address, "--admin-listen").await?),
            ControlPlane::Host(_) => None,
        };
        Ok(Self { data, control })
    }

    /// Which they are.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let all = [Some(&self.data), self.control.as_ref()].into_iter().flatten();
        all.filter_map(|listener| listener.local_addr().ok()).collect()
    }
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("failed to listen on {address}: is another service there? {flag} chooses another address")
    })
}

/// Serves until `stop` is cancelled and what had begun has ended; with at most so many connections at once.
pub(super) fn serve(
    config: &Config,
    platform: &Platform,
    listeners: Listeners,
    connections: usize,
    shown: Shown,
    stop: &CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let health = Arc::new(NodeHealth {
        committer: platform.committer.clone(),
        tail: platform.tail.clone(),
        views: platform.views.clone(),
        seals: platform.seals.clone(),
        setup: platform.setup.clone(),
        disk: platform.disk.clone(),
    });
    let figures = Arc::new(Figures::new(Arc::clone(&health), platform.database.clone(), shown.traces));
    tokio::spawn(Arc::clone(&figures).count(platform.tail.follow(platform.tail.position())));
    let versions = Versions {
        product: env!("CARGO_PKG_VERSION"),
        sdk: sandbox::SDK_VERSION,
        api: "v1",
        schema: schema::version(),
    };
    // Its task ends with the setup it follows.
    let (lookup, _) = Lookup::start(&platform.setup);
    let catalog: Arc<dyn Catalog> = Arc::new(lookup);
    // Its task ends with the node.
    let (realtime, _) = realtime::router(RealtimeParts {
        catalog: Arc::clone(&catalog),
        setup: platform.setup.clone(),
        committer: platform.committer.clone(),
        tail: platform.tail.clone(),
        reader: platform.reader.clone(),
        keyring: platform.keyring.clone(),
        history: platform.history,
        limits: StreamLimits::default(),
        stop: stop.clone(),
    });
    let data = data_plane::router(DataPlane {
        catalog,
        invoker: platform.invoker(),
        outcomes: Arc::new(StoredOutcomes {
            database: platform.database.clone(),
            node: platform.node,
            keyring: platform.keyring.clone(),
        }),
        later: Arc::new(AsyncCalls { database: platform.database.clone() }),
        credentials: Arc::new(Keys { setup: platform.setup.clone(), uses: platform.auth.key_uses.clone() }),
        health: Arc::clone(&health) as Arc<_>,
        versions,
        public_url: config.public_url.as_str().into(),
        settings: Settings::default(),
        tracer: shown.tracer,
    })
    .merge(realtime);
    let control = admin::router(AdminPlane {
        past_entries: PastEntries::new(platform.reader.clone()),
        setup: platform.setup.clone(),
        committer: platform.committer.clone(),
        node: platform.node,
        tail: platform.tail.clone(),
        reader: platform.reader.clone(),
        searching: Bound::PAGE,
        views: platform.views.clone(),
        pool: platform.database.clone(),
        auth: platform.auth.clone(),
        keyring: platform.keyring.clone(),
        history: platform.history,
        invoker: platform.invoker(),
        replayer: platform.replayer(),
        courier: platform.courier(),
        ceiling: Limits::CEILING,
        urls: Urls { public: config.public_url.clone(), admin: config.admin_url.clone() },
        versions,
        health,
        telemetry: figures,
        stop: stop.clone(),
    });
    let limits = ServerLimits { drain_timeout: super::DRAIN, ..ServerLimits::default() };
    let connections = connections.min(limits.max_connections);
    // With an address of their own a fifth is the operators': they have to get in also when the public fills all the rest.
    let (of_data, of_control) = (connections * 4 / 5, connections / 5);
    let proxies = TrustedProxies::new(&config.trusted_proxies);
    let one = |listener, router, max_connections, stop: CancellationToken| {
        let limits = ServerLimits { max_connections, ..limits };
        let served = server::serve(listener, router, limits, proxies.clone(), stop);
        async move {
            if let Err(error) = served.await {
                error!(%error, "A listener failed");
            }
        }
    };
    let (first, second) = match (listeners.control, &config.control_plane) {
        (Some(listener), _) => {
            let control = one(listener, control, of_control, stop.clone());
            (one(listeners.data, data, of_data, stop.clone()), Some(control))
        }
        (None, ControlPlane::Host(host)) => {
            (one(listeners.data, by_host(host, control, data), connections, stop.clone()), None)
        }
        (None, ControlPlane::Listen(_)) => (one(listeners.data, data, of_data, stop.clone()), None),
    };
    // Started here, not when somebody waits for their end.
    let first = tokio::spawn(first);
    let second = second.map(tokio::spawn);
    async move {
        // A listener's task does not panic; and then there is nothing left to stop.
        let _ = first.await;
        if let Some(second) = second {
            let _ = second.await;
        }
    }
}

#[derive(Clone)]
struct ByHost {
    host: Arc<str>,
    control: Router,
    data: Router,
}

/// Both planes behind one address: the control plane answers its own host name and no other.
fn by_host(host: &str, control: Router, data: Router) -> Router {
    async fn choose(State(planes): State<ByHost>, request: Request) -> Response {
        let named = request
            .uri()
            .authority()
            .map(|authority| authority.as_str())
            .or_else(|| request.headers().get(http::header::HOST)?.to_str().ok());
        let is_control = named.and_then(normalise_host).is_some_and(|named| *named == *planes.host);
        let plane = if is_control { planes.control } else { planes.data };
        plane.oneshot(request).await.unwrap_or_else(|never| match never {})
    }
    Router::new().fallback(choose).with_state(ByHost { host: host.into(), control, data })
}
