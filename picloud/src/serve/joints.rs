//! Where crates that do not know each other meet: what the data plane asks for, answered by what the node has.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arc_swap::ArcSwap;
use chrono::{TimeDelta, Utc};
use futures::{FutureExt as _, future::BoxFuture};
use picloud_core::{
    alert::Space,
    event::script::ScriptKind,
    id::{AppId, OutboxId},
    keys::Keyring,
    log::{Committer, IdempotencyClaim, Node, Seals, Tail, TailHealth, idempotency},
    policy::Principal,
    routing::{HostMap, HostPattern, Pattern, Table},
};
use picloud_ingress::{
    auth::KeyUses,
    data_plane::{
        self, Accepted, Begin, Catalog, Credentials, Later, Outcomes, Script, Snapshot, Status, StoredOutcome,
    },
    health::{Health, Readiness},
    problem::Problem,
};
use picloud_projections::{
    outbox,
    setup::{self, LiveSetup, OutboxPause, Setup},
    views::Views,
};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tokio::{sync::watch, task::JoinHandle};
use tracing::warn;

/// Hosts, routes and scripts for the data plane: made anew whenever the setup changes.
pub(super) struct Lookup(Arc<ArcSwap<Snapshot>>);

impl Lookup {
    /// Starts following the setup.
    pub(super) fn start(setup: &LiveSetup) -> (Self, JoinHandle<()>) {
        let mut changes = setup.watch();
        let newest = Arc::new(ArcSwap::from_pointee(snapshot(&setup.get())));
        let (lookup, setup) = (Self(Arc::clone(&newest)), setup.clone());
        let task = tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                newest.store(Arc::new(snapshot(&setup.get())));
            }
        });
        (lookup, task)
    }
}

impl Catalog for Lookup {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }
}

fn snapshot(setup: &Setup) -> Snapshot {
    let mut hosts = HostMap::default();
    let mut scripts = HashMap::new();
    for app in setup.apps.values() {
        let served = Arc::new(served(app));
        for domain in &app.domains {
            match HostPattern::parse(Some(&domain.host)) {
                Ok(pattern) => _ = hosts.insert(pattern, Arc::clone(&served)),
                Err(error) => {
                    warn!(%error, domain.id = %domain.id, "A stored host name cannot be read: it leads nowhere");
                }
            }
        }
        for script in app.scripts.iter().filter(|script| script.kind == ScriptKind::Endpoint) {
            if let Some(active) = &script.active {
                let (app, program) = (Arc::clone(&served), Arc::clone(&active.program));
                let found = Script { app, program, is_paused: script.is_paused };
                scripts.insert(script.id, found);
            }
        }
    }
    Snapshot { hosts, scripts }
}

fn served(app: &setup::App) -> data_plane::App {
    let programs: HashMap<_, _> =
        app.scripts.iter().filter_map(|script| Some((script.id, &script.active.as_ref()?.program))).collect();
    let paused: HashSet<_> = app.scripts.iter().filter(|script| script.is_paused).map(|script| script.id).collect();
    let routes = app.routes.iter().filter_map(|route| {
        let pattern = Pattern::try_from(&route.definition)
            .inspect_err(|error| warn!(%error, route.id = %route.id, "A stored route cannot be read: it leads nowhere"))
            .ok()?;
        let program = programs.get(&route.definition.script).map(|program| Arc::clone(program));
        let is_paused = paused.contains(&route.definition.script);
        let served = data_plane::Route { id: route.id, definition: route.definition.clone(), program, is_paused };
        Some((route.id, pattern, Arc::new(served)))
    });
    data_plane::App {
        id: app.id,
        slug: Arc::clone(&app.slug),
        is_paused: app.is_paused,
        rate_limit: None,
        routes: Table::build(routes),
    }
}

/// API keys, from the setup in memory.
pub(super) struct Keys {
    pub setup: LiveSetup,
    pub uses: KeyUses,
}

impl Credentials for Keys {
    fn check(&self, bearer: &str) -> Option<Principal> {
        let hash: [u8; 32] = Sha256::digest(bearer.as_bytes()).into();
        let principal = self.setup.get().principal(&hash, Utc::now());
        if let Some(Principal::ApiKey { key, .. }) = &principal {
            self.uses.note(*key);
        }
        principal
    }
}

/// What idempotent requests came to, from the database.
pub(super) struct StoredOutcomes {
    pub database: PgPool,
    pub node: Node,
    pub keyring: Keyring,
}

