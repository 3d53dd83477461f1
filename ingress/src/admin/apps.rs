//! Apps.

use axum::{Json as Answer, extract::State};
use http::StatusCode;
use picloud_core::{
    capability::Capability,
    event::{Event, app},
    id::AppId,
};
use picloud_projections::setup::{App, Setup};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    AdminPlane, Plane,
    access::{Caller, InApp},
    body::Json,
    etag::{IfMatch, Versioned},
    names,
    page::{self, Page},
    params::Params,
    time::Time,
    write::{Decided, NoContent, Shown, Written, database},
};
use crate::problem::{Kind, Problem};

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = App)]
pub(super) struct AppForm {
    id: AppId,
    slug: String,
    /// Names that it had, which lead to it.
    former_slugs: Vec<String>,
    paused: bool,
    created_at: Time,
    hosts: Vec<String>,
    scripts: usize,
    routes: usize,
}

impl AppForm {
    fn of(setup: &Setup, app: &App) -> Self {
        let mut former_slugs: Vec<String> =
            setup.former_slugs.iter().filter(|(_, of)| **of == app.id).map(|(slug, _)| slug.clone()).collect();
        former_slugs.sort_unstable();
        Self {
            id: app.id,
            slug: app.slug.to_string(),
            former_slugs,
            paused: app.is_paused,
            created_at: Time(app.created_at),
            hosts: app.domains.iter().map(|domain| domain.host.clone()).collect(),
            scripts: app.scripts.len(),
            routes: app.routes.len(),
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
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
    wanted.of(visible.map(|app| AppForm::of(&setup, app)), |app| app.slug.clone()).map(Answer)
}

pub(super) async fn create(
    State(plane): State<Plane>,
    caller: Caller,
    Json(new): Json<NewApp>,
) -> Result<Written<Shown<AppForm>>, Problem> {
    names::word("slug", &new.slug)?;
    plane.must_be_free(&caller, &new.slug, None)?;
    let id = AppId::generate();
    let mut events: Vec<Event> = vec![app::Created { app: id, slug: new.slug }.into()];
    events.extend(caller.owning());
    let committed = plane.append(&caller, Some(id), events, Vec::new()).await?;
    let app = plane.picture(id).await?.app;
    let decided = Decided { app: Some(id), position: committed.last, value: () };
    let form = AppForm::of(&plane.setup.get(), &app);
    decided.answer(&plane, StatusCode::CREATED, Shown(form)).await
}

pub(super) async fn show(State(plane): State<Plane>, InApp(app): InApp) -> Result<Versioned<AppForm>, Problem> {
    let form = AppForm::of(&plane.setup.get(), &app);
    plane.versioned(Some(app.id), app.position, form).await
}

/// Gives an app another name. The old one leads to the new one for as long as the app exists.
pub(super) async fn rename(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    if_match: IfMatch,
    Json(new): Json<NewApp>,
) -> Result<Written<Shown<AppForm>>, Problem> {
    names::word("slug", &new.slug)?;
    let expected = if_match.of(&plane, Some(app.id)).await?;
    let decided = plane
        .decide(&caller, app.id, |picture| {
            expected.check(picture.app.position)?;
            plane.must_be_free(&caller, &new.slug, Some(app.id))?;
            let renamed = app::Renamed { app: app.id, slug: new.slug.clone() };
            Ok((if *picture.app.slug == *new.slug { Vec::new() } else { vec![renamed.into()] }, ()))
        })
        .await?;
    let app = plane.picture(app.id).await?.app;
    let form = AppForm::of(&plane.setup.get(), &app);
    decided.answer(&plane, StatusCode::OK, Shown(form)).await
}

impl AdminPlane {
    /// Refuses a name that leads to another app because that had it once.
    fn must_be_free(&self, caller: &Caller, slug: &str, but: Option<AppId>) -> Result<(), Problem> {
        let setup = self.setup.get();
        let Some(other) = setup.former_slugs.get(slug).filter(|app| Some(**app) != but) else { return Ok(()) };
        let whose = setup.apps.get(other).filter(|app| caller.sees(app.id));
        let whose = whose.map_or_else(|| "another app".to_owned(), |app| format!("the app `{}`", app.slug));
        let detail = format!("`{slug}` leads to {whose}, which was called that before; choose another name");
        Err(Problem::new(Kind::Conflict, detail).field("slug").with("value", slug))
    }

    async fn set_paused(&self, caller: &Caller, app: AppId, is_paused: bool) -> Result<Written<NoContent>, Problem> {
        let decided = self
            .decide(caller, app, |picture| {
                let event = if is_paused { app::Paused { app }.into() } else { app::Resumed { app }.into() };
                Ok((if picture.app.is_paused == is_paused { Vec::new() } else { vec![event] }, ()))
            })
            .await?;
        decided.no_content(self).await
    }
}

/// Its scripts run no more: calls are answered with 503 until it is resumed.
pub(super) async fn pause(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
) -> Result<Written<NoContent>, Problem> {
    plane.set_paused(&caller, app.id, true).await
}

pub(super) async fn resume(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
) -> Result<Written<NoContent>, Problem> {
    plane.set_paused(&caller, app.id, false).await
}

/// How an app is deleted: by who has read what goes with it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Deletion {
    /// The app's slug, typed.
    confirm: Option<String>,
    /// Whether its data key is erased, too: then nobody can read what was recorded of it, in no backup of the log either.
    #[serde(default)]
    purge: bool,
}

/// What goes with an app.
#[derive(Debug, Serialize)]
struct Belongings {
    scripts: usize,
    routes: usize,
    hosts: usize,
    members: usize,
    api_keys: usize,
    kv_entries: i64,
}

/// Deletes an app and all that belongs to it. Without its name typed it says what that would be.
pub(super) async fn delete(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Params(deletion): Params<Deletion>,
) -> Result<Written<NoContent>, Problem> {
    if deletion.confirm.as_deref() != Some(&app.slug) {
        return Err(unconfirmed(&app, plane.belongings(&app).await?));
    }
    let decided = plane
        .decide(&caller, app.id, |picture| {
            let slug = picture.app.slug.to_string();
            let mut events: Vec<Event> = vec![app::Deleted { app: app.id, slug }.into()];
            if deletion.purge {
                events.push(app::Purged { app: app.id }.into());
            }
            Ok((events, ()))
        })
        .await?;
    // Sealed before the key it is under may go.
    let written = decided.no_content(&plane).await?;
    if deletion.purge {
        plane.keyring.erase(app.id).await.map_err(|error| Problem::internal(&error))?;
    }
    Ok(written)
}

impl AdminPlane {
    async fn belongings(&self, app: &App) -> Result<Belongings, Problem> {
        let kv_entries =
            sqlx::query_scalar!(r#"select count(*) as "count!" from state.kv where app_id = $1"#, app.id.uuid());
        Ok(Belongings {
            scripts: app.scripts.len(),
            routes: app.routes.len(),
            hosts: app.domains.len(),
            members: app.members.len(),
            api_keys: self.setup.get().keys.values().filter(|key| key.app == Some(app.id)).count(),
            kv_entries: kv_entries.fetch_one(&self.pool).await.map_err(|error| database(&error))?,
        })
    }
}

fn unconfirmed(app: &App, belongings: Belongings) -> Problem {
    let Belongings { scripts, routes, hosts, members, api_keys, kv_entries } = &belongings;
    let detail = format!(
        "deleting the app `{slug}` deletes {scripts} scripts, {routes} routes, {hosts} hosts, {members} members, \
         {api_keys} API keys and {kv_entries} kv entries with it; nothing was deleted: confirm with `?confirm={slug}`",
        slug = app.slug
    );
    Problem::new(Kind::ConfirmationNeeded, detail).field("confirm").with("belongings", belongings)
}
