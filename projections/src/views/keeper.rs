//! Who folds views: of all nodes one, for each view, as long as it holds the view's lock.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use picloud_core::{
    causes::with_causes,
    log::{
        Follow, Position, Recorded, Tail, alone,
        read::{ReadError, Reader},
    },
};
use sqlx::{
    Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    Schema, Standing, View, all,
    checkpoint::{self, Parked},
    rebuild::{RebuildError, rebuild},
    view::FoldError,
};

/// Under load views are folded this often: more events at once cost less.
const PACE: Duration = Duration::from_millis(100);

/// How many events are taken in at once.
const MOST: usize = 20_000;

/// How often a node asks for the views that others fold, and looks how these stand.
const ASK_EVERY: Duration = Duration::from_secs(3);

/// How often a view that is parked is tried again.
const RETRY_PARKED: Duration = Duration::from_secs(30);

/// How often it is looked whether a view that another node folds has come as far as somebody waits for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Of transactions that the log can make again: nobody waits for the disk.
const FOLDING: [(&str, &str); 5] = [
    ("synchronous_commit", "off"),
    ("jit", "off"),
    ("lock_timeout", "5s"),
    ("statement_timeout", "60s"),
    ("idle_in_transaction_session_timeout", "10s"),
];

/// How this node's views stand. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Views {
    pool: PgPool,
    standings: Arc<[watch::Receiver<Standing>]>,
}

impl Views {
    /// All of them.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        self.standings.iter().map(|standing| standing.borrow().clone()).collect()
    }

    /// Waits until all have come to a place in the log, for some time each at most; whether they have.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn all_reach(&self, position: Position, patience: Duration) -> Result<bool, sqlx::Error> {
        for standing in self.standings.iter() {
            let view = standing.borrow().view;
            if !self.reach(view, position, patience).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until a view has come to a place in the log, for some time at most; whether it has. One that is parked is not
    /// waited for.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn reach(&self, view: &str, position: Position, patience: Duration) -> Result<bool, sqlx::Error> {
        let Some(standing) = self.standings.iter().find(|standing| standing.borrow().view == view) else {
            return Ok(false);
        };
        let reached = timeout(patience, async {
            let mut standing = standing.clone();
            loop {
                let (is_ours, is_parked, at) = {
                    let seen = standing.borrow_and_update();
                    (seen.is_ours, seen.parked().is_some(), seen.checkpoint.position)
                };
                if at >= position {
                    return Ok(true);
                }
                if is_parked {
                    return Ok(false);
                }
                if is_ours {
                    // Who tells is gone only when the node is.
                    let _ = standing.changed().await;
                } else {
                    let mut connection = self.pool.acquire().await?;
                    let all = checkpoint::read(&mut connection, Schema::LIVE).await?;
                    drop(connection);
                    if all.iter().any(|(name, checkpoint)| name == view && checkpoint.position >= position) {
                        return Ok(true);
                    }
                    sleep(LOOK_EVERY).await;
                }
            }
        });
        reached.await.unwrap_or(Ok(false))
    }
}

/// Folds views on this node, those that no other does.
pub struct Keeper {
    direct: PgConnectOptions,
    folding: PgPool,
    tail: Tail,
    reader: Reader,
    standings: Vec<watch::Sender<Standing>>,
}

impl Keeper {
    /// Of all views. `direct` is for the connection that holds the locks: it must be one of its own.
    #[must_use]
    pub fn new(pool: PgPool, direct: PgConnectOptions, tail: Tail, reader: Reader) -> (Self, Views) {
        let standings: Vec<_> =
            all(&reader).iter().map(|view| watch::Sender::new(Standing::new(view.name()))).collect();
        let views = Views { pool, standings: standings.iter().map(watch::Sender::subscribe).collect() };
        let folding = PgPoolOptions::new()
            .max_connections(2)
            .idle_timeout(Duration::from_secs(60))
            .connect_lazy_with(direct.clone().options(FOLDING));
        (Self { direct, folding, tail, reader, standings }, views)
    }

