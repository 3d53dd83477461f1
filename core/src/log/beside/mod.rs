//! State made anew from the log, beside the state that is read from: [`Beside`] is a database of its own, in the same cluster,
//! which the committer's own statements fold into. Statements name the schema `state`; only in another database can they
//! write another one.
//!
//! What was read from stays as it is: comparing the two, and putting right what differs, is for others ([`super::correct`]).

mod before;
mod database;
mod stretch;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, pool::PoolConnection, postgres::Postgres};
use uuid::Uuid;

use super::read::ReadError;
use super::{
    Position, Recorded,
    batch::{self, Arrays, Verdict, Writer},
    config,
    schema::SchemaError,
};
use crate::id::{AppId, EventId, NodeEpoch};
use before::Before;
use stretch::Stretch;

/// Why state could not be made anew.
#[derive(Debug, thiserror::Error)]
pub enum BesideError {
    /// The database would not.
    #[error("failed to make state anew from the log")]
    Database(#[from] sqlx::Error),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The role may not create databases.
    #[error(
        "state is made anew in a database of its own, and the role `{role}` may not create one: let it, with \
         `alter role \"{role}\" createdb`"
    )]
    MayNotCreate {
        /// As whom we are connected.
        role: String,
    },
    /// The new database is there, and cannot be used.
    #[error("failed to connect to the database `{name}`, which was created for this")]
    NotReached {
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
    /// The schema is of another version than this program.
    #[error(
        "the database is at schema version {found} and this PiCloud makes version {known}: start `picloud serve` of this \
         version on it once"
    )]
    OtherVersion {
        /// The database's.
        found: i64,
        /// This program's.
        known: i64,
    },
    /// The tables could not be made.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// Events of the log cannot be folded.
    #[error("the events from position {} to {up_to} cannot be folded into state: {why}", .after.0 + 1)]
    Fold {
        /// State had taken in this far,
        after: Position,
        /// and could not go on to here.
        up_to: Position,
        /// What is in the way.
        why: String,
    },
}

const NOT_INCREASED: &str = "what is increased is no integer, or leaves the range of one";

/// A database with nothing but the state that follows from the log up to a place. Dropped by [`Beside::drop`], or by the next
/// that is made.
#[derive(Debug)]
pub struct Beside {
    name: String,
    /// To the cluster, for dropping it.
    live: PgPool,
    pool: PgPool,
    folding: PoolConnection<Postgres>,
    writer: Writer,
    at: Position,
    /// Apps that were deleted.
    gone: HashSet<AppId>,
    before: Before,
}

impl Beside {
    /// Makes an empty one, whatever was left over of others. `live` is the database that is read from, through connections
    /// without limits of time; that nobody else does this at the same time is for the caller to see to.
    ///
    /// # Errors
    /// [`BesideError`]; nothing is left behind then.
    pub async fn make(live: &PgPool) -> Result<Self, BesideError> {
        let name = database::create(live).await?;
        match Self::prepare(live, name.clone()).await {
            Ok(beside) => Ok(beside),
            Err(error) => {
                // What went wrong first says more; what is left goes when the next is made.
                let _ = database::drop(live, &name).await;
                Err(error)
            }
        }
    }

    async fn prepare(live: &PgPool, name: String) -> Result<Self, BesideError> {
        let pool = database::prepare(live, &name).await?;
        let mut folding = pool.acquire().await?;
        let (token, epoch) = (Uuid::from_u128(EventId::generate().ulid().0), NodeEpoch::generate());
        sqlx::query("update log.writer set token = $1").bind(token).execute(&mut *folding).await?;
        sqlx::query("insert into live.nodes (epoch, name, version) values ($1, 'replay', '')")
            .bind(epoch.uuid())
            .execute(&mut *folding)
            .await?;
        let writer = Writer { token, known: None, epoch, triggers: Some(Position::ZERO) };
        let (gone, before) = (HashSet::new(), Before::default());
        Ok(Self { name, live: live.clone(), pool, folding, writer, at: Position::ZERO, gone, before })
    }

