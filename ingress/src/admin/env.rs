//! Plain configuration values of an app, `ctx.env`. They are in the log: secrets do not belong here.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use http::StatusCode;
use picloud_core::event::env;
use picloud_projections::setup::App;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Plane,
    access::{Caller, InApp, short},
    body::Json,
    etag::{IfMatch, Versioned},
    names,
    page::{self, Page},
    params::Params,
    write::{NoContent, Shown, Written},
};
use crate::problem::{Kind, Problem};

/// The longest value.
const MAX_VALUE_CHARS: usize = 16 * 1024;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EnvValue)]
pub(super) struct Variable {
    name: String,
    value: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewEnvValue)]
pub(super) struct Value {
    value: String,
}

/// Whether a name may have a value.
pub(super) fn check(name: &str, value: &str) -> Result<(), Problem> {
    names::variable("name", name)?;
    names::text("value", value, MAX_VALUE_CHARS)
}

pub(super) async fn list(
    InApp(app): InApp,
    Params(wanted): Params<page::Wanted>,
) -> Result<Answer<Page<Variable>>, Problem> {
    let variables = app.env.iter().map(|(name, value)| Variable { name: name.clone(), value: value.clone() });
    wanted.of(variables, |variable| variable.name.clone()).map(Answer)
}

fn no_such(app: &App, name: &str) -> Problem {
    Problem::new(Kind::NotFound, format!("the app `{}` has no env value `{}`", app.slug, short(name)))
}

pub(super) async fn show(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Path((_, name)): Path<(String, String)>,
) -> Result<Versioned<Variable>, Problem> {
    let (Some(value), Some(position)) = (app.env.get(&name), app.env_positions.get(&name)) else {
        return Err(no_such(&app, &name));
    };
    plane.versioned(Some(app.id), *position, Variable { value: value.clone(), name }).await
}

pub(super) async fn set(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, name)): Path<(String, String)>,
    if_match: IfMatch,
    Json(Value { value }): Json<Value>,
) -> Result<Written<Shown<Variable>>, Problem> {
    check(&name, &value)?;
    let expected = if_match.of(&plane, Some(app.id)).await?;
    let decided = plane
        .decide(&caller, app.id, |picture| {
            expected.check_if_there(picture.app.env_positions.get(&name).copied())?;
            let is_set = picture.app.env.get(&name) == Some(&value);
            let event = || env::Set { name: name.clone(), value: value.clone() }.into();
            Ok((if is_set { Vec::new() } else { vec![event()] }, ()))
        })
        .await?;
    decided.answer(&plane, StatusCode::OK, Shown(Variable { name, value })).await
}

pub(super) async fn delete(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, name)): Path<(String, String)>,
    if_match: IfMatch,
) -> Result<Written<NoContent>, Problem> {
    let expected = if_match.of(&plane, Some(app.id)).await?;
    let decided = plane
        .decide(&caller, app.id, |picture| {
            let position = picture.app.env_positions.get(&name).ok_or_else(|| no_such(&picture.app, &name))?;
            expected.check(*position)?;
            Ok((vec![env::Deleted { name: name.clone() }.into()], ()))
        })
        .await?;
    decided.no_content(&plane).await
}
