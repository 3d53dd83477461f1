//! Plain configuration values of an app, `ctx.env`. They are in the log: secrets do not belong here.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use http::StatusCode;
use picloud_core::event::env;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Plane,
    access::{Caller, InApp, short},
    body::Json,
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

pub(super) async fn set(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, name)): Path<(String, String)>,
    Json(Value { value }): Json<Value>,
) -> Result<Written<Shown<Variable>>, Problem> {
    check(&name, &value)?;
    let decided = plane
        .decide(&caller, app.id, |picture| {
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
) -> Result<Written<NoContent>, Problem> {
    let decided = plane
        .decide(&caller, app.id, |picture| {
            if !picture.app.env.contains_key(&name) {
                let detail = format!("the app `{}` has no env value `{}`", picture.app.slug, short(&name));
                return Err(Problem::new(Kind::NotFound, detail));
            }
            Ok((vec![env::Deleted { name: name.clone() }.into()], ()))
        })
        .await?;
    decided.no_content(&plane).await
}
