//! The same data plane, sandbox and script, with another way of keeping what happened: none at all, or one transaction a
//! request that takes the log's lock and notifies.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use futures::{FutureExt as _, future::BoxFuture};
use picloud_core::{
    event::route::{Definition, Mode},
    id::{AppId, DeadLetterId, EventId, OutboxId, RouteId, ScriptId, VersionId},
    limits::Limits,
    log::IdempotencyClaim,
    policy::Principal,
    routing::{HostMap, HostPattern, Pattern, Table},
    run::{Call, Diagnostic, Failure, Finished, Invoker, Owed, Program, Record, Rights, Unavailable},
    trace::Tracer,
};
use picloud_ingress::{
    data_plane::{
        self, Accepted, App, Begin, Catalog, Credentials, DataPlane, Later, Outcomes, Route, Settings, Snapshot,
    },
    health::{Health, Readiness, Versions},
    problem::Problem,
    proxies::TrustedProxies,
    server::{self, ServerLimits},
};
use picloud_workers::{
    http::{Answer, Request},
    pool::{self, Pool},
    sandbox::{Data, DataError, Ended, Input, KvPage, LetterPage, LetterQuery, Report, Sandbox},
};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::{net::TcpListener, sync::oneshot};
use tokio_util::sync::CancellationToken;

#[derive(Args)]
pub struct Arguments {
    variant: Variant,
    #[arg(long)]
    port: u16,
    #[arg(long)]
    database_url: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Variant {
    /// Nothing is kept.
    NoLog,
    /// Each request is a transaction of its own.
    TransactionARequest,
}

pub async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let database = match arguments.variant {
        Variant::NoLog => None,
        Variant::TransactionARequest => {
            let url = arguments.database_url.context("--database-url is needed")?;
            let database = PgPoolOptions::new().max_connections(20).connect(&url).await?;
            sqlx::raw_sql(
                "create table naive (position bigint generated always as identity primary key, id uuid not null,
                    at timestamptz not null default now(), app_id uuid, kind text not null, subject text not null,
                    data json not null)",
            )
            .execute(&database)
            .await?;
            Some(database)
        }
    };
    let peer = Peer { sandbox: Sandbox::new(), pool: Arc::new(Pool::new(pool::Settings::default())?), database };
    let plane = DataPlane {
        catalog: Arc::new(OneRoute(Arc::new(snapshot()?))),
        invoker: Arc::new(peer),
        outcomes: Arc::new(Nothing),
        later: Arc::new(Nothing),
        credentials: Arc::new(Nothing),
        health: Arc::new(Nothing),
        versions: Versions { product: "bench", sdk: "bench", api: "bench", schema: 0 },
        public_url: "".into(),
        settings: Settings::default(),
        tracer: Tracer::off(),
    };
    let listener = TcpListener::bind(("127.0.0.1", arguments.port)).await?;
    let stop = CancellationToken::new();
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let stopping = stop.clone();
    tokio::spawn(async move {
        terminated.recv().await;
        stopping.cancel();
    });
    Ok(server::serve(listener, data_plane::router(plane), ServerLimits::default(), TrustedProxies::default(), stop)
        .await?)
}

fn snapshot() -> anyhow::Result<Snapshot> {
    let app = AppId::generate();
    let script = ScriptId::generate();
    let program = Program {
        app,
        app_slug: "bench".into(),
        script,
        name: "hello".into(),
        version: VersionId::generate(),
        number: 1,
        source: include_str!("../apps/hello.rhai").into(),
        limits: Limits::DEFAULT,
        env: Arc::new(BTreeMap::new()),
    };
    let definition = Definition {
        method: Some("POST".to_owned()),
        host: None,
        path: "/hello".to_owned(),
        script,
        mode: Mode::Sync,
        record: Record::Full,
        cors: None,
        rate_limit: None,
        rate_limit_per_address: None,
        retry: None,
    };
    let pattern = Pattern::try_from(&definition)?;
    let id = RouteId::generate();
    let route = Arc::new(Route { id, definition, program: Some(Arc::new(program)), is_paused: false });
    let app = App {
        id: app,
        slug: "bench".into(),
        is_paused: false,
        rate_limit: None,
        routes: Table::build([(id, pattern, route)]),
    };
    let mut hosts = HostMap::default();
    hosts.insert(HostPattern::parse(None)?, Arc::new(app));
    Ok(Snapshot { hosts, ..Snapshot::default() })
}

