//! Runs of scripts: what ran lately, and one run in full.
//!
//! Read from the log itself, newest first: a run's end is met before its beginning.

pub(super) mod show;

use std::collections::HashMap;

use axum::{Json as Answer, extract::State};
use picloud_core::{
    event::{
        Event, FailureReason,
        invocation::{Completed, Failed, Started},
    },
    id::{AppId, InvocationId, RequestId, RouteId, ScriptId, VersionId},
    log::{
        Position, Recorded,
        read::{Direction, Filter},
    },
    run::InvocationType,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    AdminPlane, Plane,
    access::InApp,
    events::{Scope, unreadable},
    page::{self, Page},
    params::Params,
    scripts,
    time::Time,
    write::database,
};
use crate::problem::{Kind, Problem};

/// How many events are looked at for one page: a filter that hardly anything matches gives short pages with a cursor.
const MAX_LOOKED_AT: usize = 20_000;

/// How many are read at once.
const CHUNK: usize = 1_000;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Id or name.
    script: Option<String>,
    route: Option<RouteId>,
    status: Option<Status>,
    cursor: Option<String>,
    limit: Option<usize>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = InvocationStatus)]
pub(super) enum Status {
    Running,
    Ok,
    Failed,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Invocation)]
pub(super) struct Run {
    id: InvocationId,
    status: Status,
    script: ScriptId,
    version: VersionId,
    #[schema(required)]
    route: Option<RouteId>,
    invocation_type: InvocationType,
    attempt: u16,
    #[schema(required)]
    request_id: Option<RequestId>,
    /// Whose call it was, where it had a principal.
    #[schema(required)]
    actor: Option<String>,
    started_at: Time,
    #[schema(required)]
    ended_at: Option<Time>,
    #[serde(flatten)]
    end: Option<End>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = InvocationEnd)]
enum End {
    Ok {
        http_status: u16,
        duration_us: u64,
        operations: u64,
        runs: u32,
    },
    Failed {
        reason: FailureReason,
        message: String,
        #[schema(required)]
        line: Option<u32>,
        #[schema(required)]
        limit: Option<String>,
        duration_us: u64,
        runs: u32,
    },
}

impl Run {
    /// A run from the event of its beginning and, where it has ended, the one of its end.
    fn of(started: &Started, begin: &Recorded, end: Option<&Recorded>) -> Self {
        let ended = end.and_then(|recorded| Some((recorded, End::of(&recorded.event.event)?)));
        Self {
            id: started.invocation,
            status: match &ended {
                None => Status::Running,
                Some((_, End::Ok { .. })) => Status::Ok,
                Some((_, End::Failed { .. })) => Status::Failed,
            },
            script: started.script,
            version: started.version,
            route: started.route,
            invocation_type: started.invocation_type,
            attempt: started.attempt,
            request_id: begin.event.actor.request_id,
            actor: begin.event.actor.id.clone(),
            started_at: Time(begin.at),
            ended_at: ended.as_ref().map(|(recorded, _)| Time(recorded.at)),
            end: ended.map(|(_, end)| end),
        }
    }
}

impl End {
    fn of(event: &Event) -> Option<Self> {
        match event {
            Event::InvocationCompleted(Completed { status, duration_us, operations, runs, .. }) => {
                Some(Self::Ok { http_status: *status, duration_us: *duration_us, operations: *operations, runs: *runs })
            }
            Event::InvocationFailed(Failed { reason, message, line, limit, duration_us, runs, .. }) => {
                Some(Self::Failed {
                    reason: *reason,
                    message: message.clone(),
                    line: *line,
                    limit: limit.clone(),
                    duration_us: *duration_us,
                    runs: *runs,
                })
            }
            _ => None,
        }
    }
}

