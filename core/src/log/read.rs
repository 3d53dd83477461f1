//! Finding events in the log.
//!
//! The log has many leaves and most questions concern few of them: a plan over the parent would have to open every one, so
//! queries here name the leaves of the segments they need. Each leaf has a lookup ([`super::lookup`]) of subjects and
//! roots; one that has none yet is read from end to end.

mod published;
mod time;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use chrono::{DateTime, Utc};
use futures::{FutureExt as _, future::BoxFuture};
use sqlx::{AssertSqlSafe, PgPool, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{NewEvent, Position, Recorded};
use crate::{
    event::{Class, Event, Undecodable},
    id::{AppId, EventId},
};

pub use published::Published;

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

/// Which events are wanted. Everything named must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Whose; the outer `None` is everybody's, the inner the instance's own.
    pub app: Option<Option<AppId>>,
    /// Kinds, each whole (`kv.set`) or a noun (`kv`).
    pub kinds: Vec<String>,
    /// The subject.
    pub subject: Option<String>,
    /// The actor's id.
    pub actor: Option<String>,
    /// What the chain is named after.
    pub root: Option<Uuid>,
    /// Not before.
    pub since: Option<DateTime<Utc>>,
    /// Before.
    pub until: Option<DateTime<Utc>>,
}

impl Filter {
    /// Whether an event that comes live would have been found.
    #[must_use]
    pub fn matches(&self, recorded: &Recorded) -> bool {
        let event = &recorded.event;
        let kind = event.event.kind();
        self.app.is_none_or(|app| app == event.app)
            && (self.kinds.is_empty()
                || self.kinds.iter().any(|wanted| {
                    kind.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                }))
            && self.subject.as_ref().is_none_or(|subject| *subject == event.subject)
            && self.actor.as_ref().is_none_or(|actor| event.actor.id.as_ref() == Some(actor))
            && self.root.is_none_or(|root| event.root.map(Uuid::from) == Some(root))
            && self.since.is_none_or(|since| recorded.at >= since)
            && self.until.is_none_or(|until| recorded.at < until)
    }
}

impl Filter {
    /// Whether leaves remember where what is asked for certainly is not.
    const fn is_looked_up(&self) -> bool {
        self.subject.is_some() || self.root.is_some()
    }
}

/// Which part of a segment is asked at once: all that is left, but of what is looked up little at first. Of what happens all
/// the time the first few are wanted, of what is rare all; which it is shows as it is looked for.
struct Windows {
    size: i64,
}

impl Windows {
    const fn new(filter: &Filter) -> Self {
        Self { size: if filter.is_looked_up() { 1 << 14 } else { i64::MAX } }
    }

    /// Takes the next part off the rest.
    fn next(&mut self, segment: &Segment, rest: &mut (i64, i64), direction: Direction) -> (i64, i64) {
        let (after, up_to) = *rest;
        // Without a lookup all of it is read, and that once.
        let size = if segment.is_looked_up() { self.size } else { i64::MAX };
        self.size = self.size.saturating_mul(8);
        match direction {
            Direction::Forward => {
                rest.0 = after.saturating_add(size).min(up_to);
                (after, rest.0)
            }
            Direction::Backward => {
                rest.1 = up_to.saturating_sub(size).max(after);
                (rest.1, up_to)
            }
        }
    }
}

/// Reads the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    pool: PgPool,
    segments: Arc<RwLock<Arc<[Segment]>>>,
}

#[derive(Clone, Debug)]
struct Segment {
    low: i64,
    high: i64,
    classes: Vec<String>,
    /// The classes whose leaves have a lookup.
    lookups: Vec<String>,
}

impl Segment {
    fn has_lookup(&self, class: Class) -> bool {
        self.lookups.iter().any(|with| with == class.as_str())
    }

    /// Whether every leaf that can have a lookup has one.
    fn is_looked_up(&self) -> bool {
        let mut classes = Class::ALL.into_iter().filter(|class| *class != Class::Config);
        classes.all(|class| self.has_lookup(class) || !self.classes.iter().any(|present| present == class.as_str()))
    }
}

