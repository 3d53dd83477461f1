//! Finding events in the log.
//!
//! The log has many leaves and most questions concern few of them: a plan over the parent would have to open every one, so
//! queries here name the leaves of the segments they need. Closed leaves have indexes, the open one remembers which subjects,
//! roots and actors it has ([`super::lookup`]); what neither knows is read from end to end. So a page of a list is
//! searched for as long as someone may wait ([`Reader::search`]), the rest is for who must have all.

pub mod entries;
mod filter;
mod published;
mod search;
mod snapshots;
mod statement;
mod time;
mod windows;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use chrono::{DateTime, Utc};
use futures::{FutureExt as _, future::BoxFuture};
use sqlx::{AssertSqlSafe, PgPool};

use super::{Position, Recorded};
use crate::{
    event::{Class, Undecodable},
    id::EventId,
};

use self::statement::decode;
pub use self::{
    filter::Filter,
    published::Published,
    search::Found,
    windows::{Bound, Windows, gather},
};

/// Why events could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database could not be asked.
    #[error("failed to read the log")]
    Database(#[from] sqlx::Error),
    /// An event is not of this version's catalogue. Whoever folds must stop before it.
    #[error("failed to read the event at position {position}")]
    Undecodable {
        /// Where it lies.
        position: Position,
        /// Why not.
        #[source]
        source: Undecodable,
    },
}

/// Which way a list goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    #[default]
    Forward,
    /// Newest first.
    Backward,
}

/// Reads the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    pool: PgPool,
    segments: Arc<RwLock<Arc<[Segment]>>>,
    /// When segments began, by their first places, as far as somebody has asked.
    begun: Arc<RwLock<HashMap<i64, DateTime<Utc>>>>,
}

#[derive(Clone, Debug)]
struct Segment {
    low: i64,
    high: i64,
    classes: Vec<String>,
    /// The classes whose leaves have a lookup,
    lookups: Vec<String>,
    /// and of these the ones that know of actors: older ones do not.
    actors: Vec<String>,
    /// The classes whose leaves have indexes.
    indexes: Vec<String>,
}

impl Segment {
    fn has_leaf(&self, class: Class) -> bool {
        has(&self.classes, class)
    }

    fn has_lookup(&self, class: Class) -> bool {
        has(&self.lookups, class)
    }

    fn looks_up_actors(&self, class: Class) -> bool {
        has(&self.actors, class)
    }

    fn is_indexed(&self, class: Class) -> bool {
        has(&self.indexes, class)
    }
}

