//! Builds views anew from the log, beside those that are read from; compares them row by row, and puts them in their place.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, future::try_join_all, stream};
use picloud_core::{
    event::Class,
    log::{
        Position, Recorded, alone, no_longer_alone,
        read::{Direction, Filter, ReadError, Reader},
    },
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, postgres::PgPoolOptions};
use tokio::{sync::mpsc, time::sleep};

use super::{
    Schema, View, all, checkpoint,
    view::{FoldError, is_lasting},
};

/// Events that are taken in at once.
const CHUNK: usize = 20_000;

/// So near to the end of the log, the rest is taken in while nobody else takes it in.
const NEAR: i64 = 2_000;

/// What is read from lags a moment; so long it is waited for,
const LIVE_WITHIN: Duration = Duration::from_secs(3);

/// and looked at as often as this.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How often it is tried to put tables in the place of those that are read from.
const SWAPS: u32 = 6;

/// Rows that differ and are shown, of each table.
const SHOWN: i64 = 10;

/// Of transactions that may take long, and that the log can make again.
const BUILDING: [(&str, &str); 8] = [
    ("synchronous_commit", "off"),
    ("jit", "off"),
    ("statement_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("lock_timeout", "10s"),
    ("maintenance_work_mem", "256MB"),
    ("work_mem", "64MB"),
    ("max_parallel_workers_per_gather", "2"),
];

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Up to here,
    pub position: Position,
    /// of so many.
    pub head: Position,
}

/// What became of a view.
#[derive(Clone, Debug)]
pub struct Rebuilt {
    /// Which.
    pub view: &'static str,
    /// How it differs from what was read from.
    pub compared: Compared,
    /// Whether it is what is read from now.
    pub is_swapped: bool,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// At the same place in the log, the same rows.
    Same {
        /// How many.
        rows: u64,
    },
    /// Rows that only one of the two has.
    Different {
        /// So many are only in what was read from,
        only_live: u64,
        /// so many only in what was built.
        only_built: u64,
        /// Some of them.
        examples: Vec<Difference>,
    },
    /// They cannot be compared.
    Not {
        /// Why.
        reason: String,
    },
}

/// A row that only one of the two has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// In which table.
    pub table: &'static str,
    /// Whether it is in what was read from, rather than in what was built.
    pub is_live: bool,
    /// The row, as text.
    pub row: String,
}

/// Why nothing was built.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The database would not.
    #[error("failed to build the views anew")]
    Database(#[from] sqlx::Error),
    /// An event cannot be taken in.
    #[error("the view `{view}` cannot take in the events from position {} to {}", .after.0 + 1, .up_to)]
    Fold {
        /// Which view.
        view: &'static str,
        /// It had taken in this far,
        after: Position,
        /// and could not go on to here.
        up_to: Position,
        /// Why not.
        #[source]
        source: FoldError,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// There is no such view.
    #[error("there is no view `{name}`: there are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// One at a time: it has one place to build in.
    #[error("a replay is under way, or a part of the log is being let go of: try again when that is done")]
    UnderWay,
}

/// Builds these views anew, or all when none is named, and puts them in the place of the ones that are read from if that is
/// wanted. Whoever reads or folds these goes on meanwhile.
///
/// # Errors
/// When it cannot be done: then all is as it was.
pub async fn rebuild(
    pool: &PgPool,
    names: &[String],
    swaps: bool,
    mut told: impl FnMut(Progress),
) -> Result<Vec<Rebuilt>, RebuildError> {
    let building = PgPoolOptions::new()
        .max_connections(12)
        .connect_lazy_with(pool.connect_options().as_ref().clone().options(BUILDING));
    let reader = Reader::new(building.clone());
    let views = chosen(&reader, names)?;
    let mut lock = building.acquire().await?.detach();
    if !alone(&mut lock, "replay").await? {
        return Err(RebuildError::UnderWay);
    }
    Schema::NEXT.make(&mut lock).await?;
    let mut builder = Builder { pool: building, reader, views, at: Position::ZERO, at_time: None };
    let built = builder.build(swaps, &mut told).await;
    // Also when it went wrong: what is half built is of no use.
    let dropped = Schema::NEXT.drop(&mut lock).await;
    no_longer_alone(lock).await?;
    builder.pool.close().await;
    let built = built?;
    dropped?;
    Ok(built)
}

fn chosen(reader: &Reader, names: &[String]) -> Result<Vec<Box<dyn View>>, RebuildError> {
    let mut views = all(reader);
    if let Some(name) = names.iter().find(|name| views.iter().all(|view| view.name() != *name)) {
        let known: Vec<String> = views.iter().map(|view| format!("`{}`", view.name())).collect();
        return Err(RebuildError::Unknown { name: name.clone(), known: known.join(", ") });
    }
    views.retain(|view| names.is_empty() || names.iter().any(|name| name == view.name()));
    Ok(views)
}

struct Builder {
    pool: PgPool,
    reader: Reader,
    views: Vec<Box<dyn View>>,
    at: Position,
    at_time: Option<DateTime<Utc>>,
}

impl Builder {
    async fn build(&mut self, swaps: bool, told: &mut impl FnMut(Progress)) -> Result<Vec<Rebuilt>, RebuildError> {
        self.load().await?;
        let mut read = read_ahead(self.reader.clone(), self.at, self.classes());
        while let Some(read) = read.recv().await {
            let Chunk { events, up_to, head } = read?;
            if let Some(last) = events.last() {
                take_all(&self.pool, &mut self.views, self.at, &events).await?;
                self.at_time = Some(last.at);
            }
            self.at = up_to;
            told(Progress { position: self.at, head });
        }
        // Whoever only compares reads all rows of it anyway.
        if swaps {
            Schema::NEXT.index(&self.pool).await?;
            let tables = self.views.iter().flat_map(|view| view.tables());
            Schema::NEXT.analyze(&mut *self.pool.acquire().await?, tables).await?;
        }
        let mut rebuilt = Vec::new();
        for view in &mut self.views {
            let mut one = One { reader: &self.reader, view: &mut **view, at: self.at, at_time: self.at_time };
            let mut connection = self.pool.acquire().await?;
            let compared = one.compare(&mut connection).await?;
            if swaps {
                one.swap(&mut connection).await?;
            }
            rebuilt.push(Rebuilt { view: one.view.name(), compared, is_swapped: swaps });
        }
        Ok(rebuilt)
    }

    /// Of which events are that any of the views wants.
    fn classes(&self) -> Vec<Class> {
        let is_wanted = |class: &Class| self.views.iter().any(|view| view.classes().contains(class));
        Class::ALL.into_iter().filter(is_wanted).collect()
    }

    async fn load(&mut self) -> Result<(), sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        for view in &mut self.views {
            view.load(&mut connection, Schema::NEXT).await?;
        }
        Ok(())
    }
}

