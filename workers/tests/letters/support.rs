//! Nodes that work on jobs, and letters to work on.

use std::{future::Future, sync::Arc, time::Duration};

use chrono::Utc;
use picloud_core::{
    event::{
        Actor, Event, app,
        dead_letter::{Created, Reason},
        job::{Action, Chosen, Started},
        outbox::Source,
    },
    id::{AccountId, AppId, DeadLetterId, EventId, JobId, OutboxId, RequestId, ScriptId},
    keys::{Keyring, MasterKey, Purpose},
    log::{Commit, Committed, Committer, CommitterConfig, NewEvent, Node, Position, Recorded, Tail, read::Reader},
    retry::RetryPolicy,
};
use picloud_projections::{
    jobs::{self, Job},
    setup::LiveSetup,
};
use picloud_workers::letters::{JobParts, Jobs};
use serde_json::json;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

/// For waits that end by themselves unless something is broken.
pub const GUARD: Duration = Duration::from_secs(60);

/// Waits for what must come.
pub async fn soon<F: Future>(what: F) -> F::Output {
    timeout(GUARD, what).await.expect("it comes long before the guard")
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
        let options = self.database.connect_options().as_ref().clone();
        let connect = |most| PgPoolOptions::new().max_connections(most).connect_lazy_with(options.clone());
        let (pool, listen) = (connect(6), connect(2));
        let master = MasterKey::load_or_make(&self.secrets.path().join("master.key")).unwrap();
        let keyring = Keyring::open(master, pool.clone()).await.unwrap();
        let node = Node::register(&pool, "test", "0.0.0").await.unwrap();
        let (sender, local) = mpsc::unbounded_channel();
        let (tail, tail_task) = Tail::start(pool.clone(), listen.clone(), node.epoch(), local).await.unwrap();
        let (committer, task) = Committer::start(options, node.epoch(), CommitterConfig::default(), sender, None);
        let (setup, _) = LiveSetup::start(pool.clone(), &tail).await.unwrap();
        let reader = Reader::new(pool.clone());
        let stop = CancellationToken::new();
        TestNode { node, committer, keyring, tail, setup, reader, pool, listen, stop, tasks: vec![task, tail_task] }
    }
}

