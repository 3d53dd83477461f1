//! Runs of scripts: lists of them, how many there are, one run in full, and what it would come to now.

pub(super) mod replay;
pub(super) mod show;
pub(super) mod tree;

use axum::{Json as Answer, extract::State};
use chrono::{DateTime, Utc};
use picloud_core::{
    event::FailureReason,
    id::{InvocationId, OutboxId, RequestId, RouteId, ScriptId, TriggerId, VersionId},
    run::InvocationType,
};
use picloud_projections::{
    setup::App,
    views::{
        self,
        invocations::{self, Ended, Filter, How, Invocation, Outcome},
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    AdminPlane, Plane,
    access::InApp,
    events::Scope,
    names,
    page::Count,
    params::Params,
    scripts,
    searched::{Found, Searched},
    span::Span,
    time::Time,
    write::database,
};
use crate::problem::{Kind, Problem};

/// Longer than this is no search.
const MAX_WORDS_CHARS: usize = 500;

/// Which runs are wanted; everything named must hold. Which page of them does not matter to who counts.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Id or name.
    script: Option<String>,
    version: Option<VersionId>,
    route: Option<RouteId>,
    trigger: Option<TriggerId>,
    /// Whose calls: the id of an account or a key.
    principal: Option<String>,
    status: Option<Status>,
    /// That took at least so many milliseconds.
    min_duration_ms: Option<u64>,
    /// Words that a run logged or failed with; `"in quotes"`, `or` and `-not` work.
    q: Option<String>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    after: Option<String>,
    before: Option<String>,
    /// What a page gave: `after` or `before`, whichever way the list goes.
    cursor: Option<String>,
    order: Option<String>,
    limit: Option<usize>,
    /// What a change was answered with, `x-picloud-cursor`: the list shows it.
    min_cursor: Option<String>,
}

impl Wanted {
    fn filter(&self, app: &App) -> Result<Filter, Problem> {
        let script = self.script.as_deref().map(|named| scripts::find_ever(app, named)).transpose()?;
        for (field, text) in [("principal", &self.principal), ("q", &self.q)] {
            if let Some(text) = text {
                names::text(field, text, MAX_WORDS_CHARS)?;
            }
        }
        Ok(Filter {
            script,
            version: self.version,
            route: self.route,
            trigger: self.trigger,
            actor: self.principal.clone(),
            outcome: self.status.map(Into::into),
            slower_than_us: self.min_duration_ms.map(|ms| ms.saturating_mul(1_000)),
            words: self.q.clone(),
            since: self.since,
            until: self.until,
            ..Filter::of(app.id)
        })
    }

    fn span(&self) -> Span<'_> {
        Span {
            after: self.after.as_deref(),
            before: self.before.as_deref(),
            cursor: self.cursor.as_deref(),
            order: self.order.as_deref(),
            since: self.since,
            until: self.until,
            limit: self.limit,
        }
    }
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
    /// Null when the script is deleted.
    #[schema(required)]
    script_name: Option<String>,
    version: VersionId,
    #[schema(required)]
    route: Option<RouteId>,
    /// That owed it.
    #[schema(required)]
    trigger: Option<TriggerId>,
    /// The item of the outbox that it is an attempt at.
    #[schema(required)]
    outbox_id: Option<OutboxId>,
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

impl From<Status> for Outcome {
    fn from(status: Status) -> Self {
        match status {
            Status::Running => Self::Running,
            Status::Ok => Self::Ok,
            Status::Failed => Self::Failed,
        }
    }
}

impl Run {
    fn of(app: &App, run: Invocation) -> Self {
        let script = app.scripts.iter().find(|script| script.id == run.script);
        Self {
            script_name: script.map(|script| script.name.clone()),
            id: run.id,
            status: match &run.end {
                None => Status::Running,
                Some(Ended { how: How::Ok { .. }, .. }) => Status::Ok,
                Some(Ended { how: How::Failed { .. }, .. }) => Status::Failed,
            },
            script: run.script,
            version: run.version,
            route: run.route,
            trigger: run.trigger,
            outbox_id: run.item,
            invocation_type: run.invocation_type,
            attempt: run.attempt,
            request_id: run.request_id,
            actor: run.actor,
            started_at: Time(run.started_at),
            ended_at: run.end.as_ref().map(|ended| Time(ended.at)),
            end: run.end.map(End::from),
        }
    }
}

impl From<Ended> for End {
    fn from(Ended { duration_us, runs, how, .. }: Ended) -> Self {
        match how {
            How::Ok { status, operations } => Self::Ok { http_status: status, duration_us, operations, runs },
            How::Failed { reason, message, line, limit } => {
                Self::Failed { reason, message, line, limit, duration_us, runs }
            }
        }
    }
}

pub(super) async fn list(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(wanted): Params<Wanted>,
) -> Result<Answer<Searched<Run>>, Problem> {
    let scope = Scope::new(&plane, Some(app.id)).await?;
    let filter = wanted.filter(&app)?;
    plane.fresh(invocations::NAME, &scope, wanted.min_cursor.as_deref()).await?;
    let page = wanted.span().page(&plane, &scope).await?;
    let more = views::Page { limit: page.limit + 1, ..page };
    let found = invocations::list(&plane.pool, &filter, more, plane.searching).await;
    let invocations::Found { runs: items, stopped } = found.map_err(|error| database(&error))?;
    let found = Found { items, stopped };
    plane.searched(&scope, page, found, |run| run.position, |run| Run::of(&app, run)).await.map(Answer)
}

pub(super) async fn count(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(wanted): Params<Wanted>,
) -> Result<Answer<Count>, Problem> {
    let scope = Scope::new(&plane, Some(app.id)).await?;
    plane.fresh(invocations::NAME, &scope, wanted.min_cursor.as_deref()).await?;
    let between = Span { since: wanted.since, until: wanted.until, ..Span::default() };
    let part = between.page(&plane, &scope).await?;
    let counted = invocations::count(&plane.pool, &wanted.filter(&app)?, part, plane.searching).await;
    Ok(Answer(match counted.map_err(|error| database(&error))? {
        invocations::Count::Exactly(count) => Count { count, is_exact: true },
        invocations::Count::AtLeast(count) => Count { count, is_exact: false },
    }))
}

/// A run by its name in the path, and whose recordings and cursors go with it.
async fn find(plane: &AdminPlane, app: &App, named: &str) -> Result<(Scope, Invocation), Problem> {
    let id: InvocationId = named.parse().map_err(|_| not_found(&app.slug, named))?;
    let scope = Scope::new(plane, Some(app.id)).await?;
    let is_fresh = plane.fresh(invocations::NAME, &scope, None).await?;
    let run = invocations::find(&plane.pool, app.id, id).await.map_err(|error| database(&error))?;
    // However the id was spelt in the path.
    let named = id.to_string();
    let run = run.ok_or_else(|| if is_fresh { not_found(&app.slug, &named) } else { not_yet(&named) })?;
    Ok((scope, run))
}

/// There is no such run, or not of this app.
fn not_found(app: &str, named: &str) -> Problem {
    let detail = format!("the app `{app}` has no invocation `{}`", super::access::short(named));
    Problem::new(Kind::NotFound, detail).field("invocation")
}

/// What runs are listed from is behind: it may be there.
fn not_yet(named: &str) -> Problem {
    let detail = format!("`{}` may have begun just now: try again, or look at `/readyz`", super::access::short(named));
    Problem::new(Kind::Unavailable, detail).field("invocation").retry_after(1)
}