impl Reader {
    /// Reads through a pool.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool, segments: Arc::new(RwLock::new(Arc::new([]))), begun: Arc::default() }
    }

    /// The database's own word on how far the log goes. Not for the hot path.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn head(&self) -> Result<Position, sqlx::Error> {
        let head = sqlx::query_scalar!(r#"select log.find_head() as "head!""#).fetch_one(&self.pool).await?;
        Ok(Position(head))
    }

    /// The events at some places, as far as they are in the log.
    ///
    /// # Errors
    /// When the database cannot be asked, or an event is not of this version's catalogue.
    pub async fn at(&self, positions: &[Position]) -> Result<HashMap<Position, Recorded>, ReadError> {
        if positions.is_empty() {
            return Ok(HashMap::new());
        }
        let positions: Vec<i64> = positions.iter().map(|position| position.0).collect();
        let sql = "select position, id, at, app_id, kind, subject, data::text as data, actor::text as actor, cause, root, depth
            from log.events where position = any ($1)";
        // Planned for these: then only the leaves that they lie in are opened.
        let rows = sqlx::query(sql).bind(positions).persistent(false).fetch_all(&self.pool).await?;
        rows.iter().map(|row| decode(row).map(|recorded| (recorded.position, recorded))).collect()
    }

    /// Whether a place is the first of a segment: leaves begin there.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub(super) async fn is_segments_first(&self, position: Position) -> Result<bool, sqlx::Error> {
        let segments = self.segments(position).await?;
        Ok(segments.binary_search_by_key(&position.0, |segment| segment.low).is_ok())
    }

    /// An event by its id. The log has no index for it: it is looked for about where its id says it was made, then everywhere.
    ///
    /// # Errors
    /// When the database cannot be asked, or the event is not of this version's catalogue.
    pub async fn find(&self, id: EventId) -> Result<Option<Recorded>, ReadError> {
        let head = self.head().await?;
        let (after, up_to) = self.made_about(id.ulid(), head).await?;
        if let Some(found) = self.find_between(id, after, up_to).await? {
            return Ok(Some(found));
        }
        self.find_between(id, Position::ZERO, head).await
    }

    async fn find_between(&self, id: EventId, after: Position, up_to: Position) -> Result<Option<Recorded>, ReadError> {
        self.in_segments(after, up_to, |segments| {
            async move {
                for segment in segments {
                    for class in &segment.classes {
                        let sql = format!(
                            "select position, id, at, app_id, kind, subject, data::text as data, actor::text as actor,
                                cause, root, depth
                            from log.{class}_{low} where id = $1 and position > $2 and position <= $3",
                            low = segment.low
                        );
                        let query = sqlx::query(AssertSqlSafe(sql)).bind(id.uuid()).bind(after.0).bind(up_to.0);
                        if let Some(row) = query.fetch_optional(&self.pool).await? {
                            return Ok(Some(decode(&row)?));
                        }
                    }
                }
                Ok(None)
            }
            .boxed()
        })
        .await
    }

    fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Asks those with events after one position up to another, oldest first; once more when a leaf was dropped meanwhile.
    async fn in_segments<'a, T>(
        &self,
        after: Position,
        up_to: Position,
        ask: impl Fn(Vec<Segment>) -> BoxFuture<'a, Result<T, ReadError>>,
    ) -> Result<T, ReadError> {
        match ask(self.segments_between(after, up_to).await?).await {
            Err(ReadError::Database(error)) if is_undefined_table(&error) => {
                *self.segments.write().unwrap_or_else(PoisonError::into_inner) = Arc::new([]);
                ask(self.segments_between(after, up_to).await?).await
            }
            answered => answered,
        }
    }

    async fn segments_between(&self, after: Position, up_to: Position) -> Result<Vec<Segment>, sqlx::Error> {
        let mut segments = self.segments(up_to).await?.to_vec();
        segments.retain(|segment| segment.low <= up_to.0 && segment.high > after.0 + 1);
        Ok(segments)
    }

    async fn segments(&self, up_to: Position) -> Result<Arc<[Segment]>, sqlx::Error> {
        let known = Arc::clone(&self.segments.read().unwrap_or_else(PoisonError::into_inner));
        // Indexes that are missing are being made.
        let is_done = |segment: &Segment| segment.high > up_to.0 || segment.indexes.len() == segment.classes.len();
        if known.last().is_some_and(|last| last.high > up_to.0) && known.iter().all(is_done) {
            return Ok(known);
        }
        let segments = sqlx::query_as!(
            Segment,
            r#"select low, high, classes, array(
                select class from unnest(classes) as class
                where to_regclass(format('log.%I', format('%s_%s_lookup', class, low))) is not null
            ) as "lookups!", array(
                select class from unnest(classes) as class
                join pg_class lookup on lookup.oid = to_regclass(format('log.%I', format('%s_%s_lookup', class, low)))
                where lookup.relnatts > 3
            ) as "actors!", array(
                select class from unnest(classes) as class
                where to_regclass(format('log.%I', format('%s_%s_by_keys', class, low))) is not null
            ) as "indexes!"
            from log.segments order by low"#
        )
        .fetch_all(&self.pool)
        .await?;
        let segments: Arc<[Segment]> = segments.into();
        *self.segments.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&segments);
        Ok(segments)
    }
}

fn has(classes: &[String], class: Class) -> bool {
    classes.iter().any(|with| with == class.as_str())
}

fn is_undefined_table(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42P01"))
}
