//! Deploying: an app as a manifest says it shall be, in one commit.
//!
//! `manifest` reads what was sent, `plan` decides (purely) what is to change, and this module applies it: all of it or
//! nothing, decided anew when someone else was quicker.

pub(super) mod manifest;
mod plan;

pub(super) use plan::diff;
#[cfg(test)]
mod tests;
mod urls;

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json as Answer,
    extract::{Path, State},
    response::IntoResponse,
};
use http::StatusCode;
use picloud_core::{
    capability::Capability,
    id::{AppId, ScriptId},
    log::{Position, Read},
};
use picloud_projections::{scripts::Latest, setup::App};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::{
    manifest::{Manifest, Wanted},
    plan::{Change, ChangeKind, Plan, Present, plan},
};
use super::{
    AdminPlane, Plane,
    access::{Caller, visible_app},
    body::Json,
    names,
    openapi::Told,
    params::Params,
    scripts::{source::Found, ulid_now},
    write::{Refused, Shown, Tries, Written, configured},
};
use crate::problem::{Kind, Problem};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    /// Only say what would change.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Deployment)]
pub(super) struct Deployed {
    app: AppForm,
    dry_run: bool,
    changes: Vec<Change>,
    /// What could be better about the sources.
    diagnostics: Vec<Found>,
    /// Where the manifest's routes answer.
    urls: Vec<String>,
    #[schema(required)]
    cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeployedApp)]
struct AppForm {
    id: AppId,
    slug: String,
}

pub(super) async fn deploy(
    State(plane): State<Plane>,
    caller: Caller,
    Path(named): Path<String>,
    Params(how): Params<How>,
    Json(manifest): Json<Manifest>,
) -> Result<Told<Written<Shown<Deployed>>>, Problem> {
    // Before anything is said about the manifest: who may not see the app learns nothing.
    let target = plane.target(&caller, &named, manifest.create_app)?;
    manifest.is_for(&named, target.app())?;
    let wanted = Wanted::check(manifest, &plane.ceiling)?;
    let sources: Vec<_> = wanted.scripts.iter().map(|script| (script.name.as_str(), &script.source)).collect();
    let diagnostics = plane.validate(&sources).await?;
    let registrant = caller.registrant()?;
    let mut tries = Tries::default();
    let (plan, committed) = loop {
        let target = plane.target(&caller, &named, wanted.create_app)?;
        let latest = plane.latest(&target).await?;
        let present = Present { app: target.app(), slug: &named, latest: &latest, registrant: &registrant };
        let mut plan = plan(&wanted, &present, &mut ulid_now)?;
        permit(&caller, &plan)?;
        if plan.makes_app() {
            plan.events.extend(caller.owning());
        }
        if how.dry_run || plan.events.is_empty() {
            break (plan, (!how.dry_run).then_some(target.as_of));
        }
        let reads = plane.reads(&caller, &plan, target.as_of)?;
        match plane.append(&caller, Some(plan.app), std::mem::take(&mut plan.events), reads).await {
            Ok(committed) => break (plan, Some(committed.last)),
            Err(Refused::Stale) => tries.again(&plane, target.as_of).await?,
            // Someone made the app meanwhile: then it is to be brought up to date, unless it is not the caller's to see.
            Err(Refused::Exists(problem)) => match plane.setup.get().app(&named) {
                Some(app) if !caller.sees(app.id) => return Err(problem),
                _ => tries.again(&plane, target.as_of).await?,
            },
            Err(Refused::Problem(problem)) => return Err(problem),
        }
    };
    plane.answer(plan, committed, diagnostics, how).await
}

/// What is deployed to.
struct Target {
    app: Option<Arc<App>>,
    as_of: Position,
}

impl Target {
    fn app(&self) -> Option<&App> {
        self.app.as_deref()
    }
}