impl Reader {
    /// Reads through a pool.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool, segments: Arc::new(RwLock::new(Arc::new([]))) }
    }

    /// The database's own word on how far the log goes. Not for the hot path.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn head(&self) -> Result<Position, sqlx::Error> {
        let head = sqlx::query_scalar!(r#"select log.find_head() as "head!""#).fetch_one(&self.pool).await?;
        Ok(Position(head))
    }

    /// The events after one position up to another, oldest first, at most `limit` of them.
    ///
    /// # Errors
    /// When the database cannot be asked, or an event is not of this version's catalogue.
    pub async fn range(&self, after: Position, up_to: Position, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        self.list(&Filter::default(), Direction::Forward, after, up_to, limit).await
    }

    /// The events that match a filter, after one position up to another, at most `limit` of them.
    ///
    /// # Errors
    /// When the database cannot be asked, or an event is not of this version's catalogue.
    pub async fn list(
        &self,
        filter: &Filter,
        direction: Direction,
        after: Position,
        up_to: Position,
        limit: usize,
    ) -> Result<Vec<Recorded>, ReadError> {
        self.in_segments(after, up_to, |mut segments| {
            async move {
                if direction == Direction::Backward {
                    segments.reverse();
                }
                let mut found = Vec::new();
                let mut windows = Windows::new(filter);
                for segment in segments {
                    let Some(sql) = statement(&segment, filter, direction) else { continue };
                    let mut rest = (after.0.max(segment.low - 1), up_to.0.min(segment.high - 1));
                    while found.len() < limit && rest.0 < rest.1 {
                        let window = windows.next(&segment, &mut rest, direction);
                        found.extend(self.in_window(&sql, filter, window, limit - found.len()).await?);
                    }
                }
                Ok(found)
            }
            .boxed()
        })
        .await
    }

    /// What a segment's query finds after one position up to another.
    async fn in_window(
        &self,
        sql: &str,
        filter: &Filter,
        (after, up_to): (i64, i64),
        limit: usize,
    ) -> Result<Vec<Recorded>, ReadError> {
        let (nouns, kinds): (Vec<&str>, Vec<&str>) =
            filter.kinds.iter().map(String::as_str).partition(|kind| !kind.contains('.'));
        let query = sqlx::query(AssertSqlSafe(sql.to_owned()))
            .bind(after)
            .bind(up_to)
            .bind(limit as i64)
            .bind(filter.app.flatten().map(Uuid::from))
            .bind(kinds)
            .bind(nouns)
            .bind(&filter.subject)
            .bind(&filter.actor)
            .bind(filter.root)
            .bind(filter.since)
            .bind(filter.until);
        let rows = if filter.is_looked_up() {
            let mut transaction = self.pool.begin().await?;
            // The planner does not know what the lookup leaves out, and would rather walk along the positions. What it is told
            // to avoid seems so dear to it that it would compile the query first.
            let settings =
                "select set_config('enable_seqscan', 'off', true), set_config('enable_indexscan', 'off', true),
                set_config('jit', 'off', true)";
            sqlx::query(settings).execute(&mut *transaction).await?;
            let rows = query.fetch_all(&mut *transaction).await?;
            transaction.rollback().await?;
            rows
        } else {
            query.fetch_all(&self.pool).await?
        };
        rows.iter().map(decode).collect()
    }

    /// The events at some places, as far as they are in the log.
    ///
    /// # Errors
    /// When the database cannot be asked, or an event is not of this version's catalogue.
    pub async fn at(&self, positions: &[Position]) -> Result<HashMap<Position, Recorded>, ReadError> {
        let (Some(first), Some(last)) = (positions.iter().min(), positions.iter().max()) else {
            return Ok(HashMap::new());
        };
        let positions: &[i64] = &positions.iter().map(|position| position.0).collect::<Vec<_>>();
        self.in_segments(Position(first.0 - 1), *last, |segments| async move {
            let mut found = HashMap::new();
            for segment in segments {
                if !positions.iter().any(|position| (segment.low..segment.high).contains(position)) {
                    continue;
                }
                for class in &segment.classes {
                    let sql = format!(
                        "select position, id, at, app_id, kind, subject, data::text as data, actor::text as actor, cause, root, depth
                        from log.{class}_{low} where position = any ($1)",
                        low = segment.low
                    );
                    for row in sqlx::query(AssertSqlSafe(sql)).bind(positions).fetch_all(&self.pool).await? {
                        let recorded = decode(&row)?;
                        found.insert(recorded.position, recorded);
                    }
                }
            }
            Ok(found)
        }.boxed())
        .await
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
        // Lookups that are missing are being made.
        if known.last().is_some_and(|last| last.high > up_to.0) && known.iter().all(Segment::is_looked_up) {
            return Ok(known);
        }
        let segments = sqlx::query_as!(
            Segment,
            r#"select low, high, classes, array(
                select class from unnest(classes) as class
                where to_regclass(format('log.%I', format('%s_%s_lookup', class, low))) is not null
            ) as "lookups!"
            from log.segments order by low"#
        )
        .fetch_all(&self.pool)
        .await?;
        let segments: Arc<[Segment]> = segments.into();
        *self.segments.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&segments);
        Ok(segments)
    }
}

fn is_undefined_table(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42P01"))
}

