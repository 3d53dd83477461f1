//! Host names that lead to an app.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use http::StatusCode;
use picloud_core::{event::domain, id::DomainId, routing::HostPattern};
use picloud_projections::setup::{App, Domain};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Plane,
    access::{Caller, InApp, short},
    body::Json,
    page::{self, Page},
    params::Params,
    time::Time,
    write::{NoContent, Shown, Written},
};
use crate::problem::{Kind, Problem};

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Domain)]
pub(super) struct DomainForm {
    id: DomainId,
    host: String,
    created_at: Time,
}

impl DomainForm {
    fn of(domain: &Domain) -> Self {
        Self { id: domain.id, host: domain.host.clone(), created_at: Time(domain.created_at) }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewDomain {
    host: String,
}

/// Reads a host as it is stored: lower case, `*.` in front for all below it.
pub(super) fn host(text: &str) -> Result<String, Problem> {
    HostPattern::parse(Some(text))
        .map(|pattern| pattern.to_string())
        .map_err(|invalid| Problem::new(Kind::InvalidInput, invalid.to_string()).field("host"))
}

/// A domain by its id or host.
fn find<'a>(app: &'a App, named: &str) -> Result<&'a Domain, Problem> {
    let host = host(named).ok();
    let is_meant = |domain: &&Domain| domain.id.to_string() == named || Some(&domain.host) == host.as_ref();
    app.domains
        .iter()
        .find(is_meant)
        .ok_or_else(|| Problem::new(Kind::NotFound, format!("the app `{}` has no domain `{}`", app.slug, short(named))))
}

pub(super) async fn list(
    InApp(app): InApp,
    Params(wanted): Params<page::Wanted>,
) -> Result<Answer<Page<DomainForm>>, Problem> {
    wanted.of(app.domains.iter().map(DomainForm::of), |domain| domain.host.clone()).map(Answer)
}

/// Claiming what the app has already changes nothing and answers 200.
pub(super) async fn claim(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Json(new): Json<NewDomain>,
) -> Result<Written<Shown<DomainForm>>, Problem> {
    let host = host(&new.host)?;
    let decided = plane
        .decide(&caller, app.id, |picture| {
            if picture.app.domains.iter().any(|domain| domain.host == host) {
                return Ok((Vec::new(), StatusCode::OK));
            }
            let claimed = domain::Claimed { domain: DomainId::generate(), host: host.clone() };
            Ok((vec![claimed.into()], StatusCode::CREATED))
        })
        .await?;
    let app = plane.picture(app.id).await?.app;
    let form = DomainForm::of(find(&app, &host)?);
    let status = decided.value;
    decided.answer(&plane, status, Shown(form)).await
}

pub(super) async fn release(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
) -> Result<Written<NoContent>, Problem> {
    let decided = plane
        .decide(&caller, app.id, |picture| {
            let domain = find(&picture.app, &named)?.id;
            Ok((vec![domain::Released { domain }.into()], ()))
        })
        .await?;
    decided.no_content(&plane).await
}
