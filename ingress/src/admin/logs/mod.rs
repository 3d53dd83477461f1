//! What an app's scripts say: their log lines, and how runs failed.
//!
//! The log names a line's run, and the run's beginning names the script: `walk` folds the two for what was, `live` for
//! what comes.

mod line;
mod live;
mod walk;

use axum::{Json as Answer, extract::State};
use http::HeaderMap;
use picloud_core::{
    capability::Capability,
    id::{InvocationId, ScriptId},
    run::LogLevel,
};
use picloud_projections::setup::App;
use serde::Deserialize;
use utoipa::ToSchema;

use self::{line::Line, live::Live, walk::Walk};
use super::{
    Plane,
    access::{Caller, InApp},
    events::Scope,
    openapi::{Events, Told},
    page::{self, Page},
    params::Params,
    scripts,
    stream::{self as sse, Listener},
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
    cursor: Option<String>,
    limit: Option<usize>,
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

/// Newest first. What a run logged stays together: a page may be longer than asked for by a run's lines.
pub(super) async fn list(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(params): Params<ListParams>,
) -> Result<Answer<Page<Line>>, Problem> {
    let scope = Scope::new(&plane, Some(app.id)).await?;
    let wanted = Wanted::new(&app, params.script.as_deref(), params.level, params.invocation)?;
    let before = params.cursor.as_deref().map(|cursor| plane.open(&scope.key, "cursor", cursor)).transpose()?;
    let walk = Walk { app: &app, wanted, limit: page::limit(params.limit)?, before };
    let (items, last) = walk.run(&plane, &scope).await?;
    Ok(Answer(Page { items, cursor: last.map(|position| scope.seal(position)) }))
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