/// A part of the log, and how far that goes at the moment.
struct Chunk {
    events: Vec<Recorded>,
    up_to: Position,
    head: Position,
}

/// Reads the log from a place on until it is near to its end: in a task of its own, for what is read has to be decoded, and that
/// keeps a processor as busy as writing keeps the other.
fn read_ahead(reader: Reader, mut at: Position, classes: Vec<Class>) -> mpsc::Receiver<Result<Chunk, ReadError>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let read = async {
            loop {
                let head = reader.head().await?;
                let chunks = (at.0..head.0).step_by(CHUNK).map(|after| {
                    let up_to = Position((after + CHUNK as i64).min(head.0));
                    let events = events_of(&reader, &classes, Position(after), up_to);
                    async move { Ok::<_, ReadError>(Chunk { events: events.await?, up_to, head }) }
                });
                // What comes after is asked for while this is decoded.
                let mut chunks = stream::iter(chunks).buffered(2);
                while let Some(chunk) = chunks.next().await {
                    // Whoever built from it has given up.
                    let Ok(()) = sender.send(Ok(chunk?)).await else { return Ok(()) };
                }
                at = head;
                if reader.head().await?.0 - at.0 <= NEAR {
                    return Ok(());
                }
            }
        };
        if let Err(error) = read.await {
            let _ = sender.send(Err(error)).await;
        }
    });
    receiver
}

/// Some of what a part of the log says.
async fn events_of(
    reader: &Reader,
    classes: &[Class],
    after: Position,
    up_to: Position,
) -> Result<Vec<Recorded>, ReadError> {
    reader
        .list(&Filter { classes: classes.to_vec(), ..Filter::default() }, Direction::Forward, after, up_to, CHUNK)
        .await
}

/// All views at once: each has its own tables.
async fn take_all(
    pool: &PgPool,
    views: &mut [Box<dyn View>],
    after: Position,
    events: &[Recorded],
) -> Result<(), RebuildError> {
    let takes = views.iter_mut().map(|view| async move {
        let mut transaction = pool.begin().await?;
        take(&mut **view, &mut transaction, after, events).await?;
        transaction.commit().await?;
        Ok::<_, RebuildError>(())
    });
    try_join_all(takes).await?;
    Ok(())
}

async fn take(
    view: &mut dyn View,
    connection: &mut PgConnection,
    after: Position,
    events: &[Recorded],
) -> Result<(), RebuildError> {
    let up_to = events.last().map_or(after, |recorded| recorded.position);
    let name = view.name();
    let taken = view.take(events, connection, Schema::NEXT).await;
    taken.map_err(|source| RebuildError::Fold { view: name, after, up_to, source })
}

/// A view that is nearly built.
struct One<'b> {
    reader: &'b Reader,
    view: &'b mut dyn View,
    at: Position,
    at_time: Option<DateTime<Utc>>,
}

