//! What an app's scripts say: their log lines, and how runs failed.
//!
//! The log names a line's run, and the run's beginning names the script: the view `logs` has put the two together for what
//! was, `live` does for what comes.

mod line;
mod live;

use axum::{Json as Answer, extract::State};
use chrono::{DateTime, Utc};
use http::HeaderMap;
use picloud_core::{
    capability::Capability,
    id::{InvocationId, ScriptId},
    log::{Position, read::Direction},
    run::LogLevel,
};
use picloud_projections::{
    setup::App,
    views::{self, logs},
};
use serde::Deserialize;
use utoipa::ToSchema;

use self::{line::Line, live::Live};
use super::{
    Plane,
    access::{Caller, InApp},
    events::{Scope, unreadable},
    openapi::{Events, Told},
    page::Page,
    params::Params,
    scripts,
    span::Span,
    stream::{self as sse, Listener},
    write::database,
};
use crate::problem::Problem;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    /// Id or name.
    script: Option<String>,
    /// This loud, or louder. A failure is an error.
    level: Option<LogLevel>,
    invocation: Option<InvocationId>,
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

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamParams {
    script: Option<String>,
    level: Option<LogLevel>,
    invocation: Option<InvocationId>,
    after: Option<String>,
}

/// Which lines are wanted.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    script: Option<ScriptId>,
    level: LogLevel,
    invocation: Option<InvocationId>,
}

impl Wanted {
    fn new(
        app: &App,
        script: Option<&str>,
        level: Option<LogLevel>,
        invocation: Option<InvocationId>,
    ) -> Result<Self, Problem> {
        let script = script.map(|named| scripts::find_ever(app, named)).transpose()?;
        Ok(Self { script, level: level.unwrap_or(LogLevel::Trace), invocation })
    }
}

/// What a run logged stays together: a page may be longer than asked for by a run's lines.
pub(super) async fn list(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(params): Params<ListParams>,
) -> Result<Answer<Page<Line>>, Problem> {
    let scope = Scope::new(&plane, Some(app.id)).await?;
    let wanted = Wanted::new(&app, params.script.as_deref(), params.level, params.invocation)?;
    let span = Span {
        after: params.after.as_deref(),
        before: params.before.as_deref(),
        cursor: params.cursor.as_deref(),
        order: params.order.as_deref(),
        since: params.since,
        until: params.until,
        limit: params.limit,
    };
    plane.fresh(logs::NAME, &scope, params.min_cursor.as_deref()).await?;
    let page = span.page(&plane, &scope).await?;
    let filter =
        logs::Filter { app: app.id, script: wanted.script, invocation: wanted.invocation, level: wanted.level };
    // Each says something that is wanted: of one more than a page has lines it is not all shown.
    let more = views::Page { limit: page.limit + 1, ..page };
    let entries = logs::list(&plane.pool, &filter, more).await.map_err(|error| database(&error))?;
    let positions: Vec<Position> = entries.iter().map(|entry| entry.position).collect();
    let events = plane.reader.at(&positions).await.map_err(|error| unreadable(&error))?;
    let (mut items, mut last) = (Vec::new(), None);
    for entry in &entries {
        if items.len() >= page.limit {
            return Ok(Answer(Page { items, cursor: last.map(|position| scope.seal(position)) }));
        }
        last = Some(entry.position);
        // What is between them and the log is gone from the log.
        let Some(recorded) = events.get(&entry.position).filter(|recorded| span.spans(recorded.at)) else { continue };
        let mut lines = line::lines(recorded, Some(entry.into()), &wanted, Some(&app), &scope);
        if page.direction == Direction::Backward {
            lines.reverse();
        }
        items.extend(lines);
    }
    let cursor = last.filter(|_| entries.len() > page.limit).map(|position| scope.seal(position));
    Ok(Answer(Page { items, cursor }))
}

pub(super) async fn stream(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    headers: HeaderMap,
    Params(params): Params<StreamParams>,
) -> Result<Told<Events<Line>>, Problem> {
    let scope = Scope::new(&plane, Some(app.id)).await?;
    let wanted = Wanted::new(&app, params.script.as_deref(), params.level, params.invocation)?;
    let needs = (Capability::AppReadLog, Some(app.id));
    let live = Live::new(plane.clone(), app.id, wanted, scope.clone());
    let listener = Listener { caller, needs, headers: &headers, after: params.after.as_deref() };
    sse::open(plane, listener, scope, live).await
}
