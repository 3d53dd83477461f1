//! Lists of runs.

use std::{cmp::Reverse, vec};

use chrono::{DateTime, Utc};
use picloud_core::{
    event::FailureReason,
    id::{AppId, InvocationId, OutboxId, RequestId, RouteId, ScriptId, TriggerId, VersionId},
    log::{
        Position,
        read::{Bound, Direction, Windows, gather},
    },
    run::InvocationType,
};
use sqlx::{PgPool, Postgres, QueryBuilder, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{
    counts::{Stretch, Way, stretches},
    fold::slowness,
    rows::{origin, word},
};
use crate::views::Page;

/// Which runs are wanted. Everything named must hold.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Whose.
    pub app: AppId,
    /// Of which script,
    pub script: Option<ScriptId>,
    /// which version of it,
    pub version: Option<VersionId>,
    /// through which route,
    pub route: Option<RouteId>,
    /// for which trigger,
    pub trigger: Option<TriggerId>,
    /// in whose name: the id of an account or a key,
    pub actor: Option<String>,
    /// and what came of them.
    pub outcome: Option<Outcome>,
    /// That took at least so long, in microseconds.
    pub slower_than_us: Option<u64>,
    /// That said these words, or failed with them: as one writes them into a search engine.
    pub words: Option<String>,
    /// That began then or later,
    pub since: Option<DateTime<Utc>>,
    /// or earlier than then.
    pub until: Option<DateTime<Utc>>,
}

impl Filter {
    /// All runs of an app.
    #[must_use]
    pub const fn of(app: AppId) -> Self {
        Self {
            app,
            script: None,
            version: None,
            route: None,
            trigger: None,
            actor: None,
            outcome: None,
            slower_than_us: None,
            words: None,
            since: None,
            until: None,
        }
    }
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet.
    Running,
    /// It ended well.
    Ok,
    /// It did not.
    Failed,
}

/// A run, as lists show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    /// Its beginning's place in the log.
    pub position: Position,
    /// Its name.
    pub id: InvocationId,
    /// What was run,
    pub script: ScriptId,
    /// and which version of it.
    pub version: VersionId,
    /// Why.
    pub invocation_type: InvocationType,
    /// Through which route.
    pub route: Option<RouteId>,
    /// For which trigger.
    pub trigger: Option<TriggerId>,
    /// As an attempt at which item of the outbox,
    pub item: Option<OutboxId>,
    /// and the how manieth, from 1.
    pub attempt: u16,
    /// In whose name, if anybody's.
    pub actor: Option<String>,
    /// In the course of which request.
    pub request_id: Option<RequestId>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// What came of it; none: it runs.
    pub end: Option<Ended>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Its end's place in the log.
    pub position: Position,
    /// When.
    pub at: DateTime<Utc>,
    /// From its first instruction to its last.
    pub duration_us: u64,
    /// How often it ran until nothing it had read was changed meanwhile.
    pub runs: u32,
    /// What came of it.
    pub how: How,
}

/// What came of a run that is over.
#[derive(Clone, Debug, PartialEq)]
pub enum How {
    /// It answered.
    Ok {
        /// The HTTP status.
        status: u16,
        /// Interpreter steps.
        operations: u64,
    },
    /// It failed.
    Failed {
        /// What kind of end it was.
        reason: FailureReason,
        /// What happened.
        message: String,
        /// Where in the script.
        line: Option<u32>,
        /// Which limit was passed.
        limit: Option<String>,
    },
}

/// The columns in which a run began; those in which it ended are added.
const BEGAN: &str = "position, id, script, version, app_id, invocation_type, route, trigger, item, attempt, actor, request_id, \
    started_at";

/// The columns in which a run ended.
const ENDED: &str =
    "ended_position, ended_at, duration_us, runs, http_status, operations, reason, message, line, over_limit";