impl One<'_> {
    /// Takes in what is missing up to a place.
    async fn reach(&mut self, connection: &mut PgConnection, position: Position) -> Result<(), RebuildError> {
        while self.at < position {
            let up_to = Position(position.0.min(self.at.0 + CHUNK as i64));
            let events = events_of(self.reader, self.view.classes(), self.at, up_to).await?;
            if let Some(last) = events.last() {
                take(self.view, connection, self.at, &events).await?;
                self.at_time = Some(last.at);
            }
            self.at = up_to;
        }
        Ok(())
    }

    /// Until what is read from has come as far, if it still comes at all.
    async fn wait_for_live(&self, connection: &mut PgConnection) -> Result<(), RebuildError> {
        let until = Instant::now() + LIVE_WITHIN;
        while Instant::now() < until {
            let live = checkpoint::find(connection, Schema::LIVE, self.view.name()).await?.unwrap_or_default();
            if live.position >= self.at || live.parked.is_some() {
                break;
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Compares it with what is read from, as of one moment: the rows of both after the same event.
    async fn compare(&mut self, connection: &mut PgConnection) -> Result<Compared, RebuildError> {
        let before = (self.at, self.at_time);
        self.wait_for_live(connection).await?;
        let mut transaction = connection.begin_with("begin isolation level repeatable read").await?;
        let live = checkpoint::find(&mut transaction, Schema::LIVE, self.view.name()).await?.unwrap_or_default();
        if live.position < self.at {
            let reason = format!("what is read from stands at position {}, before {}", live.position, self.at);
            return Ok(Compared::Not { reason });
        }
        if live.version != self.view.version() {
            let reason = format!("what is read from was made by version {} of the fold", live.version);
            return Ok(Compared::Not { reason });
        }
        self.reach(&mut transaction, live.position).await?;
        match compare(&mut transaction, self.view.tables()).await {
            Ok(compared) => {
                transaction.commit().await?;
                Ok(compared)
            }
            Err(error) if is_lasting(&error) => {
                transaction.rollback().await?;
                // What was written in between is gone, and has to be taken in again.
                (self.at, self.at_time) = before;
                self.view.load(connection, Schema::NEXT).await?;
                Ok(Compared::Not { reason: format!("what is read from is not as it should be: {error}") })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Puts it in the place of what is read from; again, when that is being read from in another order.
    async fn swap(&mut self, connection: &mut PgConnection) -> Result<(), RebuildError> {
        for _ in 1..SWAPS {
            let before = (self.at, self.at_time);
            match self.swap_once(connection).await {
                Err(RebuildError::Database(error)) if is_in_the_way(&error) => {
                    (self.at, self.at_time) = before;
                    self.view.load(connection, Schema::NEXT).await?;
                }
                done => return done,
            }
        }
        self.swap_once(connection).await
    }

    /// What is read from does not go back in time by it.
    async fn swap_once(&mut self, connection: &mut PgConnection) -> Result<(), RebuildError> {
        let mut transaction = connection.begin().await?;
        // Whoever folds it waits, and begins anew.
        let live = checkpoint::lock(&mut transaction, Schema::LIVE, self.view.name()).await?;
        self.reach(&mut transaction, live).await?;
        for table in self.view.tables() {
            Schema::NEXT.put_live(&mut transaction, table).await?;
        }
        let (name, version) = (self.view.name(), self.view.version());
        checkpoint::replace(&mut transaction, Schema::LIVE, name, version, self.at, self.at_time).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Somebody holds what is to be exchanged: a deadlock, or a lock that was not to be had in time.
fn is_in_the_way(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| ["40P01", "55P03"].contains(&&*code))
}

/// How many rows a table has, and the sum of their hashes: the same for the same rows, in whatever order they lie. Not every type
/// has a hash, but all have a binary form.
async fn checksum(connection: &mut PgConnection, schema: &str, table: &str) -> Result<(u64, String), sqlx::Error> {
    let sql = format!(
        "select count(*), coalesce(sum(hash_record_extended(row(record_send(t)), 0)), 0)::text from {schema}.{table} t"
    );
    let (count, sum): (i64, String) = sqlx::query_as(AssertSqlSafe(sql)).fetch_one(connection).await?;
    Ok((count as u64, sum))
}

async fn compare(connection: &mut PgConnection, tables: &[&'static str]) -> Result<Compared, sqlx::Error> {
    let (live, built) = (Schema::LIVE.name(), Schema::NEXT.name());
    let (mut rows, mut only, mut examples) = (0, HashMap::from([(true, 0), (false, 0)]), Vec::new());
    for table in tables {
        let there = checksum(connection, live, table).await?;
        let (count, sum) = checksum(connection, built, table).await?;
        rows += count;
        if there == (count, sum) {
            continue;
        }
        for is_live in [true, false] {
            let (one, other) = if is_live { (live, built) } else { (built, live) };
            let sql = format!(
                "with differing as materialized (
                    select * from (select * from {one}.{table} except all select * from {other}.{table}) d
                )
                select (select count(*) from differing), d::text from differing d limit {SHOWN}"
            );
            let found: Vec<(i64, String)> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut *connection).await?;
            *only.entry(is_live).or_default() += found.first().map_or(0, |(count, _)| *count as u64);
            examples.extend(found.into_iter().map(|(_, row)| Difference { table, is_live, row }));
        }
    }
    let (only_live, only_built) = (only[&true], only[&false]);
    Ok(match only_live + only_built {
        0 => Compared::Same { rows },
        _ => Compared::Different { only_live, only_built, examples },
    })
}
