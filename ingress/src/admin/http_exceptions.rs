//! What an app's scripts may call besides the public internet. Everyone who sees the app may look; since it opens the network
//! that the instance runs in, only who manages the instance says it.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use http::StatusCode;
use picloud_core::{
    event::http_exception::{Allowed, Removed},
    http_exception::Exception,
};
use picloud_projections::setup::{App, HttpException};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Plane,
    access::{Caller, InApp, short, visible_app},
    body::Json,
    page::{self, Page},
    params::Params,
    time::Time,
    write::{NoContent, Shown, Written},
};
use crate::problem::{Kind, Problem};

/// The most that one app has: each is looked at for every call of what is not public.
const MAX_EXCEPTIONS: usize = 100;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HttpException)]
pub(super) struct ExceptionForm {
    /// A host or a network, maybe with a port.
    target: String,
    created_at: Time,
}

impl ExceptionForm {
    fn of(exception: &HttpException) -> Self {
        Self { target: exception.target.clone(), created_at: Time(exception.created_at) }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewHttpException)]
pub(super) struct NewException {
    /// A host or a network, maybe with a port: `nas.lan:5000`, `192.168.0.0/24`, `[fd00::/8]:80`.
    target: String,
}

/// Reads a target as it is stored.
fn target(text: &str) -> Result<String, Problem> {
    let exception: Result<Exception, _> = text.parse();
    exception
        .map(|exception| exception.to_string())
        .map_err(|invalid| Problem::new(Kind::InvalidInput, invalid.to_string()).field("target"))
}

/// An exception by its target, however that is written.
fn find<'a>(app: &'a App, named: &str) -> Result<&'a HttpException, Problem> {
    let read = target(named).ok();
    let is_meant = |exception: &&HttpException| exception.target == named || Some(&exception.target) == read.as_ref();
    app.http_exceptions.iter().find(is_meant).ok_or_else(|| {
        let detail = format!("scripts of the app `{}` were not allowed to call `{}`", app.slug, short(named));
        Problem::new(Kind::NotFound, detail)
    })
}

pub(super) async fn list(
    InApp(app): InApp,
    Params(wanted): Params<page::Wanted>,
) -> Result<Answer<Page<ExceptionForm>>, Problem> {
    let exceptions = app.http_exceptions.iter().map(ExceptionForm::of);
    wanted.of(exceptions, |exception| exception.target.clone()).map(Answer)
}

/// Allowing what is allowed already changes nothing and answers 200.
pub(super) async fn allow(
    State(plane): State<Plane>,
    caller: Caller,
    Path(named): Path<String>,
    Json(new): Json<NewException>,
) -> Result<Written<Shown<ExceptionForm>>, Problem> {
    let app = visible_app(&caller, &plane.setup.get(), &named)?;
    let target = target(&new.target)?;
    let decided = plane
        .decide(&caller, app.id, |picture| {
            let there = &picture.app.http_exceptions;
            if there.iter().any(|exception| exception.target == target) {
                return Ok((Vec::new(), StatusCode::OK));
            }
            if there.len() >= MAX_EXCEPTIONS {
                let detail =
                    format!("the app has {MAX_EXCEPTIONS} exceptions, which is the most: allow a network instead");
                return Err(Problem::new(Kind::InvalidInput, detail).field("target"));
            }
            Ok((vec![Allowed { target: target.clone() }.into()], StatusCode::CREATED))
        })
        .await?;
    let app = plane.picture(app.id).await?.app;
    let form = ExceptionForm::of(find(&app, &target)?);
    let status = decided.value;
    decided.answer(&plane, status, Shown(form)).await
}

pub(super) async fn remove(
    State(plane): State<Plane>,
    caller: Caller,
    Path((app, named)): Path<(String, String)>,
) -> Result<Written<NoContent>, Problem> {
    let app = visible_app(&caller, &plane.setup.get(), &app)?;
    let decided = plane
        .decide(&caller, app.id, |picture| {
            let target = find(&picture.app, &named)?.target.clone();
            Ok((vec![Removed { target }.into()], ()))
        })
        .await?;
    decided.no_content(&plane).await
}