/// The same of a run that has not.
const NOT_ENDED: &str = "null::bigint as ended_position, null::timestamptz as ended_at, null::bigint as duration_us, \
    null::integer as runs, null::smallint as http_status, null::bigint as operations, null::text as reason, \
    null::text as message, null::integer as line, null::text as over_limit";

/// What a search for runs has come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// In the order of the list, as many as were wanted at most.
    pub runs: Vec<Invocation>,
    /// Where it stopped for want of time: it goes on after that, or (backward) before that. None: there are as many as were
    /// wanted, or no more.
    pub stopped: Option<Position>,
}

/// The runs of a part of a list, as far as they are found within a bound.
///
/// # Errors
/// When the database cannot be asked.
pub async fn list(pool: &PgPool, filter: &Filter, page: Page, bound: Bound) -> Result<Found, sqlx::Error> {
    // Those that run first: what ends meanwhile is found twice rather than not at all.
    let mut running = if filter.may_be_running() { running(pool, filter, page).await? } else { Vec::new() };
    let mut found = if filter.may_have_ended() {
        all_ended(pool, filter, page, bound).await?
    } else {
        Found { runs: Vec::new(), stopped: None }
    };
    // Those beyond that come when it goes on.
    if let Some(stopped) = found.stopped {
        running.retain(|run| page.direction.has_passed(stopped, run.position));
    }
    // Behind those that have ended, and so left out if they have by now.
    found.runs.extend(running);
    match page.direction {
        Direction::Forward => found.runs.sort_by_key(|run| run.position),
        Direction::Backward => found.runs.sort_by_key(|run| Reverse(run.position)),
    }
    found.runs.dedup_by_key(|run| run.position);
    if found.runs.len() >= page.limit {
        found.runs.truncate(page.limit);
        found.stopped = None;
    }
    Ok(found)
}

async fn running(pool: &PgPool, filter: &Filter, page: Page) -> Result<Vec<Invocation>, sqlx::Error> {
    let mut query = QueryBuilder::new(format!("select {BEGAN}, {NOT_ENDED} from views.running where "));
    filter.began(&mut query);
    page.between(&mut query);
    query.push(format!(" order by position {} limit ", page.order())).push_bind(page.limit as i64);
    query.build().fetch_all(pool).await?.iter().map(decode).collect()
}

/// The first runs that match and have ended, a part of a stretch of the log after the other.
async fn all_ended(pool: &PgPool, filter: &Filter, page: Page, bound: Bound) -> Result<Found, sqlx::Error> {
    // Runs begin at a third of all places or so.
    let bound = Bound { most: bound.most.saturating_mul(2), ..bound };
    let mut parts = Parts {
        stretches: stretches(pool, filter, page).await?.into_iter(),
        of: None,
        windows: Windows::new(if filter.is_selective() { bound } else { bound.at_once() }),
        direction: page.direction,
        stopped: None,
    };
    let ask = |((after, up_to), way)| {
        let part = Page { after: Position(after), up_to: Position(up_to), ..page };
        async move { ended(pool, filter, part, way).await }
    };
    let runs = gather(&mut parts, ask, page.limit).await?;
    let stopped = parts.stopped.filter(|_| runs.len() < page.limit);
    Ok(Found { runs, stopped })
}

/// What is asked for, one part of a stretch of the log after the other, until the time is up.
struct Parts {
    stretches: vec::IntoIter<Stretch>,
    /// The stretch that is being asked for, and what is left of it.
    of: Option<(Way, (i64, i64))>,
    windows: Windows,
    direction: Direction,
    /// Where the time was up.
    stopped: Option<Position>,
}

impl Iterator for Parts {
    type Item = ((i64, i64), Way);