impl Outcomes for StoredOutcomes {
    fn begin(&self, app: AppId, scope: [u8; 32], fingerprint: [u8; 32]) -> BoxFuture<'static, Result<Begin, Problem>> {
        let (database, node, keyring) = (self.database.clone(), self.node, self.keyring.clone());
        async move {
            let begun = idempotency::begin(&database, &node, app, scope, fingerprint).await;
            let sealed = match begun.map_err(|error| Problem::unavailable(&error))? {
                idempotency::Begin::Fresh(claim) => return Ok(Begin::Fresh(claim)),
                idempotency::Begin::InFlight => return Ok(Begin::InFlight),
                idempotency::Begin::Mismatch => return Ok(Begin::Mismatch),
                idempotency::Begin::Done(sealed) => sealed,
            };
            let key = keyring.app(app).await.map_err(|error| Problem::unavailable(&error))?;
            let kept = idempotency::open(&key, &scope, &sealed).map_err(|error| Problem::unavailable(&error))?;
            Ok(Begin::Done(StoredOutcome {
                invocation: kept.invocation,
                status: kept.status,
                body: kept.body(),
                headers: kept.headers,
            }))
        }
        .boxed()
    }

    fn release(&self, claim: IdempotencyClaim) -> BoxFuture<'static, ()> {
        let database = self.database.clone();
        async move {
            if let Err(error) = idempotency::release(&database, &claim).await {
                // It expires by itself.
                warn!(%error, "Failed to free an idempotency key");
            }
        }
        .boxed()
    }
}

/// What became of calls that were answered before they ran, from the database.
pub(super) struct AsyncCalls {
    pub database: PgPool,
}

impl Later for AsyncCalls {
    fn find(&self, item: OutboxId) -> BoxFuture<'static, Result<Option<Accepted>, Problem>> {
        let database = self.database.clone();
        async move {
            let found = outbox::find(&database, item).await.map_err(|error| Problem::unavailable(&error))?;
            Ok(found.map(accepted))
        }
        .boxed()
    }
}

fn accepted(item: outbox::Pending) -> Accepted {
    let (state, ended_at) = match item.ended {
        Some((outcome, at)) => (outcome, Some(at)),
        None => (if item.is_running { "running" } else { "waiting" }.to_owned(), None),
    };
    let failed = item.failed.len();
    Accepted {
        status: Status {
            outbox_id: item.id,
            accepted_at: item.enqueued_at,
            attempts: failed + usize::from(state == "delivered" || state == "dead"),
            last_error: item.last_error,
            next_attempt_at: (state == "waiting" && failed > 0).then_some(item.due_at),
            ended_at,
            state,
        },
        actor: item.actor,
        token_hash: item.token_hash,
    }
}

/// How the node is, from memory.
pub(super) struct NodeHealth {
    pub committer: Committer,
    pub tail: Tail,
    pub views: Views,
    pub seals: Seals,
    pub setup: LiveSetup,
    pub disk: watch::Receiver<Option<Space>>,
}

/// So far behind, what lists show is worth a warning.
const TOO_OLD: TimeDelta = TimeDelta::seconds(10);

impl Health for NodeHealth {
    fn readiness(&self) -> Readiness {
        let mut readiness = Readiness::default();
        if self.committer.is_stuck() {
            readiness
                .unready
                .push("the log cannot be written: the database is away or the log is held by another".into());
        }
        if self.committer.is_revoked() {
            readiness.unready.push("this node lost its right to write and must be restarted".into());
        }
        match self.tail.health() {
            TailHealth::Listening => {}
            TailHealth::Polling => readiness.degraded.push("polling instead of LISTEN".into()),
            TailHealth::Parked => readiness.degraded.push("an event of a newer version stops this node's tail".into()),
        }
        let now = Utc::now();
        for standing in self.views.standings() {
            let lag = standing.lag(now);
            if standing.parked().is_some() {
                readiness
                    .degraded
                    .push(format!("the view `{}` stands still: `GET /api/v1/admin/views` tells why", standing.view));
            } else if lag > TOO_OLD {
                readiness.degraded.push(format!("the view `{}` is {} s behind", standing.view, lag.num_seconds()));
            }
        }
        if let Some(trouble) = self.seals.trouble() {
            readiness.degraded.push(format!("the log is not sealed: {trouble}"));
        }
        if let Some(Space { available_bytes, size_bytes, is_short: true }) = *self.disk.borrow() {
            let (free, all) = (available_bytes >> 20, size_bytes >> 20);
            readiness.degraded.push(format!("the disk is nearly full: {free} MiB of {all} MiB are free"));
        }
        let OutboxPause { is_paused, reason, .. } = &self.setup.get().outbox;
        if *is_paused {
            let why = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            readiness.degraded.push(format!(
                "the outbox is paused{why}, nothing that is owed runs: `picloud outbox resume` lets it go on"
            ));
        }
        readiness
    }
}