#[derive(Clone)]
struct Peer {
    sandbox: Sandbox,
    pool: Arc<Pool>,
    database: Option<PgPool>,
}

impl Later for Nothing {
    fn find(&self, _: OutboxId) -> BoxFuture<'static, Result<Option<Accepted>, Problem>> {
        async { Ok(None) }.boxed()
    }
}

impl Invoker for Peer {
    fn enqueue(&self, _: Owed) -> BoxFuture<'static, Result<(), Unavailable>> {
        async { Err(Unavailable::Log) }.boxed()
    }

    fn invoke(&self, mut call: Call) -> BoxFuture<'static, Result<Finished, Unavailable>> {
        let peer = self.clone();
        async move {
            let request = Arc::new(std::mem::take(&mut call.request));
            let (id, app) = (call.invocation, call.program.app);
            let program = Arc::clone(&call.program);
            let input = move || Input {
                request: Arc::clone(&request),
                kind: call.kind,
                invocation: call.invocation,
                request_id: call.request_id,
                principal: None,
                rights: call.rights,
                event: None,
                now: Utc::now(),
                seed: [7; 32],
                deadline: Instant::now() + Duration::from_secs(10),
                cancelled: Arc::new(AtomicBool::new(false)),
            };
            // As the runner does: a short script on this thread, others on one of their own.
            let here = || peer.sandbox.run_short(&program, || (input(), Nothing));
            let report = match peer.pool.here(app, here).flatten() {
                Some((report, Nothing)) => report,
                None => {
                    let (answer, answered) = oneshot::channel();
                    let sandbox = peer.sandbox.clone();
                    let job = move |_: &_| {
                        let (report, Nothing) = sandbox.run(&program, input(), Nothing);
                        let _ = answer.send(report);
                    };
                    peer.pool.submit(app, job).map_err(|_| Unavailable::Busy)?;
                    answered.await.map_err(|_| Unavailable::Log)?
                }
            };
            if let Some(database) = &peer.database {
                keep(database, app, &id.to_string()).await.map_err(|_| Unavailable::Log)?;
            }
            finished(report)
        }
        .boxed()
    }

    fn validate(&self, source: &str, limits: &Limits) -> Vec<Diagnostic> {
        self.sandbox.validate(source, limits)
    }
}

fn finished(report: Report) -> Result<Finished, Unavailable> {
    let result: Result<_, Failure> = match report.result {
        Ok(answer) => Ok(answer),
        Err(Ended::Failed(failure)) => Err(failure),
        Err(Ended::BadInput(_) | Ended::Conflict | Ended::Unavailable) => return Err(Unavailable::Log),
    };
    Ok(Finished { result, logs: report.logs, duration_us: 0, operations: report.operations })
}

/// What most would write first: a transaction that takes the lock, appends the two events and notifies.
async fn keep(database: &PgPool, app: AppId, subject: &str) -> Result<(), sqlx::Error> {
    let mut transaction = database.begin().await?;
    sqlx::query("select pg_advisory_xact_lock(1)").execute(&mut *transaction).await?;
    for kind in ["invocation.started", "invocation.completed"] {
        sqlx::query("insert into naive (id, app_id, kind, subject, data) values ($1, $2, $3, $4, $5::text::json)")
            .bind(EventId::generate().uuid())
            .bind(app.uuid())
            .bind(kind)
            .bind(subject)
            .bind(format!(r#"{{"invocation":"{subject}","recorded":"{}"}}"#, "x".repeat(300)))
            .execute(&mut *transaction)
            .await?;
    }
    sqlx::query("select pg_notify('naive', 'more')").execute(&mut *transaction).await?;
    transaction.commit().await
}

struct OneRoute(Arc<Snapshot>);

impl Catalog for OneRoute {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0)
    }
}

