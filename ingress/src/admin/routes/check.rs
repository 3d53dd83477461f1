//! Whether a route would contradict another.

use axum::Json as Answer;
use picloud_core::{
    id::RouteId,
    routing::{Pattern, conflict},
};
use picloud_projections::setup::Route;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{RouteForm, pattern_text, wanted};
use crate::{
    admin::{access::InApp, body::Json},
    problem::{Kind, Problem},
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PatternToCheck)]
pub(in crate::admin) struct Asked {
    method: Option<String>,
    host: Option<String>,
    path: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RouteCheck)]
pub(in crate::admin) struct Checked {
    /// As it would be shown.
    pattern: String,
    /// The routes it cannot be beside; none: it can be bound.
    conflicts: Vec<RouteForm>,
}

/// The routes that rank equal to a pattern for some request. One may be left out: the one that is to be changed.
fn conflicts<'a>(
    pattern: &'a Pattern,
    routes: &'a [Route],
    besides: Option<RouteId>,
) -> impl Iterator<Item = &'a Route> {
    routes.iter().filter(move |route| {
        // What was stored once and is refused today conflicts with nothing.
        let other = Pattern::try_from(&route.definition);
        Some(route.id) != besides && other.is_ok_and(|other| conflict(pattern, &other))
    })
}

/// Refuses a pattern that contradicts a route, naming it.
pub(super) fn refuse_conflict(pattern: &Pattern, routes: &[Route], besides: Option<RouteId>) -> Result<(), Problem> {
    match conflicts(pattern, routes, besides).next() {
        None => Ok(()),
        Some(other) => Err(contradiction(pattern, &pattern_text(&other.definition), Some(other.id))),
    }
}

/// Two routes that cannot be beside each other.
pub(in crate::admin) fn contradiction(pattern: &Pattern, other: &str, id: Option<RouteId>) -> Problem {
    let named = id.map_or_else(|| format!("`{other}`"), |id| format!("`{other}` ({id})"));
    let detail = format!("the route `{pattern}` conflicts with {named}: some request would match both equally well");
    let problem = Problem::new(Kind::Conflict, detail).field("path");
    match id {
        Some(id) => problem.with("route", id),
        None => problem,
    }
}

pub(in crate::admin) async fn check(InApp(app): InApp, Json(asked): Json<Asked>) -> Result<Answer<Checked>, Problem> {
    let pattern = wanted::pattern(asked.host.as_deref(), &asked.path, asked.method.as_deref())?;
    let found = conflicts(&pattern, &app.routes, None).map(|route| RouteForm::of(&app, route)).collect();
    Ok(Answer(Checked { pattern: pattern.to_string(), conflicts: found }))
}
