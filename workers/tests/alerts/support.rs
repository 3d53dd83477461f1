//! Nodes with alerts, channels, and letters to be told of.

use std::{future::Future, sync::Arc, time::Duration};

use chrono::Utc;
use picloud_core::{
    alert::{Condition, Space},
    event::{
        Actor, Event,
        alert_channel::Set,
        app,
        dead_letter::{Closing, Created, Reason, Resolved},
        outbox::Source,
    },
    id::{AppId, DataKeyId, DeadLetterId, OutboxId, ScriptId},
    keys::{Destination, Keyring, MasterKey, Sealed, Webhook},
    log::{Commit, Committed, Committer, CommitterConfig, NewEvent, Node, Position, Tail, read::Reader},
    mail::Address,
    retry::RetryPolicy,
};
use picloud_projections::{setup::LiveSetup, views::Keeper};
use picloud_workers::{
    alerts::{AlertParts, Alerts, Messenger},
    http::{Client, Settings, SystemResolver},
    mail::{self, Mailer},
};
use serde_json::Value;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    server::{Seen, Server},
    smtp::SmtpServer,
};

/// Waits for what must come.
pub async fn soon<F: Future>(what: F) -> F::Output {
    timeout(Duration::from_secs(60), what).await.expect("it comes long before that")
}

/// What nodes of one cluster share besides the database.
#[derive(Clone)]
pub struct Cluster {
    database: PgPool,
    secrets: Arc<TempDir>,
    mail: Option<mail::Settings>,
}

/// A node as `serve` runs it, as far as alerts are concerned.
pub struct TestNode {
    pub keyring: Keyring,
    pub disk: watch::Sender<Option<Space>>,
    pub setup: LiveSetup,
    pub pool: PgPool,
    node: Node,
    committer: Committer,
    tail: Tail,
    reader: Reader,
    listen: PgPool,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Cluster {
    pub fn new(database: &PgPool) -> Self {
        Self { database: database.clone(), secrets: Arc::new(tempfile::tempdir().unwrap()), mail: None }
    }

    /// The same with a server for mail, for the nodes that come.
    pub fn with_mail(&self, server: &SmtpServer) -> Self {
        let sender = mail::Sender::read("pi@example.com").unwrap();
        let settings = mail::Settings { server: mail::Server::read(&server.url()).unwrap(), sender };
        Self { mail: Some(settings), ..self.clone() }
    }

    /// A node on a machine of that name.
    pub async fn node(&self, name: &str) -> TestNode {
        self.node_that_listens(name, self.options()).await
    }

    /// One that has no way to listen.
    pub async fn deaf_node(&self, name: &str) -> TestNode {
        self.node_that_listens(name, self.options().port(1)).await
    }

    fn options(&self) -> PgConnectOptions {
        self.database.connect_options().as_ref().clone()
    }

    async fn node_that_listens(&self, name: &str, on: PgConnectOptions) -> TestNode {
        let options = self.options();
        let pool = PgPoolOptions::new().max_connections(4).connect_lazy_with(options.clone());
        let patience = Duration::from_secs(1);
        let listen = PgPoolOptions::new().max_connections(2).acquire_timeout(patience).connect_lazy_with(on);
        let master = MasterKey::load_or_make(&self.secrets.path().join("master.key")).unwrap();
        let keyring = Keyring::open(master, pool.clone()).await.unwrap();
        let node = Node::register(&pool, name, "0.0.0").await.unwrap();
        let (sender, local) = mpsc::unbounded_channel();
        let (tail, tail_task) = Tail::start(pool.clone(), listen.clone(), node.epoch(), local).await.unwrap();
        let (committer, task) =
            Committer::start(options.clone(), node.epoch(), CommitterConfig::default(), sender, None);
        let (setup, _) = LiveSetup::start(pool.clone(), &tail).await.unwrap();
        let reader = Reader::new(pool.clone());
        // Nobody folds them: how they stand is not what is tried here.
        let (_, views) = Keeper::new(pool.clone(), options.clone(), tail.clone(), reader.clone());
        let (disk, room) = watch::channel(None);
        let http = Client::new(Settings {
            forbidden: Arc::default(),
            exceptions_of: Arc::new(|_| Arc::default()),
            resolver: Arc::new(SystemResolver::default()),
        });
        let stop = CancellationToken::new();
        let alerts = Alerts::new(AlertParts {
            direct: options,
            committer: committer.clone(),
            node,
            name: name.to_owned(),
            setup: setup.clone(),
            tail: tail.clone(),
            views,
            disk: room,
            messenger: Messenger::new(
                keyring.clone(),
                http.for_operators(),
                self.mail.clone().map(Mailer::new),
                "http://pi:8081".to_owned(),
            ),
            steady: Duration::from_millis(50),
        });
        let alerting = tokio::spawn(alerts.run(stop.clone()));
        let tasks = vec![alerting, task, tail_task];
        TestNode { keyring, disk, setup, pool, node, committer, tail, reader, listen, stop, tasks }
    }
}

impl TestNode {
    /// Goes away as `serve` does. Whatever it left running would fail here.
    pub async fn stop(self) {
        self.stop.cancel();
        let mut tasks = self.tasks.into_iter();
        soon(tasks.next().unwrap()).await.unwrap();
        self.committer.close();
        for task in tasks {
            soon(task).await.unwrap();
        }
        self.node.retire(&self.pool).await.unwrap();
        self.pool.close().await;
        self.listen.close().await;
    }