/// One segment's query. Only names made of a class and a number go into the text; every value is a parameter, used or not.
fn statement(segment: &Segment, filter: &Filter, direction: Direction) -> Option<String> {
    let mut wanted = String::from("($3::bigint is not null)");
    wanted += match filter.app {
        None => " and ($4::uuid is null)",
        Some(None) => " and app_id is null and ($4::uuid is null)",
        Some(Some(_)) => " and app_id = $4",
    };
    wanted += if filter.kinds.is_empty() {
        " and ($5::text[] is not null and $6::text[] is not null)"
    } else {
        " and (kind = any ($5) or split_part(kind, '.', 1) = any ($6))"
    };
    // In the words of the lookup, and only if they are asked for: an `or` would keep it from being used.
    let mut asked = |is_asked: bool, by: &str, unused: &str| wanted += if is_asked { by } else { unused };
    asked(filter.subject.is_some(), " and subject collate \"C\" = $7", " and ($7::text is null)");
    asked(filter.actor.is_some(), " and actor ->> 'id' = $8", " and ($8::text is null)");
    asked(filter.root.is_some(), " and root = $9", " and ($9::uuid is null)");
    wanted += " and ($10::timestamptz is null or at >= $10) and ($11::timestamptz is null or at < $11)";
    let order = match direction {
        Direction::Forward => "asc",
        Direction::Backward => "desc",
    };
    let leaves: Vec<String> = Class::ALL
        .iter()
        .filter(|class| segment.classes.iter().any(|present| present == class.as_str()))
        .filter(|class| filter.may_be_of(**class))
        .map(|class| {
            // A sum is in the lookup, and in no other index.
            let place = if filter.is_looked_up() && segment.has_lookup(*class) { "(position + 0)" } else { "position" };
            // The limit inside lets each leaf stop early.
            format!(
                "(select position, id, at, app_id, kind, subject, data::text as data, actor::text as actor, cause, root, depth
                from log.{class}_{low} where {place} > $1 and {place} <= $2 and {wanted} order by position {order} limit $3)",
                low = segment.low
            )
        })
        .collect();
    if leaves.is_empty() {
        return None;
    }
    // Wrapped, for a single leaf in parentheses takes no second `order by`.
    Some(format!("select * from ({}) found order by position {order} limit $3", leaves.join(" union all ")))
}

impl Filter {
    /// Whether an event of a class could match: spares looking into its leaves.
    fn may_be_of(&self, class: Class) -> bool {
        self.kinds.is_empty()
            || Event::KINDS.iter().any(|(kind, of)| {
                *of == class
                    && self.kinds.iter().any(|wanted| {
                        kind.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                    })
            })
    }
}

/// A row with the columns in the order in which all queries here name them: by number, for millions are read at once.
fn decode(row: &PgRow) -> Result<Recorded, ReadError> {
    let position = Position(row.try_get(0)?);
    let kind: &str = row.try_get(4)?;
    let data: String = row.try_get(6)?;
    let actor: String = row.try_get(7)?;
    let undecodable = |source| ReadError::Undecodable { position, source };
    let event = Event::decode(kind, &data).map_err(undecodable)?;
    let parsed =
        serde_json::from_str(&actor).map_err(|source| undecodable(Undecodable::Data { kind: event.kind(), source }))?;
    Ok(Recorded {
        position,
        at: row.try_get(2)?,
        event: Arc::new(NewEvent {
            id: row.try_get::<Uuid, _>(1)?.into(),
            app: row.try_get::<Option<Uuid>, _>(3)?.map(Into::into),
            actor: parsed,
            cause: row.try_get::<Option<Uuid>, _>(8)?.map(Into::into),
            root: row.try_get::<Option<Uuid>, _>(9)?.map(Into::into),
            depth: row.try_get::<i16, _>(10)? as u16,
            event,
            subject: row.try_get(5)?,
            data,
            actor_json: actor.into(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_all_of_a_part_and_follow_each_other() {
        let lookups = Class::ALL.map(|class| class.as_str().to_owned()).to_vec();
        let with = Segment { low: 1, high: 1 << 40, classes: lookups.clone(), lookups };
        let without = Segment { lookups: Vec::new(), ..with.clone() };
        let root = Filter { root: Some(Uuid::nil()), ..Filter::default() };
        let all = (10, 10_000_000);
        for direction in [Direction::Forward, Direction::Backward] {
            for (segment, filter, is_cut) in
                [(&with, &root, true), (&without, &root, false), (&with, &Filter::default(), false)]
            {
                let (mut windows, mut rest, mut seen) = (Windows::new(filter), all, Vec::new());
                while rest.0 < rest.1 {
                    seen.push(windows.next(segment, &mut rest, direction));
                }
                assert_eq!(seen.len() > 1, is_cut, "{seen:?}");
                if direction == Direction::Backward {
                    seen.reverse();
                }
                assert_eq!((seen[0].0, seen[seen.len() - 1].1), all);
                assert!(seen.windows(2).all(|pair| pair[0].1 == pair[1].0), "{seen:?}");
            }
        }
    }
}
