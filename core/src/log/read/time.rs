//! From a time to a place in the log, and from an id, which says when it was made.

use std::{collections::HashSet, sync::PoisonError};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use futures::FutureExt as _;
use sqlx::AssertSqlSafe;
use ulid::Ulid;

use super::{Direction, Filter, ReadError, Reader, statement::decode};
use crate::{
    event::Class,
    id::{AppId, EventId, InvocationId},
    log::{Position, Recorded},
};

/// So few events are looked through rather than searched.
const NEAR_ENOUGH: i64 = 1_000;

/// By how much the clock of a node may differ from the database's before what it named is searched for in the whole log.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::minutes(1);

/// What a run writes is named while it runs, and committed when it ends.
const COMMITTED_WITHIN: TimeDelta = TimeDelta::minutes(10);

impl Reader {
    /// Two places close to each other: what lies up to the first happened before a time, what lies after the second did not.
    ///
    /// Times never go backwards along the log, so halving finds them: among the segments, whose beginnings are remembered, and in one.
    ///
    /// # Errors
    /// When the database cannot be asked, or an event is not of this version's catalogue.
    pub async fn around(&self, time: DateTime<Utc>, head: Position) -> Result<(Position, Position), ReadError> {
        let (mut before, mut after) = self.segment_of(time, head).await?;
        while after - before > NEAR_ENOUGH {
            let middle = before + (after - before) / 2;
            let next = self.list(&Filter::default(), Direction::Forward, Position(middle), head, 1).await?.pop();
            match next {
                Some(next) if next.at < time => before = next.position.0,
                _ => after = middle,
            }
        }
        Ok((Position(before), Position(after)))
    }

    /// Between which places is what happened at a time, as far as the beginnings of segments tell.
    async fn segment_of(&self, time: DateTime<Utc>, head: Position) -> Result<(i64, i64), ReadError> {
        let (mut before, mut after) = (0, head.0);
        let mut segments = &*self.segments_between(Position::ZERO, head).await?;
        while !segments.is_empty() {
            let middle = segments.len() / 2;
            let first = segments[middle].low;
            match self.begun(first, head).await? {
                Some(at) if at < time => {
                    before = first;
                    segments = &segments[middle + 1..];
                }
                _ => {
                    after = first;
                    segments = &segments[..middle];
                }
            }
        }
        Ok((before, after))
    }

    /// When the first event at a place or behind it happened. Of a segment's first place that stays so: it is remembered.
    async fn begun(&self, first: i64, head: Position) -> Result<Option<DateTime<Utc>>, ReadError> {
        let known = self.begun.read().unwrap_or_else(PoisonError::into_inner).get(&first).copied();
        if known.is_some() {
            return Ok(known);
        }
        let next = self.list(&Filter::default(), Direction::Forward, Position(first - 1), head, 1).await?.pop();
        if let Some(next) = &next {
            self.begun.write().unwrap_or_else(PoisonError::into_inner).insert(first, next.at);
        }
        Ok(next.map(|next| next.at))
    }

    /// The last event that had happened at a time, as far as there is one up to a head.
    ///
    /// # Errors
    /// When the database cannot be asked, or an event is not of this version's catalogue.
    pub async fn last_at(&self, time: DateTime<Utc>, head: Position) -> Result<Position, ReadError> {
        // Times are kept to the microsecond: what happened in it had happened.
        let later = time.trunc_subsecs(6) + TimeDelta::microseconds(1);
        let (before, after) = self.around(later, head).await?;
        let since = Filter { since: Some(later), ..Filter::default() };
        let next = self.list(&since, Direction::Forward, before, after, 1).await?.pop();
        Ok(next.map_or(after, |next| Position(next.position.0 - 1)))
    }

    /// When what lies at a place was committed, or what is nearest to it of what is left; none, when nothing is.
    ///
    /// # Errors
    /// When the database cannot be asked, or an event is not of this version's catalogue.
    pub async fn time_near(&self, place: Position, head: Position) -> Result<Option<DateTime<Utc>>, ReadError> {
        let (all, before) = (Filter::default(), Position(place.0 - 1));
        let near = match self.list(&all, Direction::Forward, before, head, 1).await?.pop() {
            None => self.list(&all, Direction::Backward, Position::ZERO, before, 1).await?.pop(),
            near => near,
        };
        Ok(near.map(|near| near.at))
    }

