//! A node on the test's own database, and events to append.

pub mod lossy;

use std::{future::Future, time::Duration};

use picloud_core::{
    event::{Actor, Event, FailureReason, app, invocation, kv},
    id::{AppId, InvocationId, NodeEpoch, ScriptId, VersionId},
    log::{
        Commit, CommitError, Committed, Committer, CommitterConfig, NewEvent, Node, Outcome, Position, Read, Tail,
        read::Reader,
    },
    run::InvocationType,
};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

/// For waits that end by themselves unless something is broken.
pub const GUARD: Duration = Duration::from_secs(30);

/// Waits for what must come.
pub async fn soon<F: Future>(what: F) -> F::Output {
    timeout(GUARD, what).await.expect("it comes long before the guard")
}

/// A node as `serve` runs it: its epoch, its committer, its tail.
pub struct TestNode {
    pub node: Node,
    pub committer: Committer,
    pub tail: Tail,
    pub reader: Reader,
    pub pool: PgPool,
    listen: PgPool,
    tasks: [JoinHandle<()>; 2],
}

impl TestNode {
    pub async fn start(database: &PgPool) -> Self {
        Self::with(database, CommitterConfig::default()).await
    }

    pub async fn with(database: &PgPool, config: CommitterConfig) -> Self {
        Self::committing_through(database, database.connect_options().as_ref().clone(), config).await
    }

    /// A node whose committer connects in its own way.
    pub async fn committing_through(database: &PgPool, committer: PgConnectOptions, config: CommitterConfig) -> Self {
        let options = database.connect_options().as_ref().clone();
        let pools = || PgPoolOptions::new().max_connections(3).connect_lazy_with(options.clone());
        let (pool, listen) = (pools(), pools());
        let node = Node::register(&pool, "test", "0.0.0").await.unwrap();
        let (sender, local) = mpsc::unbounded_channel();
        // The tail first: it stands at the head before anything is appended.
        let (tail, tail_task) = Tail::start(pool.clone(), listen.clone(), node.epoch(), local).await.unwrap();
        let (committer, task) = Committer::start(committer, node.epoch(), config, sender, None);
        let reader = Reader::new(pool.clone());
        Self { node, committer, tail, reader, pool, listen, tasks: [task, tail_task] }
    }

    /// Goes away as `serve` does: nothing that it ran is left.
    pub async fn stop(self) {
        self.committer.close();
        for task in self.tasks {
            soon(task).await.unwrap();
        }
        self.pool.close().await;
        self.listen.close().await;
    }

    pub fn epoch(&self) -> NodeEpoch {
        self.node.epoch()
    }

    pub fn committing(&self, events: Vec<NewEvent>) -> Commit {
        Commit::new(self.node.authority(), events)
    }

    pub async fn commit(&self, events: Vec<NewEvent>) -> Result<Committed, CommitError> {
        soon(self.committer.commit(self.committing(events))).await
    }

    pub async fn commit_after(&self, reads: Vec<Read>, events: Vec<NewEvent>) -> Result<Committed, CommitError> {
        soon(self.committer.commit(Commit { reads, ..self.committing(events) })).await
    }

    pub async fn commit_outcome(&self, outcome: Outcome, events: Vec<NewEvent>) -> Result<Committed, CommitError> {
        soon(self.committer.commit(Commit { outcome: Some(outcome), ..self.committing(events) })).await
    }

    /// All of the log, oldest first.
    pub async fn log(&self) -> Vec<picloud_core::log::Recorded> {
        let head = self.reader.head().await.unwrap();
        self.reader.range(Position::ZERO, head, usize::MAX >> 1).await.unwrap()
    }
}

/// An event of an app by nobody.
pub fn event(app: AppId, event: impl Into<Event>) -> NewEvent {
    NewEvent::new(Some(app), &Actor::SYSTEM, event)
}

pub const COLLECTION: &str = "things";

/// `key` gets a value, given as JSON.
pub fn set(app: AppId, key: &str, json: &str) -> NewEvent {
    event(app, kv_set(key, json, None))
}

/// `key` gets a value that is gone so many seconds from now; they may be negative.
pub fn set_for(app: AppId, key: &str, json: &str, seconds: i64) -> NewEvent {
    event(app, kv_set(key, json, Some(chrono::Utc::now() + chrono::Duration::seconds(seconds))))
}