    fn next(&mut self) -> Option<Self::Item> {
        if self.stopped.is_some() {
            return None;
        }
        loop {
            if let Some((way, left)) = &mut self.of {
                if left.0 < left.1 && self.windows.are_over() {
                    self.stopped = Some(self.direction.place(*left));
                    return None;
                }
                let window = match way {
                    // So few are looked up that it is chosen rather than looking at them in order.
                    Way::ByKeys => self.windows.rest(left),
                    Way::InOrder => self.windows.next(left, self.direction),
                };
                if let Some(window) = window {
                    return Some((window, *way));
                }
            }
            let stretch = self.stretches.next()?;
            self.of = Some((stretch.way, (stretch.first - 1, stretch.last)));
        }
    }
}

/// The first runs of a part of the log that match and have ended.
async fn ended(pool: &PgPool, filter: &Filter, page: Page, way: Way) -> Result<Vec<Invocation>, sqlx::Error> {
    let (order, limit) = (page.order(), page.limit as i64);
    // Slow ones are found by what they are near to: each of these has its own order. Few that are looked up are looked at instead.
    let doubled = filter.slower_than_us.map(slowness).filter(|doubled| *doubled > 0 && way == Way::InOrder);
    // All that match are found first, and then put in order.
    let is_looked_up = doubled.is_none() && (way == Way::ByKeys || filter.words.is_some());
    let mut query = QueryBuilder::new("");
    if is_looked_up {
        query.push("with found as materialized (");
    } else if let Some(doubled) = doubled {
        query.push("select found.* from generate_series(").push_bind(doubled);
        query.push("::smallint, 64) as near (slowness) cross join lateral (");
    }
    query.push(format!("select {BEGAN}, {ENDED} from views.invocation where "));
    filter.ended(&mut query);
    page.between(&mut query);
    if doubled.is_some() {
        // The index is of those above 0, which does not follow from the join.
        query.push(" and slowness > 0 and slowness = near.slowness");
        query.push(format!(" order by position {order} limit ")).push_bind(limit);
        query.push(") found");
    } else if is_looked_up {
        if way == Way::ByKeys {
            filter.looked_up(&mut query);
        }
        query.push(") select * from found");
    }
    query.push(format!(" order by position {order} limit ")).push_bind(limit);
    // Not kept: which index is best differs from part to part.
    query.build().persistent(false).fetch_all(pool).await?.iter().map(decode).collect()
}

/// A run by its name.
///
/// # Errors
/// When the database cannot be asked.
pub async fn find(pool: &PgPool, app: AppId, id: InvocationId) -> Result<Option<Invocation>, sqlx::Error> {
    let mut query =
        QueryBuilder::<Postgres>::new(format!("select {BEGAN}, {ENDED} from views.invocation where app_id = "));
    query.push_bind(app.uuid()).push(" and id = ").push_bind(id.uuid());
    query.push(format!(" union all select {BEGAN}, {NOT_ENDED} from views.running where app_id = "));
    query.push_bind(app.uuid()).push(" and id = ").push_bind(id.uuid());
    query.build().fetch_optional(pool).await?.as_ref().map(decode).transpose()
}

impl Filter {
    const fn may_be_running(&self) -> bool {
        matches!(self.outcome, None | Some(Outcome::Running)) && self.slower_than_us.is_none() && self.words.is_none()
    }

    const fn may_have_ended(&self) -> bool {
        !matches!(self.outcome, Some(Outcome::Running))
    }

    /// Whether there may be much in which nothing matches: no index has the others in the order of the log.
    fn is_selective(&self) -> bool {
        self.words.is_some() || self.slower_than_us.is_some() || !self.keys().is_empty()
    }

    /// What it asks for of what is counted by, and indexed together.
    pub(super) fn keys(&self) -> Vec<(&'static str, String)> {
        let keys = [
            ("script", self.script.map(|id| id.uuid().to_string())),
            ("version", self.version.map(|id| id.uuid().to_string())),
            ("route", self.route.map(|id| id.uuid().to_string())),
            ("trigger", self.trigger.map(|id| id.uuid().to_string())),
            ("actor", self.actor.clone()),
        ];
        keys.into_iter().filter_map(|(dimension, value)| Some((dimension, value?))).collect()
    }

