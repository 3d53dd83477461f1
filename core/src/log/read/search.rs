//! Lists of what a filter finds, whole or as far as one gets in the time that there is.

use std::{sync::Arc, vec};

use futures::{FutureExt as _, StreamExt as _, stream};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{
    Bound, Direction, Filter, ReadError, Reader, Segment, Windows,
    statement::{decode, statement},
};
use crate::log::{Position, Recorded};

/// How many parts of the log are asked at once for what each has to look up.
const AT_ONCE: usize = 2;

/// What a search has come to.
#[derive(Clone, Debug)]
pub struct Found {
    /// In the order of the search, as many as were wanted at most.
    pub events: Vec<Recorded>,
    /// Where it stopped for want of time: it goes on after that, or (backward) before that. None: there are as many as were
    /// wanted, or no more.
    pub stopped: Option<Position>,
}

impl Reader {
    /// The events after one position up to another, oldest first, at most `limit` of them.
    ///
    /// # Errors
    /// When the database cannot be asked, or an event is not of this version's catalogue.
    pub async fn range(&self, after: Position, up_to: Position, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        self.list(&Filter::default(), Direction::Forward, after, up_to, limit).await
    }

    /// The events that match a filter, after one position up to another, at most `limit` of them, however long it takes.
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
        Ok(self.search(filter, direction, (after, up_to), limit, Bound::NONE).await?.events)
    }

    /// The events that match a filter, after one position up to another, at most `limit` of them, as far as that can be told
    /// within a bound. Whoever goes on where it stopped gets further, and what is there once.
    ///
    /// # Errors
    /// When the database cannot be asked, or an event is not of this version's catalogue.
    pub async fn search(
        &self,
        filter: &Filter,
        direction: Direction,
        (after, up_to): (Position, Position),
        limit: usize,
        bound: Bound,
    ) -> Result<Found, ReadError> {
        self.in_segments(after, up_to, |mut segments| {
            async move {
                if direction == Direction::Backward {
                    segments.reverse();
                }
                let mut events = Vec::new();
                let mut questions = Questions {
                    segments: segments.into_iter(),
                    of: None,
                    range: (after, up_to),
                    filter,
                    direction,
                    windows: Windows::new(filter.within(bound)),
                    stopped: None,
                };
                // What is looked up is mostly not there: another part is asked meanwhile.
                let at_once = if filter.is_looked_up() { AT_ONCE } else { 1 };
                let mut answers = stream::iter(&mut questions)
                    .map(|(sql, window)| self.in_window(sql, filter, window, limit))
                    .buffered(at_once);
                while let Some(found) = answers.next().await {
                    events.extend(found?);
                    if events.len() >= limit {
                        events.truncate(limit);
                        return Ok(Found { events, stopped: None });
                    }
                }
                drop(answers);
                Ok(Found { events, stopped: questions.stopped })
            }
            .boxed()
        })
        .await
    }

    /// What a segment's query finds after one position up to another.
    async fn in_window(
        &self,
        sql: Arc<str>,
        filter: &Filter,
        (after, up_to): (i64, i64),
        limit: usize,
    ) -> Result<Vec<Recorded>, ReadError> {
        let (nouns, kinds): (Vec<&str>, Vec<&str>) =
            filter.kinds.iter().map(String::as_str).partition(|kind| !kind.contains('.'));
        let query = sqlx::query(AssertSqlSafe(sql))
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
            let mut transaction = self.pool().begin().await?;
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
            query.fetch_all(self.pool()).await?
        };
        rows.iter().map(decode).collect()
    }
}

/// What is asked, one part of the log after the other, until the time is up.
struct Questions<'a> {
    segments: vec::IntoIter<Segment>,
    /// The segment that is being asked: how, and what is left of it.
    of: Option<(Arc<str>, (i64, i64))>,
    range: (Position, Position),
    filter: &'a Filter,
    direction: Direction,
    windows: Windows,
    /// Where the time was up.
    stopped: Option<Position>,
}

impl Iterator for Questions<'_> {
    type Item = (Arc<str>, (i64, i64));

    fn next(&mut self) -> Option<Self::Item> {
        if self.stopped.is_some() {
            return None;
        }
        loop {
            if let Some((sql, left)) = &mut self.of {
                if left.0 < left.1 && self.windows.are_over() {
                    self.stopped = Some(self.direction.place(*left));
                    return None;
                }
                if let Some(window) = self.windows.next(left, self.direction) {
                    return Some((Arc::clone(sql), window));
                }
            }
            let segment = self.segments.next()?;
            let (after, up_to) = self.range;
            self.of =
                statement(&segment, self.filter, self.direction).map(|sql| (sql.into(), segment.between(after, up_to)));
        }
    }
}

impl Segment {
    /// What of a range lies in it.
    fn between(&self, after: Position, up_to: Position) -> (i64, i64) {
        (after.0.max(self.low - 1), up_to.0.min(self.high - 1))
    }
}

impl Direction {
    /// Where one stands who goes this way, and has this left.
    #[must_use]
    pub const fn place(self, (after, up_to): (i64, i64)) -> Position {
        match self {
            Self::Forward => Position(after),
            Self::Backward => Position(up_to + 1),
        }
    }

    /// Whether what lies at a position was looked at by who went this way, and stands at a place.
    #[must_use]
    pub fn has_passed(self, place: Position, position: Position) -> bool {
        match self {
            Self::Forward => position <= place,
            Self::Backward => position >= place,
        }
    }
}
