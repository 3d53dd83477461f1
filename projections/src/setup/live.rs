//! The newest setup, following the log.

use std::{collections::HashSet, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use picloud_core::{
    event::{Class, Event},
    id::AppId,
    log::{Follow, Position, Recorded, Tail},
};
use sqlx::{Connection as _, PgPool};
use tokio::{sync::watch, task::JoinHandle, time::sleep};
use tracing::warn;

use super::{
    Setup, accounts, alert_channels,
    load::{self, Which},
    outbox,
};

/// Holds the newest [`Setup`]. Cheap to clone; looking at it takes no lock.
#[derive(Clone, Debug)]
pub struct LiveSetup {
    newest: Arc<ArcSwap<Setup>>,
    /// How far the log has been followed.
    reached: watch::Receiver<Position>,
    /// The last change.
    changed: watch::Receiver<Position>,
}

impl LiveSetup {
    /// Reads the setup and starts following the log. The task ends with the tail.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn start(pool: PgPool, tail: &Tail) -> Result<(Self, JoinHandle<()>), sqlx::Error> {
        let position = tail.position();
        let mut setup = Setup { position, ..Setup::default() };
        reload(&pool, &mut setup, &Changed::all()).await?;
        let all =
            Changed { all: true, keys: true, accounts: true, outbox: true, alert_channels: true, ..Changed::default() };
        reload(&pool, &mut setup, &all).await?;
        let newest = Arc::new(ArcSwap::from_pointee(setup));
        let (told, reached) = watch::channel(position);
        let (change, changed) = watch::channel(position);
        let live = Self { newest: Arc::clone(&newest), reached, changed };
        let task = tokio::spawn(follow(pool, tail.follow(position), newest, told, change));
        Ok((live, task))
    }

    /// The newest.
    #[must_use]
    pub fn get(&self) -> Arc<Setup> {
        self.newest.load_full()
    }

    /// Resolves when all that was configured up to a position is in it.
    pub async fn reached(&self, position: Position) {
        let mut watched = self.reached.clone();
        // The task ends with the node only: then nobody waits for long.
        let _ = watched.wait_for(|reached| *reached >= position).await;
    }

    /// Resolves at the next change after those that were seen through this receiver.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Position> {
        self.changed.clone()
    }
}

/// What a stretch of the log changes of the setup.
#[derive(Debug, Default)]
struct Changed {
    all: bool,
    /// Something that is configured, but not in the setup: only its position moves on, since decisions hold as of that.
    besides: bool,
    keys: bool,
    accounts: bool,
    /// Whether what is owed may run.
    outbox: bool,
    alert_channels: bool,
    apps: HashSet<AppId>,
}

impl Changed {
    fn all() -> Self {
        Self { all: true, keys: true, accounts: true, outbox: true, ..Self::default() }
    }

    fn by(events: &[Recorded]) -> Self {
        // What was read may not have followed from the log.
        if events.iter().any(|recorded| matches!(recorded.event.event, Event::ProjectionRebuilt(_))) {
            return Self::all();
        }
        let mut changed = Self::default();
        for recorded in events.iter().filter(|recorded| recorded.event.event.class() == Class::Config) {
            match (&recorded.event.event, recorded.event.app) {
                // Nobody decides anything by them.
                (Event::SealSealed(_), _) => {}
                (Event::ApiKeyMinted(_) | Event::ApiKeyRevoked(_), _) => changed.keys = true,
                (
                    Event::DeadLetterCreated(_)
                    | Event::DeadLetterReplayed(_)
                    | Event::DeadLetterResolved(_)
                    | Event::DeadLetterHandlerEnded(_),
                    _,
                ) => {
                    changed.besides = true;
                }
                (Event::DeadLetterPurged(_) | Event::JobStarted(_) | Event::JobProgressed(_), _)
                | (Event::JobCancellationRequested(_) | Event::JobEnded(_), _) => changed.besides = true,
                (event, Some(app)) => {
                    changed.apps.insert(app);
                    // They go with their app.
                    let is_deleted = matches!(event, Event::AppDeleted(_));
                    changed.keys |= is_deleted;
                    changed.accounts |=
                        is_deleted || matches!(event, Event::MemberGranted(_) | Event::MemberRemoved(_));
                }
                (Event::MasterKeyRotated(_), None)
                | (Event::BackupTaken(_) | Event::BackupFailed(_) | Event::BackupRestored(_), None)
                | (Event::AlertRaised(_) | Event::AlertRecovered(_), None)
                | (Event::AlertRescheduled(_) | Event::AlertDelivered(_) | Event::AlertFailed(_), None) => {
                    changed.besides = true;
                }
                (Event::AlertChannelSet(_) | Event::AlertChannelRemoved(_), None) => changed.alert_channels = true,
                (Event::OutboxPaused(_) | Event::OutboxResumed(_), None) => changed.outbox = true,
                // All that is left of the instance's own is people.
                (_, None) => changed.accounts = true,
            }
        }
        changed
    }