pub(super) async fn list(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(wanted): Params<Wanted>,
) -> Result<Answer<Page<Run>>, Problem> {
    let scope = Scope::new(&plane, Some(app.id)).await?;
    let script = wanted.script.as_deref().map(|named| scripts::find_ever(&app, named)).transpose()?;
    let limit = page::limit(wanted.limit)?;
    let before = wanted.cursor.as_deref().map(|cursor| plane.open(&scope.key, "cursor", cursor)).transpose()?;
    let walk = Walk { app: app.id, script, route: wanted.route, status: wanted.status, limit, before };
    let (items, last) = walk.run(&plane).await?;
    Ok(Answer(Page { items, cursor: last.map(|position| scope.seal(position)) }))
}

/// A walk back through the log.
struct Walk {
    app: AppId,
    script: Option<ScriptId>,
    route: Option<RouteId>,
    status: Option<Status>,
    limit: usize,
    before: Option<Position>,
}

impl Walk {
    /// The runs that match, and where to go on.
    async fn run(&self, plane: &AdminPlane) -> Result<(Vec<Run>, Option<Position>), Problem> {
        let kinds = ["invocation.started", "invocation.completed", "invocation.failed"];
        let filter = Filter { app: Some(Some(self.app)), kinds: kinds.map(str::to_owned).into(), ..Filter::default() };
        let head = plane.reader.head().await.map_err(|error| database(&error))?;
        let top = self.before.map_or(head, |before| Position(before.0 - 1).min(head));
        let mut up_to = top;
        let mut ends: HashMap<InvocationId, Recorded> = HashMap::new();
        let mut runs = Vec::new();
        for _ in 0..MAX_LOOKED_AT / CHUNK {
            let found = plane.reader.list(&filter, Direction::Backward, Position::ZERO, up_to, CHUNK).await;
            let found = found.map_err(|error| unreadable(&error))?;
            for recorded in &found {
                let started = match &recorded.event.event {
                    Event::InvocationStarted(started) => started,
                    Event::InvocationCompleted(Completed { invocation, .. })
                    | Event::InvocationFailed(Failed { invocation, .. }) => {
                        ends.insert(*invocation, recorded.clone());
                        continue;
                    }
                    _ => continue,
                };
                if self.script.is_some_and(|script| script != started.script)
                    || self.route.is_some_and(|route| started.route != Some(route))
                {
                    continue;
                }
                let mut end = ends.remove(&started.invocation);
                if end.is_none() && top < head {
                    // It may have ended on a page before this one.
                    end = plane.end_of(self.app, started.invocation, top, head).await?;
                }
                let run = Run::of(started, recorded, end.as_ref());
                if self.status.is_none_or(|status| status == run.status) {
                    runs.push(run);
                    if runs.len() == self.limit {
                        return Ok((runs, Some(recorded.position)));
                    }
                }
            }
            match found.last() {
                Some(last) if found.len() == CHUNK => up_to = Position(last.position.0 - 1),
                _ => return Ok((runs, None)),
            }
        }
        // Where the next page begins, all of this has been seen.
        Ok((runs, Some(up_to.plus(1))))
    }
}

impl AdminPlane {
    /// The event with which a run ended, in a stretch of the log.
    async fn end_of(
        &self,
        app: AppId,
        invocation: InvocationId,
        after: Position,
        up_to: Position,
    ) -> Result<Option<Recorded>, Problem> {
        let filter = Filter {
            app: Some(Some(app)),
            kinds: vec!["invocation.completed".to_owned(), "invocation.failed".to_owned()],
            subject: Some(invocation.to_string()),
            ..Filter::default()
        };
        let found = self.reader.list(&filter, Direction::Forward, after, up_to, 1).await;
        Ok(found.map_err(|error| unreadable(&error))?.pop())
    }
}

/// There is no such run, or not of this app.
fn not_found(app: &str, named: &str) -> Problem {
    let detail = format!("the app `{app}` has no invocation `{}`", super::access::short(named));
    Problem::new(Kind::NotFound, detail).field("invocation")
}
