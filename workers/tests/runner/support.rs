//! Nodes that run scripts on the test's own database, and what they leave behind.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use picloud_core::{
    event::{Actor, Event, invocation},
    id::{AppId, InvocationId, RequestId, ScriptId, VersionId},
    keys::{Keyring, MasterKey},
    limits::Limits,
    log::{Commit, Committer, CommitterConfig, NewEvent, Node, Position, Recorded, Tail, read::Reader},
    run::{Call, Failure, Finished, InvocationType, Invoker as _, Program, Record, Request, Rights, Unavailable},
    trace::Tracer,
};
use picloud_projections::setup::LiveSetup;
use picloud_workers::{
    http::{self, Client, Exception, SystemResolver},
    pool::{Pool, Settings},
    runner::{Runner, RunnerParts},
    sandbox::Sandbox,
};
use sqlx::{PgPool, Postgres, Transaction, postgres::PgPoolOptions};
use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

/// For waits that end by themselves unless something is broken.
pub const GUARD: Duration = Duration::from_secs(60);

/// Waits for what must come.
pub async fn soon<F: Future>(what: F) -> F::Output {
    timeout(GUARD, what).await.expect("it comes long before the guard")
}

/// Compiling an engine takes a while in a debug build; all tests of a process share one.
static SANDBOX: LazyLock<Sandbox> = LazyLock::new(Sandbox::new);

/// A node as `serve` runs it. All nodes of a test share the master key.
pub struct TestNode {
    pub runner: Runner,
    pub node: Node,
    pub committer: Committer,
    pub keyring: Keyring,
    pub tail: Tail,
    pub reader: Reader,
    pub pool: PgPool,
    listen: PgPool,
    pub setup: LiveSetup,
    tasks: [JoinHandle<()>; 3],
}

/// What nodes of one cluster share besides the database.
#[derive(Clone)]
pub struct Cluster {
    database: PgPool,
    secrets: Arc<TempDir>,
}

impl Cluster {
    pub fn new(database: &PgPool) -> Self {
        Self { database: database.clone(), secrets: Arc::new(tempfile::tempdir().unwrap()) }
    }

    pub async fn node(&self) -> TestNode {
        self.node_with(Settings { permits: 2, ..Settings::default() }).await
    }

    pub async fn node_with(&self, settings: Settings) -> TestNode {
        let options = self.database.connect_options().as_ref().clone();
        let connect = |most| PgPoolOptions::new().max_connections(most).connect_lazy_with(options.clone());
        let (pool, listen) = (connect(8), connect(2));
        let master = MasterKey::load_or_make(&self.secrets.path().join("master.key")).unwrap();
        let keyring = Keyring::open(master, pool.clone()).await.unwrap();
        let node = Node::register(&pool, "test", "0.0.0").await.unwrap();
        let (sender, local) = mpsc::unbounded_channel();
        let (tail, tail_task) = Tail::start(pool.clone(), listen.clone(), node.epoch(), local).await.unwrap();
        let (committer, task) = Committer::start(options, node.epoch(), CommitterConfig::default(), sender, None);
        let (setup, setup_task) = LiveSetup::start(pool.clone(), &tail).await.unwrap();
        let runner = Runner::new(RunnerParts {
            sandbox: SANDBOX.clone(),
            pool: Pool::new(settings).unwrap(),
            committer: committer.clone(),
            node,
            keyring: keyring.clone(),
            database: pool.clone(),
            setup: setup.clone(),
            http: loopback_client(),
            tracer: Tracer::off(),
        });
        let reader = Reader::new(pool.clone());
        let tasks = [task, tail_task, setup_task];
        TestNode { runner, node, committer, keyring, tail, reader, pool, setup, listen, tasks }
    }
}

/// Calls servers of this test, and nobody else.
fn loopback_client() -> Client {
    let loopback = Exception::Network { network: "127.0.0.1/32".parse().unwrap(), port: None };
    let exceptions: Arc<[Exception]> = [loopback].into();
    Client::new(http::Settings {
        forbidden: [].into(),
        exceptions_of: Arc::new(move |_| Arc::clone(&exceptions)),
        resolver: Arc::new(SystemResolver::default()),
    })
}

/// One node on a database.
pub async fn node(database: &PgPool) -> TestNode {
    Cluster::new(database).node().await
}

impl TestNode {
    /// Goes away as `serve` does. Whatever it left running would fail here.
    pub async fn stop(self) {
        let runner = self.runner.clone();
        let drained = tokio::task::spawn_blocking(move || runner.drain(Instant::now() + GUARD)).await;
        drained.unwrap().expect("every run ends");
        self.committer.close();
        for task in self.tasks {
            soon(task).await.unwrap();
        }
        self.pool.close().await;
        self.listen.close().await;
    }

    pub async fn invoke(&self, call: Call) -> Result<Finished, Unavailable> {
        soon(self.runner.invoke(call)).await
    }

    /// Runs a script and gets the JSON it answers.
    pub async fn run(&self, app: AppId, source: &str) -> serde_json::Value {
        json(self.invoke(call(app, source)).await)
    }

    /// Runs a script that must fail.
    pub async fn fail(&self, call: Call) -> Failure {
        failed(self.invoke(call).await)
    }

    /// All of the log, oldest first.
    pub async fn log(&self) -> Vec<Recorded> {
        let head = self.reader.head().await.unwrap();
        self.reader.range(Position::ZERO, head, usize::MAX >> 1).await.unwrap()
    }

    /// What one run left in the log, oldest first.
    pub async fn left_by(&self, invocation: InvocationId) -> Vec<Recorded> {
        self.log().await.into_iter().filter(|event| event.event.root == Some(invocation)).collect()
    }