    /// The same as the index of keys has it.
    fn looked_up(&self, query: &mut QueryBuilder<Postgres>) {
        let ids = [
            self.script.map(Uuid::from),
            self.version.map(Uuid::from),
            self.route.map(Uuid::from),
            self.trigger.map(Uuid::from),
        ];
        let ids: Vec<Uuid> = ids.into_iter().flatten().collect();
        query.push(" and array[script, version, route, trigger, md5(actor)::uuid] @> (").push_bind(ids);
        if let Some(actor) = &self.actor {
            query.push(" || md5(").push_bind(actor.clone()).push(")::uuid");
        }
        query.push(")");
    }

    /// What has to hold of how a run began.
    pub(super) fn began(&self, query: &mut QueryBuilder<Postgres>) {
        query.push("app_id = ").push_bind(self.app.uuid());
        let ids: [(&str, Option<Uuid>); 4] = [
            ("script", self.script.map(Uuid::from)),
            ("version", self.version.map(Uuid::from)),
            ("route", self.route.map(Uuid::from)),
            ("trigger", self.trigger.map(Uuid::from)),
        ];
        for (column, id) in ids.into_iter().filter_map(|(column, id)| Some((column, id?))) {
            query.push(format!(" and {column} = ")).push_bind(id);
        }
        if let Some(actor) = &self.actor {
            query.push(" and actor = ").push_bind(actor.clone());
        }
        if let Some(since) = self.since {
            query.push(" and started_at >= ").push_bind(since);
        }
        if let Some(until) = self.until {
            query.push(" and started_at < ").push_bind(until);
        }
    }

    /// What has to hold of a run that is over.
    fn ended(&self, query: &mut QueryBuilder<Postgres>) {
        self.began(query);
        match self.outcome {
            None | Some(Outcome::Running) => {}
            Some(Outcome::Ok) => _ = query.push(" and reason is null"),
            Some(Outcome::Failed) => _ = query.push(" and reason is not null"),
        }
        if let Some(slower) = self.slower_than_us {
            query.push(" and duration_us >= ").push_bind(i64::try_from(slower).unwrap_or(i64::MAX));
        }
        if let Some(words) = &self.words {
            query.push(" and words @@ websearch_to_tsquery('simple', ").push_bind(words.clone()).push(")");
        }
    }
}

fn decode(row: &PgRow) -> Result<Invocation, sqlx::Error> {
    let origin = origin(row)?;
    Ok(Invocation {
        position: origin.position,
        id: row.try_get::<Uuid, _>("id")?.into(),
        script: origin.script,
        version: origin.version,
        invocation_type: origin.invocation_type,
        route: origin.route,
        trigger: origin.trigger,
        item: origin.item,
        attempt: origin.attempt,
        actor: origin.actor,
        request_id: origin.request_id,
        started_at: origin.at,
        end: end(row)?,
    })
}

fn end(row: &PgRow) -> Result<Option<Ended>, sqlx::Error> {
    let Some(at) = row.try_get("ended_at")? else { return Ok(None) };
    let how = match row.try_get::<Option<&str>, _>("reason")? {
        None => How::Ok {
            status: row.try_get::<i16, _>("http_status")? as u16,
            operations: row.try_get::<i64, _>("operations")? as u64,
        },
        Some(reason) => How::Failed {
            reason: word(reason)?,
            message: row.try_get("message")?,
            line: row.try_get::<Option<i32>, _>("line")?.map(|line| line as u32),
            limit: row.try_get("over_limit")?,
        },
    };
    Ok(Some(Ended {
        position: Position(row.try_get("ended_position")?),
        at,
        duration_us: row.try_get::<i64, _>("duration_us")? as u64,
        runs: row.try_get::<i32, _>("runs")? as u32,
        how,
    }))
}