    /// Connections to it. What they call `now()` is what [`Beside::stands_at`] said last.
    #[must_use]
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The last event that it has taken in.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.at
    }

    /// Says what time it is in there, for whoever sweeps what has expired.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn stands_at(&mut self, at: DateTime<Utc>) -> Result<(), sqlx::Error> {
        database::stands_at(&mut self.folding, at).await
    }

    /// Takes in the events that come next.
    ///
    /// # Errors
    /// When the database refuses, or what an event says cannot be: then it is of no use any more.
    pub async fn fold(&mut self, events: &[Recorded]) -> Result<(), BesideError> {
        let mut rest = events;
        while let Some(stretch) = Stretch::first_of(rest) {
            let folded = self.fold_stretch(&stretch).await?;
            rest = &rest[folded..];
        }
        Ok(())
    }

    /// Takes in as much of a stretch as can be at once; how many events it was.
    async fn fold_stretch(&mut self, stretch: &Stretch<'_>) -> Result<usize, BesideError> {
        let (arrays, count) = Arrays::again(stretch.events.iter().map(|recorded| &*recorded.event), &mut self.gone);
        let events = &stretch.events[..count];
        let Some(last) = events.last() else {
            let first = stretch.events.first().map_or(self.at, |recorded| recorded.position);
            return Err(self.refused(first, NOT_INCREASED.to_owned()));
        };
        if !arrays.has_no_rows() {
            self.write(stretch, last.position, &arrays).await?;
        }
        for recorded in events {
            let connection: &mut PgConnection = &mut self.folding;
            let folded = config::fold(connection, &recorded.event, recorded.position, recorded.at).await;
            folded.map_err(|error| self.failed(recorded.position, error))?;
            self.remember_handlers(recorded).await?;
        }
        if stretch.changes_triggers {
            // The function asks whether they are those that the events were matched against.
            let triggers = sqlx::query_scalar("select triggers from log.writer").fetch_one(&mut *self.folding).await?;
            self.writer.triggers = Some(Position(triggers));
        }
        self.at = last.position;
        Ok(count)
    }

    /// By the function that the committer calls.
    async fn write(&mut self, stretch: &Stretch<'_>, up_to: Position, arrays: &Arrays<'_>) -> Result<(), BesideError> {
        if let Some(node) = stretch.node.filter(|node| *node != self.writer.epoch) {
            // Runs are the node's that appends their beginning.
            sqlx::query("update live.nodes set epoch = $1").bind(node.uuid()).execute(&mut *self.folding).await?;
            self.writer.epoch = node;
        }
        let before = Position(stretch.events[0].position.0 - 1);
        self.writer.known = Some((before, stretch.at));
        match batch::append(&mut self.folding, &self.writer, false, arrays).await {
            Ok(Verdict::Committed { head, at }) if (head, at) == (before, stretch.at) => Ok(()),
            Ok(Verdict::Refused(_) | Verdict::Crowded) => Err(self.refused(up_to, NOT_INCREASED.to_owned())),
            // Of another place or time than it was told, or not at all: nobody else writes there.
            Ok(
                verdict @ (Verdict::Committed { .. } | Verdict::Behind { .. } | Verdict::Unmatched | Verdict::Revoked),
            ) => Err(self.refused(up_to, format!("the database answers {verdict:?}"))),
            Err(error) => Err(self.failed(up_to, error)),
        }
    }

    fn refused(&self, up_to: Position, why: String) -> BesideError {
        BesideError::Fold { after: self.at, up_to, why }
    }

    /// What the events say, or the connection.
    fn failed(&self, up_to: Position, error: sqlx::Error) -> BesideError {
        match &error {
            sqlx::Error::Database(database) => self.refused(up_to, database.to_string()),
            _ => error.into(),
        }
    }

    /// Drops it.
    ///
    /// # Errors
    /// When the database refuses: then it goes when the next is made.
    pub async fn drop(self) -> Result<(), sqlx::Error> {
        drop(self.folding);
        self.pool.close().await;
        database::drop(&self.live, &self.name).await
    }
}