    pub async fn commit(&self, event: NewEvent) -> Committed {
        soon(self.committer.commit(Commit::new(self.node.authority(), vec![event]))).await.unwrap()
    }

    /// A channel to a receiver, that this node knows of when this returns.
    pub async fn channel(&self, name: &str, to: &Server, cooldown_s: u32, conditions: Option<&[Condition]>) -> Webhook {
        let webhook = Webhook::at(&to.url("/open-sesame")).unwrap();
        self.channel_to(name, &Destination::Webhook(webhook.clone()), cooldown_s, conditions).await;
        webhook
    }

    /// The same to addresses of mail.
    pub async fn mail_channel(&self, name: &str, to: &[&str]) {
        let to = to.iter().map(|to| Address::read(to).unwrap()).collect();
        self.channel_to(name, &Destination::Email(to), 3_600, None).await;
    }

    async fn channel_to(&self, name: &str, to: &Destination, cooldown_s: u32, conditions: Option<&[Condition]>) {
        let set = Set {
            channel: name.to_owned(),
            kind: to.kind(),
            host: to.host(),
            secret: self.keyring.store_destination(to).await.unwrap(),
            conditions: conditions.map(<[Condition]>::to_vec),
            cooldown_s,
            enabled: true,
        };
        let committed = self.commit(of_the_instance(set)).await;
        soon(self.setup.reached(committed.last)).await;
    }

    /// An app that this node knows of when this returns.
    pub async fn app(&self, slug: &str) -> AppId {
        let app = AppId::generate();
        let created = app::Created { app, slug: slug.to_owned() };
        let committed = self.commit(NewEvent::new(Some(app), &Actor::SYSTEM, created)).await;
        soon(self.setup.reached(committed.last)).await;
        app
    }

    /// Something of an app that could not be done.
    pub async fn letter(&self, app: AppId) -> DeadLetterId {
        let dead_letter = DeadLetterId::generate();
        let created = Created {
            dead_letter,
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
            payload: Sealed { key_id: DataKeyId::generate(), nonce: String::new(), ciphertext: String::new() },
        };
        self.commit(NewEvent::new(Some(app), &Actor::SYSTEM, created)).await;
        dead_letter
    }

    /// Somebody has seen to it.
    pub async fn resolve(&self, app: AppId, dead_letter: DeadLetterId) {
        let resolved = Resolved { dead_letter, resolution: Closing::Ignored, reason: None, job: None };
        self.commit(NewEvent::new(Some(app), &Actor::SYSTEM, resolved)).await;
    }

    /// All events of a kind, once there are so many.
    pub async fn events(&self, kind: &str, count: usize) -> Vec<Event> {
        let mut log = self.tail.follow(Position::ZERO);
        let mut found = Vec::new();
        while found.len() < count {
            let events = soon(log.next()).await.unwrap().expect("the log goes on");
            found.extend(events.into_iter().map(|recorded| recorded.event.event.clone()).filter(|e| e.kind() == kind));
        }
        found
    }

    /// How many there are by now.
    pub async fn count(&self, kind: &str) -> usize {
        self.log().await.iter().filter(|event| event.kind() == kind).count()
    }

    /// All there is in the log.
    pub async fn log(&self) -> Vec<Event> {
        let head = self.reader.head().await.unwrap();
        let events = self.reader.range(Position::ZERO, head, usize::MAX >> 1).await.unwrap();
        events.into_iter().map(|recorded| recorded.event.event.clone()).collect()
    }
}

pub fn of_the_instance(event: impl Into<Event>) -> NewEvent {
    NewEvent::new(None, &Actor::SYSTEM, event)
}

/// What a receiver got.
pub fn body(seen: &Seen) -> Value {
    serde_json::from_slice(&seen.body).unwrap()
}