    /// The value of a key of the collection `c`, as JSON.
    pub async fn value(&self, app: AppId, key: &str) -> Option<String> {
        sqlx::query_scalar("select value::text from state.kv where app_id = $1 and collection = 'c' and key = $2")
            .bind(app.uuid())
            .bind(key)
            .fetch_optional(&self.pool)
            .await
            .unwrap()
    }

    /// Resolves when an event that fits is durable, whenever that was.
    pub async fn tells(&self, fits: impl Fn(&NewEvent) -> bool) -> Recorded {
        let mut follow = self.tail.follow(Position::ZERO);
        soon(async {
            loop {
                let events = follow.next().await.unwrap().expect("the node is there");
                if let Some(found) = events.into_iter().find(|recorded| fits(&recorded.event)) {
                    return found;
                }
            }
        })
        .await
    }

    /// Resolves when the log knows that a run began.
    pub async fn has_begun(&self, invocation: InvocationId) {
        self.tells(|event| event.root == Some(invocation) && matches!(event.event, Event::InvocationStarted(_))).await;
    }

    /// Appends without a run.
    pub async fn append(&self, app: AppId, events: Vec<Event>) {
        let events = events.into_iter().map(|event| NewEvent::new(Some(app), &Actor::SYSTEM, event)).collect();
        soon(self.committer.commit(Commit::new(self.node.authority(), events))).await.unwrap();
    }

    /// Runs that the log has begun and not ended.
    pub async fn running(&self) -> Vec<InvocationId> {
        let rows: Vec<uuid::Uuid> =
            sqlx::query_scalar("select invocation from state.running").fetch_all(&self.pool).await.unwrap();
        rows.into_iter().map(Into::into).collect()
    }
}

/// A public call of a script.
pub fn call(app: AppId, source: &str) -> Call {
    call_of(&program(app, source))
}

/// A public call of a program: many calls of one script compile it once.
pub fn call_of(program: &Arc<Program>) -> Call {
    let request_id = RequestId::generate();
    Call {
        invocation: InvocationId::generate(),
        request_id: Some(request_id),
        program: Arc::clone(program),
        kind: InvocationType::Http,
        route: None,
        actor: Actor::public(request_id, None),
        rights: Rights::Public,
        request: Request { method: "POST".into(), path: "/".into(), host: "localhost".into(), ..Request::default() },
        event: None,
        record: Record::Full,
        item: None,
        idempotency: None,
    }
}

/// A call with a JSON body.
pub fn call_with(program: &Arc<Program>, body: &serde_json::Value) -> Call {
    let mut call = call_of(program);
    call.request.headers.push(("content-type".into(), "application/json".into()));
    call.request.body = body.to_string().into();
    call
}

pub fn program(app: AppId, source: &str) -> Arc<Program> {
    program_within(app, source, Limits::DEFAULT)
}

pub fn program_within(app: AppId, source: &str, limits: Limits) -> Arc<Program> {
    Arc::new(Program {
        app,
        app_slug: "shop".into(),
        script: ScriptId::generate(),
        name: "script".into(),
        version: VersionId::generate(),
        number: 1,
        source: format!("let c = kv::collection(\"c\");\n{source}").into(),
        limits,
        env: Arc::new(BTreeMap::new()),
    })
}

/// What a run answered.
pub fn json(finished: Result<Finished, Unavailable>) -> serde_json::Value {
    let answer = finished.expect("available").result.expect("an answer");
    serde_json::from_slice(&answer.body).expect("a JSON body")
}

/// How a run failed.
pub fn failed(finished: Result<Finished, Unavailable>) -> Failure {
    finished.expect("available").result.expect_err("a failure")
}

/// The kinds of some events, in order.
pub fn kinds(events: &[Recorded]) -> Vec<&'static str> {
    events.iter().map(|recorded| recorded.event.event.kind()).collect()
}

/// The failure that a run left in the log.
pub fn failure_in(events: &[Recorded]) -> &invocation::Failed {
    let failures: Vec<_> = events
        .iter()
        .filter_map(|recorded| match &recorded.event.event {
            Event::InvocationFailed(failed) => Some(failed),
            _ => None,
        })
        .collect();
    assert_eq!(failures.len(), 1, "{events:?}");
    failures[0]
}

/// How often a completed run was tried.
pub fn runs_of(events: &[Recorded]) -> u32 {
    let runs = events.iter().find_map(|recorded| match &recorded.event.event {
        Event::InvocationCompleted(completed) => Some(completed.runs),
        _ => None,
    });
    runs.expect("it completed")
}

/// Nothing that stored data could be read or written with gets past this until it is dropped. The log itself does.
pub async fn lock_stored_data(pool: &PgPool) -> Transaction<'static, Postgres> {
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query("lock table state.kv in access exclusive mode").execute(&mut *transaction).await.unwrap();
    transaction
}

/// Nobody appends until this is dropped.
pub async fn lock_log(pool: &PgPool) -> Transaction<'static, Postgres> {
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(7305804402)").execute(&mut *transaction).await.unwrap();
    transaction
}

/// Resolves when so many wait for stored data that [`lock_stored_data`] keeps.
pub async fn waiting_for_stored_data(pool: &PgPool, wanted: i64) {
    let query = "select count(*) from pg_locks l join pg_database d on d.oid = l.database
        where d.datname = current_database() and l.relation = 'state.kv'::regclass and not l.granted";
    soon(async {
        while sqlx::query_scalar::<_, i64>(query).fetch_one(pool).await.unwrap() < wanted {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