fn kv_set(key: &str, json: &str, expires_at: Option<chrono::DateTime<chrono::Utc>>) -> kv::Set {
    let value = serde_json::value::RawValue::from_string(json.to_owned()).unwrap();
    kv::Set { collection: COLLECTION.to_owned(), key: key.to_owned(), value, expires_at }
}

pub fn increase(app: AppId, key: &str, by: i64) -> NewEvent {
    event(app, kv::Increased { collection: COLLECTION.to_owned(), key: key.to_owned(), by })
}

pub fn delete(app: AppId, key: &str) -> NewEvent {
    event(app, kv::Deleted { collection: COLLECTION.to_owned(), key: key.to_owned() })
}

/// `key` was seen as a position left it.
pub fn saw(app: AppId, key: &str, version: Position) -> Read {
    Read::Kv { app, collection: COLLECTION.to_owned(), key: key.to_owned(), version }
}

/// All keys with a prefix were seen.
pub fn saw_all(app: AppId, prefix: &str, as_of: Position) -> Read {
    let (collection, prefix) = (COLLECTION.to_owned(), prefix.to_owned());
    Read::KvRange { app, collection, prefix, after: None, up_to: None, as_of }
}

pub fn created(app: AppId, slug: &str) -> NewEvent {
    event(app, app::Created { app, slug: slug.to_owned() })
}

pub fn started(app: AppId, invocation: InvocationId, node: NodeEpoch) -> NewEvent {
    let started = invocation::Started {
        invocation,
        script: ScriptId::generate(),
        version: VersionId::generate(),
        invocation_type: InvocationType::Http,
        route: None,
        trigger: None,
        item: None,
        attempt: 1,
        node,
        recording: None,
    };
    event(app, started)
}

pub fn completed(app: AppId, invocation: InvocationId) -> NewEvent {
    let completed =
        invocation::Completed { invocation, status: 200, duration_us: 1, operations: 1, runs: 1, recording: None };
    event(app, completed)
}

pub fn failed(app: AppId, invocation: InvocationId) -> NewEvent {
    let failed = invocation::Failed {
        invocation,
        reason: FailureReason::Threw,
        message: "boom".to_owned(),
        line: None,
        limit: None,
        duration_us: 1,
        runs: 1,
    };
    event(app, failed)
}

/// A key as it lies in state: its value, position, and whether it has an expiry.
pub async fn stored(pool: &PgPool, app: AppId, key: &str) -> Option<(String, i64, bool)> {
    sqlx::query_as(
        "select value::text, position, expires_at is not null from state.kv
        where app_id = $1 and collection = $2 and key = $3",
    )
    .bind(app.uuid())
    .bind(COLLECTION)
    .bind(key)
    .fetch_optional(pool)
    .await
    .unwrap()
}

/// The value alone.
pub async fn value(pool: &PgPool, app: AppId, key: &str) -> Option<String> {
    stored(pool, app, key).await.map(|(value, ..)| value)
}

/// Runs that the log has begun and not ended.
pub async fn running(pool: &PgPool) -> Vec<InvocationId> {
    let rows: Vec<uuid::Uuid> =
        sqlx::query_scalar("select invocation from state.running order by position").fetch_all(pool).await.unwrap();
    rows.into_iter().map(Into::into).collect()
}

/// Holds the log's lock until it is dropped or [`Held::release`] is called.
pub struct Held(sqlx::Transaction<'static, sqlx::Postgres>);

pub async fn hold_log(pool: &PgPool) -> Held {
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(7305804402)").execute(&mut *transaction).await.unwrap();
    Held(transaction)
}

impl Held {
    pub fn connection(&mut self) -> &mut sqlx::PgConnection {
        &mut self.0
    }

    pub async fn commit(self) {
        self.0.commit().await.unwrap();
    }

    pub async fn release(self) {
        self.0.rollback().await.unwrap();
    }
}

/// Resolves once somebody stands before the log's lock.
pub async fn somebody_waits_for_the_log(pool: &PgPool) {
    let waits = async {
        let query = "select exists (
            select from pg_locks l join pg_database d on d.oid = l.database
            where d.datname = current_database() and l.locktype = 'advisory' and not l.granted
        )";
        while !sqlx::query_scalar::<_, bool>(query).fetch_one(pool).await.unwrap() {
            tokio::task::yield_now().await;
        }
    };
    soon(waits).await;
}