    /// An event of an app by its id, looked for where its id says it was made: what waited long to be committed is not found.
    ///
    /// # Errors
    /// When the database cannot be asked, or the event is not of this version's catalogue.
    pub async fn find_near(&self, app: AppId, id: EventId) -> Result<Option<Recorded>, ReadError> {
        let head = self.head().await?;
        let made = DateTime::<Utc>::from(id.ulid().datetime());
        let (after, _) = self.around(made - CLOCKS_DIFFER, head).await?;
        let (_, up_to) = self.around(made + COMMITTED_WITHIN, head).await?;
        let found = self.find_between(id, after, up_to).await?;
        Ok(found.filter(|found| found.event.app == Some(app)))
    }

    /// Up to where the events of a class are gone: what happened until then cannot be told any more.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn floor(&self, class: Class) -> Result<Position, sqlx::Error> {
        let floor = sqlx::query_scalar!(
            r#"select coalesce(max(high) filter (where classes <> '{}' and not $1 = any (classes)), min(low)) - 1 as "floor!"
            from log.segments"#,
            class.as_str()
        )
        .fetch_one(self.pool())
        .await?;
        Ok(Position(floor))
    }

    /// Between which places lies what was committed about when an id was made.
    pub(super) async fn made_about(&self, id: Ulid, head: Position) -> Result<(Position, Position), ReadError> {
        let made = DateTime::<Utc>::from(id.datetime());
        let (after, _) = self.around(made - CLOCKS_DIFFER, head).await?;
        let (_, up_to) = self.around(made + CLOCKS_DIFFER, head).await?;
        Ok((after, up_to))
    }

    /// How runs began, of which something was met at a place or before it. Those that are not in the log are left out.
    ///
    /// # Errors
    /// When the database cannot be asked, or an event is not of this version's catalogue.
    pub async fn beginnings(&self, runs: &[InvocationId], met: Position) -> Result<Vec<Recorded>, ReadError> {
        // Their names say about when they began: what was long before need not be looked at.
        let Some(first) = runs.iter().map(|run| run.ulid().datetime()).min() else { return Ok(Vec::new()) };
        let (near, _) = self.around(DateTime::<Utc>::from(first) - CLOCKS_DIFFER, met).await?;
        let mut found = self.beginnings_between(runs, near, met).await?;
        if found.len() < runs.len() {
            // Named by a node whose clock was further ahead.
            let there: HashSet<&str> = found.iter().map(|recorded| &*recorded.event.subject).collect();
            let missing: Vec<_> = runs.iter().filter(|run| !there.contains(&*run.to_string())).copied().collect();
            found.extend(self.beginnings_between(&missing, Position::ZERO, near).await?);
        }
        Ok(found)
    }

    /// Looks from the newest segment back, no further than to the last one that is missing.
    async fn beginnings_between(
        &self,
        runs: &[InvocationId],
        after: Position,
        up_to: Position,
    ) -> Result<Vec<Recorded>, ReadError> {
        let subjects: &[String] = &runs.iter().map(InvocationId::to_string).collect::<Vec<_>>();
        self.in_segments(after, up_to, |segments| async move {
            let mut found = Vec::new();
            for segment in segments.into_iter().rev() {
                if found.len() == runs.len() {
                    break;
                }
                if !segment.classes.iter().any(|class| class == Class::Run.as_str()) {
                    continue;
                }
                let sql = format!(
                    "select position, id, at, app_id, kind, subject, data::text as data, actor::text as actor, cause, root,
                        depth
                    from log.{}_{}
                    where position > $1 and position <= $2 and kind = 'invocation.started' and subject = any ($3)",
                    Class::Run,
                    segment.low
                );
                let rows = sqlx::query(AssertSqlSafe(sql))
                    .bind(after.0)
                    .bind(up_to.0)
                    .bind(subjects)
                    .fetch_all(self.pool())
                    .await?;
                for row in rows {
                    found.push(decode(&row)?);
                }
            }
            Ok(found)
        }.boxed())
        .await
    }
}