/// Keeps nothing, knows nobody.
struct Nothing;

impl Credentials for Nothing {
    fn check(&self, _: &str) -> Option<Principal> {
        None
    }
}

impl Health for Nothing {
    fn readiness(&self) -> Readiness {
        Readiness::default()
    }
}

impl Outcomes for Nothing {
    fn begin(&self, _: AppId, _: [u8; 32], _: [u8; 32]) -> BoxFuture<'static, Result<Begin, Problem>> {
        async { Ok(Begin::InFlight) }.boxed()
    }

    fn release(&self, _: IdempotencyClaim) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}

impl Data for Nothing {
    fn kv_get(&mut self, _: &str, _: &str) -> Result<Option<Box<serde_json::value::RawValue>>, DataError> {
        Err(DataError::Unavailable)
    }

    fn kv_set(
        &mut self,
        _: &str,
        _: &str,
        _: Box<serde_json::value::RawValue>,
        _: Option<DateTime<Utc>>,
    ) -> Result<(), DataError> {
        Err(DataError::Unavailable)
    }

    fn kv_delete(&mut self, _: &str, _: &str) -> Result<bool, DataError> {
        Err(DataError::Unavailable)
    }

    fn kv_increment(&mut self, _: &str, _: &str, _: i64) -> Result<(), DataError> {
        Err(DataError::Unavailable)
    }

    fn kv_list(&mut self, _: &str, _: &str, _: usize, _: Option<&str>) -> Result<KvPage, DataError> {
        Err(DataError::Unavailable)
    }

    fn program(&mut self, _: &str) -> Result<(Arc<Program>, Rights), DataError> {
        Err(DataError::Unavailable)
    }

    fn broadcast(&mut self, _: &str, _: Box<serde_json::value::RawValue>) -> Result<(), DataError> {
        Err(DataError::Unavailable)
    }

    fn subscriber_token(&mut self, _: &picloud_core::keys::Grant) -> Result<String, DataError> {
        Err(DataError::Unavailable)
    }

    fn publish(&mut self, _: &str, _: Box<serde_json::value::RawValue>) -> Result<(), DataError> {
        Err(DataError::Unavailable)
    }

    fn send(&mut self, _: picloud_core::event::message::Sent) -> Result<(), DataError> {
        Err(DataError::Unavailable)
    }

    fn target(&mut self, _: &str) -> Result<Arc<Program>, DataError> {
        Err(DataError::Unavailable)
    }

    fn invoke_later(&mut self, _: picloud_workers::sandbox::Later) -> Result<(), DataError> {
        Err(DataError::Unavailable)
    }

    fn letter(&mut self, _: DeadLetterId) -> Result<Option<Box<serde_json::value::RawValue>>, DataError> {
        Err(DataError::Unavailable)
    }

    fn letters(&mut self, _: LetterQuery) -> Result<LetterPage, DataError> {
        Err(DataError::Unavailable)
    }

    fn replay_letter(
        &mut self,
        _: DeadLetterId,
        _: OutboxId,
        _: Option<Box<serde_json::value::RawValue>>,
    ) -> Result<(), DataError> {
        Err(DataError::Unavailable)
    }

    fn resolve_letter(&mut self, _: DeadLetterId, _: String) -> Result<(), DataError> {
        Err(DataError::Unavailable)
    }

    fn http(&mut self, _: Request) -> Result<Answer, DataError> {
        Err(DataError::Unavailable)
    }
}
