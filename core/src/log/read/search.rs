//! Lists of what a filter finds, whole or as far as one gets in the time that there is.

use std::vec;

use futures::FutureExt as _;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{
    Bound, Direction, Filter, ReadError, Reader, Segment, Windows,
    statement::{Statement, decode, statement, walking},
    windows::gather,
};
use crate::log::{Position, Recorded};

/// Begins a question that goes by what is remembered, or by an index. The planner does not know what these leave out, and would
/// rather walk along the positions; and what it is told to avoid seems so dear to it that it would compile the query first. That
/// leaves it no choice that hangs on what is asked for, so the plan is kept: to make it takes three times as long as to follow it.
const BEGIN_LOOKING_UP: &str =
    "begin; set local enable_seqscan = off; set local enable_indexscan = off; set local jit = off;
    set local plan_cache_mode = force_generic_plan";

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
                let mut questions = Questions {
                    segments: segments.into_iter(),
                    of: None,
                    range: (after, up_to),
                    filter,
                    direction,
                    windows: Windows::new(filter.within(bound)),
                    stopped: None,
                };
                let ask = |(statement, window)| self.in_window(statement, filter, window, limit);
                let events = gather(&mut questions, ask, limit).await?;
                let stopped = questions.stopped.filter(|_| events.len() < limit);
                Ok(Found { events, stopped })
            }
            .boxed()
        })
        .await
    }

    /// What a segment's query finds after one position up to another.
    async fn in_window(
        &self,
        statement: Statement,
        filter: &Filter,
        (after, up_to): (i64, i64),
        limit: usize,
    ) -> Result<Vec<Recorded>, ReadError> {
        let query = sqlx::query(AssertSqlSafe(statement.sql))
            .bind(after)
            .bind(up_to)
            .bind(limit as i64)
            .bind(filter.app.flatten().map(Uuid::from))
            .bind(filter.all_kinds().collect::<Vec<_>>())
            .bind(&filter.subject)
            .bind(&filter.actor)
            .bind(filter.root)
            .bind(filter.since)
            .bind(filter.until);
        let rows = if statement.is_looked_up {
            let mut transaction = self.pool().begin_with(BEGIN_LOOKING_UP).await?;
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
    /// The segment that is being asked, how, and what is left of it.
    of: Option<(Segment, Statement, (i64, i64))>,
    range: (Position, Position),
    filter: &'a Filter,
    direction: Direction,
    windows: Windows,
    /// Where the time was up.
    stopped: Option<Position>,
}

impl Iterator for Questions<'_> {
    type Item = (Statement, (i64, i64));

    fn next(&mut self) -> Option<Self::Item> {
        if self.stopped.is_some() {
            return None;
        }
        loop {
            if let Some((segment, statement, left)) = &mut self.of {
                if left.0 < left.1 && self.windows.are_over() {
                    self.stopped = Some(self.direction.place(*left));
                    return None;
                }
                if statement.is_indexed
                    && let Some(window) = self.windows.walked(left, self.direction)
                {
                    return Some((walking(segment, self.filter, self.direction)?, window));
                }
                let window = if statement.is_indexed {
                    self.windows.rest(left)
                } else {
                    self.windows.next(left, self.direction)
                };
                if let Some(window) = window {
                    return Some((statement.clone(), window));
                }
            }
            let segment = self.segments.next()?;
            let (after, up_to) = self.range;
            self.of = statement(&segment, self.filter, self.direction).map(|asked| {
                let left = segment.between(after, up_to);
                (segment, asked, left)
            });
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