impl AdminPlane {
    /// The app, if it is there and the caller sees it; none, if it is to be made.
    fn target(&self, caller: &Caller, named: &str, create: bool) -> Result<Target, Problem> {
        let setup = self.setup.get();
        let as_of = setup.position;
        match visible_app(caller, &setup, named) {
            Ok(app) => {
                caller.must(Capability::AppWriteScript, Some(app.id))?;
                Ok(Target { app: Some(app), as_of })
            }
            Err(_) if create && caller.may(Capability::InstanceCreateApp, None) && named.parse::<AppId>().is_err() => {
                names::word("slug", named)?;
                Ok(Target { app: None, as_of })
            }
            Err(unseen) => Err(unseen),
        }
    }

    /// What a plan depends on. Triggers last in the name of who deploys, who must be there and allowed to when they are made.
    fn reads(&self, caller: &Caller, plan: &Plan, as_of: Position) -> Result<Vec<Read>, Problem> {
        if !plan.makes_triggers() {
            return Ok(configured(&[Some(plan.app)], as_of));
        }
        match plan.makes_app() {
            true => caller.must_still(self, Capability::InstanceCreateApp, None)?,
            false => caller.must_still(self, Capability::AppManageTriggers, Some(plan.app))?,
        }
        Ok(configured(&[Some(plan.app), None], as_of))
    }

    async fn latest(&self, target: &Target) -> Result<HashMap<ScriptId, Latest>, Problem> {
        match target.app() {
            Some(app) => picloud_projections::scripts::latest(&self.pool, app.id)
                .await
                .map_err(|error| super::write::database(&error)),
            None => Ok(HashMap::new()),
        }
    }

    async fn answer(
        &self,
        plan: Plan,
        committed: Option<Position>,
        diagnostics: Vec<Found>,
        how: How,
    ) -> Result<Told<Written<Shown<Deployed>>>, Problem> {
        let Plan { app, slug, changes, hosts, routes, .. } = plan;
        let urls = urls::of(&self.urls.public, &hosts, &routes);
        let mut deployed =
            Deployed { app: AppForm { id: app, slug }, dry_run: how.dry_run, changes, diagnostics, urls, cursor: None };
        let Some(position) = committed else { return Ok(Answer(deployed).into_response().into()) };
        let cursor = self.seal(&*self.cursor_key(Some(app)).await?, position);
        deployed.cursor = Some(cursor.clone());
        Ok(Written { status: StatusCode::OK, cursor, body: Shown(deployed) }.into_response().into())
    }
}

/// Refuses a plan with a change that the caller may not make.
fn permit(caller: &Caller, plan: &Plan) -> Result<(), Problem> {
    let app = Some(plan.app);
    let caller = &if plan.makes_app() { caller.with_own(plan.app) } else { caller.clone() };
    for change in plan.changes.iter().filter(|change| change.is_one()) {
        match change.kind {
            ChangeKind::App => caller.must(Capability::InstanceCreateApp, None)?,
            ChangeKind::Domain => caller.must(Capability::AppManageDomains, app)?,
            ChangeKind::Env | ChangeKind::Script => caller.must(Capability::AppWriteScript, app)?,
            ChangeKind::Route => caller.must(Capability::AppWriteRoute, app)?,
            ChangeKind::Trigger => caller.must(Capability::AppManageTriggers, app)?,
            ChangeKind::Queue => caller.must(Capability::AppQueueManage, app)?,
            ChangeKind::Topic => caller.must(Capability::AppManageTopics, app)?,
        }
    }
    Ok(())
}

impl Manifest {
    /// A manifest may say which app it is for; then it must be the one in the path.
    fn is_for(&self, named: &str, app: Option<&App>) -> Result<(), Problem> {
        let Some(said) = &self.app else { return Ok(()) };
        let is_it = said == named || app.is_some_and(|app| *app.slug == **said || app.id.to_string() == *said);
        if is_it {
            return Ok(());
        }
        let said = super::access::short(said);
        let named = super::access::short(named);
        let detail =
            format!("the manifest is for the app `{said}`, the path names `{named}`; deploy it to its own app");
        Err(Problem::new(Kind::InvalidInput, detail).field("app"))
    }
}