    /// Until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        self.run_until(stop).await;
        // What was begun is taken back before the database may go.
        self.folding.close().await;
    }

    async fn run_until(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let ended = tokio::select! {
                ended = self.keep() => ended,
                () = stop.cancelled() => return,
            };
            for standing in &self.standings {
                standing.send_modify(|standing| standing.is_ours = false);
            }
            match ended {
                Ok(()) => return,
                Err(error) => warn!(error = format!("{error:#}"), "Failed to keep the views: trying again"),
            }
            tokio::select! {
                () = sleep(Duration::from_secs(1)) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Until the log ends, or the connection does that holds the locks.
    async fn keep(&self) -> Result<(), FoldError> {
        let mut locks = PgConnection::connect_with(&self.direct).await?;
        for view in all(&self.reader) {
            checkpoint::begin(&mut locks, Schema::LIVE, view.name(), view.version()).await?;
        }
        // Dropped, it ends what it folds.
        let mut folds = JoinSet::new();
        let mut wanted = all(&self.reader);
        loop {
            let mut others = Vec::new();
            for view in wanted {
                if alone(&mut locks, &format!("view {}", view.name())).await? {
                    let standing = self.standing(view.name()).clone();
                    standing.send_modify(|standing| standing.is_ours = true);
                    let (pool, tail) = (self.folding.clone(), self.tail.clone());
                    folds.spawn(Folding { view, pool, tail, standing, at: Position::ZERO, built: 0 }.run());
                } else {
                    others.push(view);
                }
            }
            wanted = others;
            if !wanted.is_empty() {
                self.look(&mut locks).await?;
            }
            let ended = async {
                match folds.join_next().await {
                    Some(Ok(ended)) => ended,
                    Some(Err(panicked)) => {
                        error!(%panicked, "A view's fold panicked");
                        Err(FoldError::Overtaken)
                    }
                    None => std::future::pending().await,
                }
            };
            let asking_again =
                async { if wanted.is_empty() { std::future::pending().await } else { sleep(ASK_EVERY).await } };
            tokio::select! {
                ended = ended => return ended,
                () = asking_again => {}
            }
        }
    }

    fn standing(&self, view: &str) -> &watch::Sender<Standing> {
        self.standings.iter().find(|standing| standing.borrow().view == view).expect("every view has one")
    }

    /// How the views stand that others fold.
    async fn look(&self, connection: &mut PgConnection) -> Result<(), FoldError> {
        let checkpoints = checkpoint::read(connection, Schema::LIVE).await?;
        // What each has to take in next: an event that is not there yet, for those that have taken in all.
        let nexts: Vec<Position> = checkpoints.iter().map(|(_, checkpoint)| checkpoint.position.plus(1)).collect();
        let waiting = match self.reader.at(&nexts).await {
            Ok(waiting) => waiting,
            // That parks the view, which tells more.
            Err(ReadError::Undecodable { .. }) => HashMap::new(),
            Err(ReadError::Database(error)) => return Err(error.into()),
        };
        for ((view, checkpoint), next) in checkpoints.into_iter().zip(nexts) {
            let Some(standing) = self.standings.iter().find(|standing| standing.borrow().view == view) else {
                continue;
            };
            let behind_since = waiting.get(&next).map(|recorded| recorded.at);
            standing.send_if_modified(|standing| {
                let is_news =
                    !standing.is_ours && (standing.checkpoint != checkpoint || standing.behind_since != behind_since);
                if is_news {
                    standing.checkpoint = checkpoint;
                    standing.behind_since = behind_since;
                }
                is_news
            });
        }
        Ok(())
    }
}

/// A view while it is folded here.
struct Folding {
    view: Box<dyn View>,
    pool: PgPool,
    tail: Tail,
    standing: watch::Sender<Standing>,
    at: Position,
    /// How often it was built anew, as of when it was loaded.
    built: i32,
}

impl Folding {
    async fn run(mut self) -> Result<(), FoldError> {
        self.load().await?;
        while self.is_of_another_version() {
            self.renew().await?;
            self.load().await?;
        }
        let mut follow = self.tail.follow(self.at);
        let mut written = Instant::now();
        loop {
            match gather(&mut follow, written + PACE).await {
                Ok(None) => return Ok(()),
                Ok(Some(events)) => {
                    self.note_waiting(&events);
                    let goes_on = match self.take(&events).await {
                        Ok(true) => true,
                        Ok(false) => {
                            self.stand_still().await?;
                            false
                        }
                        Err(FoldError::Overtaken) if self.was_built_anew().await? => false,
                        Err(error) => return Err(error),
                    };
                    if !goes_on {
                        // From where it stands now.
                        self.load().await?;
                        follow = self.tail.follow(self.at);
                    }
                    written = Instant::now();
                }
                Err(ReadError::Database(error)) => return Err(error.into()),
                Err(ReadError::Undecodable { position, source }) => {
                    self.park(position, &format!("the event cannot be read: {source}")).await?;
                    self.stand_still().await?;
                }
            }
        }
    }

    fn is_of_another_version(&self) -> bool {
        self.standing.borrow().checkpoint.version != self.view.version()
    }

    /// Builds it anew: its rows were made by a fold that this version of PiCloud has another for. What there is is read from
    /// meanwhile.
    async fn renew(&self) -> Result<(), FoldError> {
        let name = self.view.name();
        info!(view = name, "The view `{name}` is built anew: this version makes other rows of the log");
        match rebuild(&self.pool, &[name.to_owned()], true, |_| {}).await {
            Ok(_) => {
                info!(view = name, "The view `{name}` was built anew");
                Ok(())
            }
            Err(RebuildError::UnderWay | RebuildError::Unknown { .. }) => {
                sleep(RETRY_PARKED).await;
                Ok(())
            }
            Err(RebuildError::Database(error)) => Err(error.into()),
            Err(RebuildError::Log(error)) => Err(error.into()),
            Err(error @ RebuildError::Fold { after, .. }) => {
                self.park(after.plus(1), &with_causes(&error)).await?;
                sleep(RETRY_PARKED).await;
                Ok(())
            }
        }
    }

    /// Reads where it stands.
    async fn load(&mut self) -> Result<(), FoldError> {
        let mut connection = self.pool.acquire().await?;
        let checkpoint = checkpoint::find(&mut connection, Schema::LIVE, self.view.name()).await?.unwrap_or_default();
        (self.at, self.built) = (checkpoint.position, checkpoint.built);
        self.view.load(&mut connection, Schema::LIVE).await?;
        self.standing.send_modify(|standing| standing.checkpoint = checkpoint);
        Ok(())
    }

    /// Takes in what comes next; or stands still before what it cannot.
    async fn take(&mut self, mut events: &[Recorded]) -> Result<bool, FoldError> {
        let mut size = events.len();
        while !events.is_empty() {
            let (next, rest) = events.split_at(size.min(events.len()));
            match self.commit(next).await {
                Ok(()) => {
                    self.note_waiting(rest);
                    events = rest;
                    size = size.saturating_mul(2);
                }
                Err(error) if error.is_lasting() => {
                    self.load().await?;
                    if let [one] = next {
                        self.park(one.position, &with_causes(&error)).await?;
                        return Ok(false);
                    }
                    // Which one it is shows when they are fewer.
                    size = next.len() / 2;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn commit(&mut self, events: &[Recorded]) -> Result<(), FoldError> {
        let Some(last) = events.last() else { return Ok(()) };
        let mut transaction = self.pool.begin().await?;
        let (name, to) = (self.view.name(), last.position);
        // First: who puts other tables in the place of these holds the checkpoint, and is not to wait for what we hold.
        checkpoint::advance(&mut transaction, Schema::LIVE, name, (self.built, self.at), to, last.at).await?;
        self.view.take(events, &mut transaction, Schema::LIVE).await?;
        transaction.commit().await?;
        self.at = to;
        self.stand(last.at);
        Ok(())
    }

    async fn park(&self, position: Position, error: &str) -> Result<(), FoldError> {
        let name = self.view.name();
        if self.standing.borrow().parked().is_none() {
            error!(view = name, log.position = %position, error, "The view `{name}` stands still: what it shows grows old");
        }
        let mut connection = self.pool.acquire().await?;
        let since = checkpoint::park(&mut connection, Schema::LIVE, name, position, error).await?;
        let parked = Parked { position, error: error.to_owned(), since };
        self.standing.send_modify(|standing| standing.checkpoint.parked = Some(parked));
        Ok(())
    }

    /// Until it is time to try again, or it was built anew.
    async fn stand_still(&self) -> Result<(), FoldError> {
        let until = Instant::now() + RETRY_PARKED;
        while Instant::now() < until {
            sleep(ASK_EVERY).await;
            if self.was_built_anew().await? {
                break;
            }
        }
        Ok(())
    }

    /// Whether other tables are in the place of those that it knows.
    async fn was_built_anew(&self) -> Result<bool, FoldError> {
        let mut connection = self.pool.acquire().await?;
        let found = checkpoint::find(&mut connection, Schema::LIVE, self.view.name()).await?;
        Ok(found.is_some_and(|checkpoint| checkpoint.built != self.built))
    }

    /// Says how far it is.
    fn stand(&self, at: DateTime<Utc>) {
        self.standing.send_modify(|standing| {
            if standing.checkpoint.parked.take().is_some() {
                info!(view = standing.view, "The view `{}` goes on", standing.view);
            }
            standing.checkpoint.position = self.at;
            standing.checkpoint.at = Some(at);
        });
    }

    /// Says since when it is behind with what it has yet to take in.
    fn note_waiting(&self, events: &[Recorded]) {
        let since = events.first().map(|recorded| recorded.at);
        self.standing.send_modify(|standing| standing.behind_since = since);
    }
}

/// What comes next: at once, when there was a pause; otherwise all that comes until it is time.
async fn gather(follow: &mut Follow, until: Instant) -> Result<Option<Vec<Recorded>>, ReadError> {
    let Some(mut events) = follow.next().await? else { return Ok(None) };
    while events.len() < MOST {
        match timeout_at(until, follow.next()).await {
            Ok(Ok(Some(more))) => events.extend(more),
            // What went wrong, or ends, shows again.
            Ok(Ok(None) | Err(_)) | Err(_) => break,
        }
    }
    Ok(Some(events))
}