/// A node as `serve` runs it, as far as jobs are concerned.
pub struct TestNode {
    pub node: Node,
    pub committer: Committer,
    pub keyring: Keyring,
    pub tail: Tail,
    pub setup: LiveSetup,
    pub reader: Reader,
    pub pool: PgPool,
    listen: PgPool,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl TestNode {
    /// Works on jobs from now on.
    pub fn works(&mut self) {
        let jobs = Jobs::new(JobParts {
            database: self.pool.clone(),
            committer: self.committer.clone(),
            node: self.node,
            keyring: self.keyring.clone(),
            setup: self.setup.clone(),
        });
        self.tasks.insert(0, tokio::spawn(jobs.run(self.tail.clone(), self.stop.clone())));
    }

    /// Goes away as `serve` does. Whatever it left running would fail here.
    pub async fn stop(self) {
        self.stop.cancel();
        let mut tasks = self.tasks.into_iter();
        if tasks.len() > 2 {
            soon(tasks.next().unwrap()).await.unwrap();
        }
        self.committer.close();
        for task in tasks {
            soon(task).await.unwrap();
        }
        self.pool.close().await;
        self.listen.close().await;
    }

    pub async fn commit(&self, events: Vec<NewEvent>) -> Committed {
        soon(self.committer.commit(Commit::new(self.node.authority(), events))).await.unwrap()
    }

    /// An app that every node of the test knows of in time.
    pub async fn app(&self, slug: &str) -> AppId {
        let app = AppId::generate();
        let created = app::Created { app, slug: slug.to_owned() };
        let committed = self.commit(vec![NewEvent::new(Some(app), &Actor::SYSTEM, created)]).await;
        soon(self.setup.reached(committed.last)).await;
        app
    }

    /// Makes letters, the oldest first, each with its number in its payload.
    pub async fn letters(&self, app: AppId, count: usize) -> Vec<DeadLetterId> {
        let mut events = Vec::new();
        for n in 0..count {
            events.push(self.letter(app, n, |created| created).await);
        }
        let ids = events.iter().map(|event| event.subject.parse().unwrap()).collect();
        for some in events.chunks(100) {
            self.commit(some.to_vec()).await;
        }
        ids
    }

    /// A letter, changed as wanted.
    pub async fn letter(&self, app: AppId, n: usize, change: impl FnOnce(Created) -> Created) -> NewEvent {
        let id = DeadLetterId::from(ulid::Ulid::from_parts(1_000_000 + n as u64, rand::random()));
        let request = json!({ "request": { "method": "POST", "path": "/", "host": "x", "body": n.to_string() } });
        let (bound_to, plain) = (id.to_string(), request.to_string());
        let payload = self.keyring.seal_apart(app, Purpose::Payload, bound_to.as_bytes(), plain.as_bytes());
        let created = Created {
            dead_letter: id,
            item: OutboxId::generate(),
            source: Source::Invoke,
            script: ScriptId::generate(),
            script_name: "charge".to_owned(),
            version: None,
            lane: None,
            priority: 0,
            retry: RetryPolicy::default(),
            enqueued_at: Utc::now(),
            reason: Reason::AttemptsExhausted,
            error: "boom".to_owned(),
            fingerprint: "charge: boom".to_owned(),
            attempts: Vec::new(),
            payload: payload.await.unwrap(),
        };
        NewEvent::new(Some(app), &Actor::public(RequestId::generate(), None), change(created))
    }

    /// Starts a job; answers it, the event that began it, and who it was.
    pub async fn start(
        &self,
        app: AppId,
        action: Action,
        letters: &[DeadLetterId],
        per_second: u32,
    ) -> (JobId, EventId, Actor) {
        let job = JobId::generate();
        let actor = Actor::account(AccountId::generate(), RequestId::generate(), Some("192.0.2.1".to_owned()));
        let started = Started { job, action, chosen: Chosen::default(), per_second, letters: letters.to_vec() };
        let event = NewEvent::new(Some(app), &actor, started);
        let began = event.id;
        self.commit(vec![event]).await;
        (job, began, actor)
    }

    pub async fn job(&self, job: JobId) -> Job {
        jobs::find(&self.pool, job).await.unwrap().expect("it is there")
    }

    /// Waits for an event, told by this node's tail; answers all up to it.
    pub async fn until(&self, is_it: impl Fn(&Event) -> bool) -> Vec<Recorded> {
        let mut log = self.tail.follow(Position::ZERO);
        let mut seen: Vec<Recorded> = Vec::new();
        soon(async {
            loop {
                let events = log.next().await.unwrap().expect("the log goes on");
                for recorded in events {
                    let found = is_it(&recorded.event.event);
                    seen.push(recorded);
                    if found {
                        return seen;
                    }
                }
            }
        })
        .await
    }

    /// Waits for the end of a job.
    pub async fn until_ended(&self, job: JobId) -> (Job, Vec<Recorded>) {
        let seen = self.until(|event| matches!(event, Event::JobEnded(ended) if ended.job == job)).await;
        (self.job(job).await, seen)
    }

    /// All of the log, oldest first.
    pub async fn log(&self) -> Vec<Recorded> {
        let head = self.reader.head().await.unwrap();
        self.reader.range(Position::ZERO, head, usize::MAX >> 1).await.unwrap()
    }
}

/// The letters that were tried again, in order.
pub fn replayed(events: &[Recorded]) -> Vec<DeadLetterId> {
    let replayed = events.iter().filter_map(|recorded| match &recorded.event.event {
        Event::DeadLetterReplayed(replayed) => Some(replayed.dead_letter),
        _ => None,
    });
    replayed.collect()
}
