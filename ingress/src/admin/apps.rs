//! Apps.

use axum::{Json as Answer, extract::State};
use http::StatusCode;
use picloud_core::{capability::Capability, event::app, id::AppId};
use picloud_projections::setup::App;
use serde::{Deserialize, Serialize};

use super::{
    Plane,
    access::{Caller, InApp},
    body::Json,
    names,
    page::{self, Page},
    params::Params,
    time::Time,
    write::{Decided, Shown, Written},
};
use crate::problem::Problem;

#[derive(Debug, Serialize)]
pub(super) struct AppForm {
    id: AppId,
    slug: String,
    created_at: Time,
    hosts: Vec<String>,
    scripts: usize,
    routes: usize,
}

impl AppForm {
    fn of(app: &App) -> Self {
        Self {
            id: app.id,
            slug: app.slug.to_string(),
            created_at: Time(app.created_at),
            hosts: app.domains.iter().map(|domain| domain.host.clone()).collect(),
            scripts: app.scripts.len(),
            routes: app.routes.len(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewApp {
    slug: String,
}

pub(super) async fn list(
    State(plane): State<Plane>,
    caller: Caller,
    Params(wanted): Params<page::Wanted>,
) -> Result<Answer<Page<AppForm>>, Problem> {
    let setup = plane.setup.get();
    let visible = setup.apps.values().filter(|app| caller.may(Capability::AppRead, Some(app.id)));
    wanted.of(visible.map(|app| AppForm::of(app)), |app| app.slug.clone()).map(Answer)
}

pub(super) async fn create(
    State(plane): State<Plane>,
    caller: Caller,
    Json(new): Json<NewApp>,
) -> Result<Written<Shown<AppForm>>, Problem> {
    names::word("slug", &new.slug)?;
    let id = AppId::generate();
    let event = app::Created { app: id, slug: new.slug }.into();
    let committed = plane.append(&caller, Some(id), vec![event], Vec::new()).await?;
    let app = plane.picture(id).await?.app;
    let decided = Decided { app: id, position: committed.last, value: () };
    decided.answer(&plane, StatusCode::CREATED, Shown(AppForm::of(&app))).await
}

pub(super) async fn show(InApp(app): InApp) -> Answer<AppForm> {
    Answer(AppForm::of(&app))
}