    fn is_empty(&self) -> bool {
        !self.all
            && !self.besides
            && !self.keys
            && !self.accounts
            && !self.outbox
            && !self.alert_channels
            && self.apps.is_empty()
    }
}

async fn follow(
    pool: PgPool,
    mut log: Follow,
    newest: Arc<ArcSwap<Setup>>,
    told: watch::Sender<Position>,
    change: watch::Sender<Position>,
) {
    // Kept until it has been taken in: a database that is away for a moment loses nothing.
    let mut pending = Changed::default();
    loop {
        match log.next().await {
            Ok(Some(events)) => {
                let changed = Changed::by(&events);
                pending.all |= changed.all;
                pending.besides |= changed.besides;
                pending.keys |= changed.keys;
                pending.accounts |= changed.accounts;
                pending.outbox |= changed.outbox;
                pending.alert_channels |= changed.alert_channels;
                pending.apps.extend(changed.apps);
            }
            Ok(None) => return,
            Err(error) => {
                warn!(%error, "Failed to follow the log for changes of the setup");
                sleep(Duration::from_secs(1)).await;
                continue;
            }
        }
        if pending.is_empty() {
            // Nothing is set up differently, but whoever waits for this position waits no longer.
            told.send_replace(log.cursor());
            continue;
        }
        while !pending.is_empty() {
            // A copy each time: what was half read is not shown, nor taken for newer than it is.
            let mut setup = Setup::clone(&newest.load());
            match reload(&pool, &mut setup, &pending).await {
                Ok(()) => {
                    pending = Changed::default();
                    setup.position = log.cursor();
                    newest.store(Arc::new(setup));
                }
                Err(error) => {
                    warn!(%error, "Failed to read how apps are set up: the old setup goes on");
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
        told.send_replace(log.cursor());
        change.send_replace(log.cursor());
    }
}

async fn reload(pool: &PgPool, setup: &mut Setup, changed: &Changed) -> Result<(), sqlx::Error> {
    let mut connection = pool.acquire().await?;
    // All of one moment: what is read may be newer than what was told of, and then it is told of again.
    let mut transaction = connection.begin_with("begin isolation level repeatable read read only").await?;
    if changed.all {
        let apps = load::apps(&mut transaction, Which::All).await?;
        setup.apps = apps.into_iter().map(|app| (app.id, Arc::new(app))).collect();
    } else {
        for app in &changed.apps {
            match load::apps(&mut transaction, Which::One(*app)).await?.pop() {
                Some(found) => _ = setup.apps.insert(*app, Arc::new(found)),
                None => _ = setup.apps.remove(app),
            }
        }
    }
    if changed.all || !changed.apps.is_empty() {
        setup.former_slugs = load::former_slugs(&mut transaction).await?;
    }
    if changed.keys {
        setup.keys = load::keys(&mut transaction).await?;
    }
    if changed.accounts {
        setup.accounts = accounts::load(&mut transaction).await?;
    }
    if changed.outbox {
        setup.outbox = outbox::load(&mut transaction).await?;
    }
    if changed.alert_channels {
        setup.alert_channels = Arc::new(alert_channels::load(&mut transaction).await?);
    }
    transaction.commit().await
}
