//! What a node is made of, joined: the log and its tail, the setup, the runner, and who keeps house.

use std::{
    net::SocketAddr,
    sync::Arc,
    thread::available_parallelism,
    time::{Duration, Instant},
};

use anyhow::Context;
use picloud_core::{
    alert::Space,
    event::Event,
    id::HistoryId,
    keys::{Keyring, MasterKey},
    log::{
        Committer, CommitterConfig, Follow, Handoff, Node, Sealer, SealerParts, Seals, Tail, partitions, read::Reader,
        schema,
    },
    trace::Tracer,
};
use picloud_ingress::auth::Auth;
use picloud_projections::{
    retention::{Keep, Retention},
    setup::LiveSetup,
    views::{Keeper, Views},
};
use picloud_workers::{
    alerts::{AlertParts, Messenger, STEADY},
    letters::{JobParts, Jobs},
    mail::{self, Mailer},
    outbox::{self, Dispatcher, DispatcherParts},
    pool::{self, Pool},
    runner::{Runner, RunnerParts},
    sandbox::Sandbox,
    schedule::Scheduler,
};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
    time::{sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{alerting::Alerting, housekeeping, outside};

/// A lost claim is found again, so nobody waits for the disk; and claims look things up, however empty the tables were when
/// their plans were made.
const CLAIMS: [(&str, &str); 9] = [
    ("synchronous_commit", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
    ("enable_seqscan", "off"),
    // However many wait: their index has them in order.
    ("enable_bitmapscan", "off"),
    ("enable_sort", "off"),
    // What was looked up is not looked up twice.
    ("enable_memoize", "off"),
    ("statement_timeout", "10s"),
    // A node that was stopped in the middle must not hold a queue.
    ("idle_in_transaction_session_timeout", "5s"),
];

/// So long a view may take to come to the end of the log, before what it would lose goes.
const VIEWS_WITHIN: Duration = Duration::from_secs(30);

/// What a node has around it.
pub struct Surroundings {
    /// The platform's own addresses, which no script may call.
    pub own: Arc<[SocketAddr]>,
    /// How much room there is for what it writes.
    pub disk: watch::Receiver<Option<Space>>,
    /// Where the control plane is reached: alerts say so.
    pub admin_url: String,
    /// How mail is sent, if it is.
    pub mail: Option<mail::Settings>,
    /// What runs do is told to it.
    pub tracer: Tracer,
    /// How long what happened is kept.
    pub keep: Keep,
}

/// A node at work. Everything in it is shared; [`Platform::stop`] ends it in order.
pub struct Platform {
    /// For whoever reads.
    pub database: PgPool,
    /// Takes what is to be appended.
    pub committer: Committer,
    /// Tells of what was.
    pub tail: Tail,
    /// Finds what was.
    pub reader: Reader,
    /// How apps are set up.
    pub setup: LiveSetup,
    /// How the views stand.
    pub views: Views,
    /// How sealing goes.
    pub seals: Seals,
    /// This start's right to write.
    pub node: Node,
    /// What recordings, outcomes and cursors are under.
    pub keyring: Keyring,
    /// Which life of the log this is.
    pub history: HistoryId,
    /// Who people are.
    pub auth: Auth,
    /// Runs scripts.
    pub runner: Runner,
    /// How much room there is.
    pub disk: watch::Receiver<Option<Space>>,
    /// Cancelled when this node lost its right to write: it has to end.
    pub revoked: CancellationToken,
    committing: JoinHandle<()>,
    dispatching: JoinHandle<()>,
    scheduling: JoinHandle<()>,
    stop_dispatching: CancellationToken,
    working: JoinHandle<()>,
    stop_working: CancellationToken,
    sealing: JoinHandle<()>,
    stop_sealing: CancellationToken,
    viewing: JoinHandle<()>,
    stop_viewing: CancellationToken,
    alerting: Alerting,
    keeping_house: JoinHandle<()>,
    letting_go: JoinHandle<()>,
    stop_keeping_house: CancellationToken,
}

impl Platform {
    /// Joins a node on a database whose schema is current. `direct` is for the committer and LISTEN, which need
    /// connections of their own.
    ///
    /// # Errors
    /// When the database refuses, or the master key is not the one it was first started with.
    pub async fn start(
        database: PgPool,
        direct: PgConnectOptions,
        master: MasterKey,
        Surroundings { own, disk, admin_url, mail, tracer, keep }: Surroundings,
    ) -> anyhow::Result<Self> {
        let keyring = Keyring::open(master, database.clone()).await?;
        let history = schema::history(&database).await.context("failed to ask for the log's history")?;
        let node = Node::register(&database, &host_name(), env!("CARGO_PKG_VERSION"))
            .await
            .context("failed to register this node")?;
        let reader = Reader::new(database.clone());
        let head = reader.head().await.context("failed to ask for the head of the log")?;
        let mut connection = database.acquire().await?;
        partitions::ensure_ahead(&mut connection, head).await.context("failed to make room in the log")?;
        drop(connection);

        // Two: one listens, the other is there when that one has to be replaced.
        let listening = PgPoolOptions::new().max_connections(2).connect_lazy_with(direct.clone());
        let (appended, local) = mpsc::unbounded_channel();
        let (tail, _) = Tail::start(database.clone(), listening, node.epoch(), local)
            .await
            .context("failed to start following the log")?;
        let (keeper, views) = Keeper::new(database.clone(), direct.clone(), tail.clone(), reader.clone());
        let stop_viewing = CancellationToken::new();
        let viewing = tokio::spawn(keeper.run(stop_viewing.clone()));
        let places = Arc::new(Semaphore::new(outbox::PLACES));
        let (handoff, handed) = Handoff::new(Arc::clone(&places));
        let claims = PgPoolOptions::new().max_connections(2).connect_lazy_with(direct.clone().options(CLAIMS));
        let (committer, committing) =
            Committer::start(direct.clone(), node.epoch(), CommitterConfig::default(), appended, Some(handoff.clone()));
        let (sealer, seals) = Sealer::new(SealerParts {
            database: database.clone(),
            direct: direct.clone(),
            committer: committer.clone(),
            tail: tail.clone(),
            reader: reader.clone(),
            node,
            history,
            key: Arc::new(keyring.seal_key()),
        });
        let stop_sealing = CancellationToken::new();
        let sealing = tokio::spawn(sealer.run(stop_sealing.clone()));
        let (setup, _) =
            LiveSetup::start(database.clone(), &tail).await.context("failed to read how apps are set up")?;
        let auth = Auth::start(&database, &keyring, &tail).context("failed to start the thread for passwords")?;
        tokio::spawn(follow_keys(tail.follow(tail.position()), keyring.clone()));
        let http = outside::client(own, &setup);
        let alerting = Alerting::start(AlertParts {
            direct: direct.clone(),
            committer: committer.clone(),
            node,
            name: host_name(),
            setup: setup.clone(),
            tail: tail.clone(),
            views: views.clone(),
            disk: disk.clone(),
            messenger: Messenger::new(keyring.clone(), http.for_operators(), mail.map(Mailer::new), admin_url),
            steady: STEADY,
        });
        let pool = Pool::new(pool::Settings::default()).context("failed to start the threads for scripts")?;
        let runner = Runner::new(RunnerParts {
            sandbox: Sandbox::new(),
            pool,
            committer: committer.clone(),
            node,
            keyring: keyring.clone(),
            database: database.clone(),
            setup: setup.clone(),
            http,
            tracer,
        });
        let parts = DispatcherParts {
            runner: runner.clone(),
            setup: setup.clone(),
            claims,
            database: database.clone(),
            committer: committer.clone(),
            node,
            keyring: keyring.clone(),
        };
        let stop_dispatching = CancellationToken::new();
        let dispatcher = Dispatcher::new(parts, places, handoff);
        let dispatching = tokio::spawn(dispatcher.run(tail.clone(), handed, stop_dispatching.clone()));
        let scheduler =
            Scheduler { setup: setup.clone(), database: database.clone(), committer: committer.clone(), node };
        let scheduling = tokio::spawn(scheduler.run(stop_dispatching.clone()));
        let jobs = Jobs::new(JobParts {
            database: database.clone(),
            committer: committer.clone(),
            node,
            keyring: keyring.clone(),
            setup: setup.clone(),
        });
        let stop_working = CancellationToken::new();
        let working = tokio::spawn(jobs.run(tail.clone(), stop_working.clone()));
        let (stop_keeping_house, revoked) = (CancellationToken::new(), CancellationToken::new());
        let house = housekeeping::House {
            database: database.clone(),
            committer: committer.clone(),
            node,
            keyring: keyring.clone(),
            setup: setup.clone(),
            revoked: revoked.clone(),
        };
        let keeping_house = tokio::spawn(house.keep(stop_keeping_house.clone()));
        let retention = Retention {
            database: database.clone(),
            direct,
            committer: committer.clone(),
            reader: reader.clone(),
            views: views.clone(),
            patience: VIEWS_WITHIN,
            node,
            keep,
        };
        let letting_go = tokio::spawn(retention.run(stop_keeping_house.clone()));
        info!(node.epoch = %node.epoch(), log.head = %head, cores = available_parallelism().map_or(0, usize::from), "Node is up");
        Ok(Self {
            database,
            committer,
            tail,
            reader,
            setup,
            views,
            seals,
            node,
            keyring,
            history,
            auth,
            runner,
            disk,
            revoked,
            committing,
            dispatching,
            scheduling,
            stop_dispatching,
            working,
            stop_working,
            sealing,
            stop_sealing,
            viewing,
            stop_viewing,
            alerting,
            keeping_house,
            letting_go,
            stop_keeping_house,
        })
    }

    /// Ends it: runs that have begun end first (until the deadline), then what they want committed is, then the right to
    /// write is given up.
    pub async fn stop(self, deadline: Instant) {
        // What was not begun is given back while the runs that were begun go on.
        self.stop_dispatching.cancel();
        self.stop_working.cancel();
        let runner = self.runner.clone();
        let drained = tokio::task::spawn_blocking(move || runner.drain(deadline)).await;
        if let Ok(Err(left)) = drained {
            warn!(%left, "Stopped before all runs had ended");
        }
        if timeout_at(deadline.into(), self.dispatching).await.is_err() {
            warn!("Stopped before all items of the outbox were given back: others take them over");
        }
        // It ends at once, or with the commit that it waits for.
        let _ = self.scheduling.await;
        if timeout_at(deadline.into(), self.working).await.is_err() {
            warn!("Stopped in the midst of a job: another node goes on with it");
        }
        self.alerting.stop(deadline).await;
        self.stop_sealing.cancel();
        // What is there is sealed, if the database lets it.
        if timeout_at(deadline.into(), self.sealing).await.is_err() {
            warn!("Stopped before the log's end was sealed: it is when a node is started again");
        }
        self.committer.close();
        if self.committing.await.is_err() {
            warn!("The committer ended badly");
        }
        self.auth.key_uses.flush().await;
        self.stop_viewing.cancel();
        // What it has not taken in it does when it is started again.
        let _ = self.viewing.await;
        self.stop_keeping_house.cancel();
        // It ends at once; there is nothing to say if it did not.
        let _ = self.keeping_house.await;
        let _ = self.letting_go.await;
        if let Err(error) = self.node.retire(&self.database).await {
            warn!(%error, "Failed to give up this node's right to write: others will find it silent");
        }
    }

    /// The runner as whoever wants runs knows it.
    #[must_use]
    pub fn invoker(&self) -> Arc<dyn picloud_core::run::Invoker> {
        Arc::new(self.runner.clone())
    }

    /// Who tells alert channels, as whoever wants to try one out knows it.
    #[must_use]
    pub fn courier(&self) -> Arc<dyn picloud_core::alert::Courier> {
        Arc::new(self.alerting.messenger.clone())
    }

    /// The same as whoever wants runs of the past run again knows it.
    #[must_use]
    pub fn replayer(&self) -> Arc<dyn picloud_core::replay::Replayer> {
        Arc::new(self.runner.clone())
    }
}

/// Keeps the keys in memory as the log says they are. Ends with the tail.
async fn follow_keys(mut log: Follow, keyring: Keyring) {
    loop {
        let events = match log.next().await {
            Ok(Some(events)) => events,
            Ok(None) => return,
            Err(error) => {
                warn!(%error, "Failed to follow the log for changes of keys");
                sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        for recorded in events.iter() {
            match &recorded.event.event {
                Event::AppPurged(purged) => keyring.forget(purged.app),
                Event::TopicKeyRotated(_) => {
                    if let Some(app) = recorded.event.app {
                        keyring.forget_topic_key(app);
                    }
                }
                Event::MasterKeyRotated(rotated) if rotated.to != keyring.master_fingerprint() => {
                    if let Err(error) = keyring.reload().await {
                        error!(%error, "The master key was rotated, and this node has not got the new one");
                    }
                }
                _ => {}
            }
        }
    }
}

/// What this machine calls itself.
pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
