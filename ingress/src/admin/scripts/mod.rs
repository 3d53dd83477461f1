//! Scripts: what there is, and the active version of each.
//!
//! - `step` decides what a wanted source comes to: a new version, an older one activated, or nothing.
//! - `source` checks what was sent before anything is decided on it.
//! - `candidate` is what is to be run instead of what ran, `backtest` what that would have made of the last runs.

pub(super) mod backtest;
pub(super) mod candidate;
pub(super) mod invoke;
pub(super) mod source;
pub(super) mod step;
pub(super) mod versions;

use std::collections::HashMap;

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use http::StatusCode;
use picloud_core::{
    event::{
        Class, Event,
        script::{self, ScriptKind},
    },
    id::{ScriptId, VersionId},
    limits::Limits,
    run::Diagnostic,
};
use picloud_projections::{
    setup::{Active, App, Script},
    travel::{self, Moment},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::{
    source::{NewSource, Source},
    step::Step,
};
use super::{
    AdminPlane, Plane,
    access::{Caller, InApp, short},
    body::Json,
    etag::{IfMatch, Versioned},
    events::unreadable,
    moment::{At, was},
    names,
    page::{self, Page},
    params::Params,
    time::Time,
    write::{NoContent, Shown, Written},
};
use crate::problem::{Kind, Problem};

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Script)]
pub(super) struct ScriptForm {
    id: ScriptId,
    name: String,
    kind: ScriptKind,
    created_at: Time,
    /// Whether it may not run now.
    paused: bool,
    #[schema(required)]
    active: Option<ActiveForm>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ActiveVersion)]
pub(super) struct ActiveForm {
    version: VersionId,
    number: u32,
    sha256: String,
    limits: Limits,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

impl ScriptForm {
    /// Without the source, for lists.
    fn brief(script: &Script) -> Self {
        Self {
            id: script.id,
            name: script.name.clone(),
            kind: script.kind,
            created_at: Time(script.created_at),
            paused: script.is_paused,
            active: script.active.as_ref().map(ActiveForm::brief),
        }
    }

    fn full(script: &Script) -> Self {
        let source = script.active.as_ref().map(|active| active.program.source.to_string());
        let mut form = Self::brief(script);
        if let Some(active) = &mut form.active {
            active.source = source;
        }
        form
    }
}

impl From<travel::Script> for ScriptForm {
    /// As it was, with the source that was active.
    fn from(travel::Script { script, active }: travel::Script) -> Self {
        Self {
            id: script.id,
            name: script.name,
            kind: script.kind,
            created_at: Time(script.created_at),
            paused: script.is_paused,
            active: active.map(|active| ActiveForm {
                version: active.version,
                number: active.number,
                sha256: active.sha256,
                limits: active.limits,
                source: Some(active.source),
            }),
        }
    }
}

impl ActiveForm {
    fn brief(active: &Active) -> Self {
        Self {
            version: active.version,
            number: active.number,
            sha256: active.sha256.clone(),
            limits: active.limits,
            source: None,
        }
    }
}

/// A script of an app, by its id or name.
pub(super) fn find<'a>(app: &'a App, named: &str) -> Result<&'a Script, Problem> {
    app.script(named).ok_or_else(|| {
        let detail = format!("the app `{}` has no script `{}`", app.slug, short(named));
        Problem::new(Kind::NotFound, detail).field("script")
    })
}

/// A script that is or was: one that was deleted has left runs, and is known by its id.
pub(super) fn find_ever(app: &App, named: &str) -> Result<ScriptId, Problem> {
    named.parse().or_else(|_| find(app, named).map(|script| script.id))
}

pub(super) async fn list(
    InApp(app): InApp,
    Params(wanted): Params<page::Wanted>,
) -> Result<Answer<Page<ScriptForm>>, Problem> {
    wanted.of(app.scripts.iter().map(ScriptForm::brief), |script| script.name.clone()).map(Answer)
}

pub(super) async fn show(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    Params(At { at }): Params<At>,
) -> Result<Versioned<ScriptForm>, Problem> {
    if let Some(at) = at {
        let script = plane.past_script(&app, &named, &at).await?;
        return plane.versioned(Some(app.id), script.script.position, script.into()).await;
    }
    let script = find(&app, &named)?;
    plane.versioned(Some(app.id), script.position, ScriptForm::full(script)).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewScript {
    name: String,
    kind: Option<ScriptKind>,
    source: String,
    limits: Option<Limits>,
    message: Option<String>,
    activate: Option<bool>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreatedScript)]
pub(super) struct CreatedForm {
    #[serde(flatten)]
    script: ScriptForm,
    /// What could be better about the source.
    diagnostics: Vec<Diagnostic>,
}

/// Makes a script; one that exists gets new versions below its own path.
pub(super) async fn create(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Json(new): Json<NewScript>,
) -> Result<Written<Shown<CreatedForm>>, Problem> {
    names::word("name", &new.name)?;
    let said = NewSource { source: new.source, limits: new.limits.unwrap_or_default(), message: new.message };
    let source = Source::check(said, &plane.ceiling)?;
    let diagnostics = plane.validate(&[(&new.name, &source)]).await?;
    let activate = new.activate.unwrap_or(true);
    let kind = new.kind.unwrap_or(ScriptKind::Endpoint);
    let decided = plane
        .decide(&caller, app.id, |picture| {
            if let Some(taken) = picture.app.script(&new.name) {
                let detail = format!(
                    "the app has a script `{}` already ({}); post a new version of it to …/scripts/{}/versions",
                    taken.name, taken.id, taken.name
                );
                return Err(Problem::new(Kind::Conflict, detail).field("name").with("script", taken.id));
            }
            let Step { events, .. } = step::first(&new.name, kind, &source, activate, &mut ulid_now);
            Ok((events, ()))
        })
        .await?;
    let app = plane.picture(app.id).await?.app;
    let script = ScriptForm::full(find(&app, &new.name)?);
    decided.answer(&plane, StatusCode::CREATED, Shown(CreatedForm { script, diagnostics: flat(diagnostics) })).await
}

/// The diagnostics of the only script there is.
fn flat(diagnostics: Vec<source::Found>) -> Vec<Diagnostic> {
    diagnostics.into_iter().map(|found| found.diagnostic).collect()
}

/// A source of ids for decisions, which take theirs as an argument.
pub(super) fn ulid_now() -> ulid::Ulid {
    ScriptId::generate().ulid()
}

/// Refuses to delete a script that a trigger runs.
pub(super) fn refuse_triggered(app: &App, script: &Script) -> Result<(), Problem> {
    let users = app.triggers.iter().filter(|trigger| trigger.definition.script == script.id);
    let users: Vec<_> = users.map(|trigger| trigger.id).collect();
    let Some(trigger) = users.first() else { return Ok(()) };
    let detail = format!(
        "the script `{}` is run by {} trigger(s), {trigger} for one; delete them or let them run another",
        script.name,
        users.len()
    );
    Err(Problem::new(Kind::Conflict, detail).with("triggers", users))
}

/// Deletes a script with all its versions. Routes and triggers that run it are in the way: they would end with errors.
pub(super) async fn delete(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    if_match: IfMatch,
) -> Result<Written<NoContent>, Problem> {
    let expected = if_match.of(&plane, Some(app.id)).await?;
    let decided = plane
        .decide(&caller, app.id, |picture| {
            let script = find(&picture.app, &named)?;
            expected.check(script.position)?;
            let users = picture.app.routes.iter().filter(|route| route.definition.script == script.id);
            let users: Vec<_> = users.map(|route| route.id).collect();
            if let Some(route) = users.first() {
                let detail = format!(
                    "the script `{}` is run by {} route(s), {route} for one; unbind them or let them run another",
                    script.name,
                    users.len()
                );
                return Err(Problem::new(Kind::Conflict, detail).with("routes", users));
            }
            refuse_triggered(&picture.app, script)?;
            Ok((vec![script::Deleted { script: script.id }.into()], ()))
        })
        .await?;
    decided.no_content(&plane).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Activation {
    /// Id or number.
    version: versions::Named,
}

/// Makes a version the one that runs. The one that runs already: nothing changes.
pub(super) async fn activate(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    if_match: IfMatch,
    Json(wanted): Json<Activation>,
) -> Result<Written<Shown<ScriptForm>>, Problem> {
    let expected = if_match.of(&plane, Some(app.id)).await?;
    let script = find(&app, &named)?.id;
    let version = versions::find(&plane, &app, script, &wanted.version).await?.id;
    let decided = plane
        .decide(&caller, app.id, |picture| {
            // Versions are never deleted alone: only the script with all of them.
            let script = find(&picture.app, &script.to_string())?;
            expected.check(script.position)?;
            let is_active = script.active.as_ref().is_some_and(|active| active.version == version);
            let event = script::Activated { script: script.id, version }.into();
            Ok((if is_active { Vec::new() } else { vec![event] }, ()))
        })
        .await?;
    let app = plane.picture(app.id).await?.app;
    let form = ScriptForm::full(find(&app, &script.to_string())?);
    decided.answer(&plane, StatusCode::OK, Shown(form)).await
}

/// It runs no more: calls are answered with 503, and what is owed waits.
pub(super) async fn pause(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
) -> Result<Written<Shown<ScriptForm>>, Problem> {
    let pause = |script: &Script| match script.kind {
        ScriptKind::Endpoint => Ok((!script.is_paused).then(|| script::Paused { script: script.id }.into())),
        ScriptKind::Module => {
            let detail = format!("the script `{}` is a module: pause those that import it", script.name);
            Err(Problem::new(Kind::InvalidInput, detail).field("script"))
        }
    };
    plane.set_script(&caller, &app, &named, pause).await
}

pub(super) async fn resume(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
) -> Result<Written<Shown<ScriptForm>>, Problem> {
    let resume = |script: &Script| Ok(script.is_paused.then(|| script::Resumed { script: script.id }.into()));
    plane.set_script(&caller, &app, &named, resume).await
}

impl AdminPlane {
    /// A script by its id or the name it had.
    async fn past_script(&self, app: &App, named: &str, at: &str) -> Result<travel::Script, Problem> {
        let moment = self.moment(app, at, Class::Config).await?;
        let past = match named.parse() {
            Ok(id) => travel::script(&self.reader, app.id, id, moment).await,
            Err(_) => {
                let now = app.script(named).map(|script| script.id);
                travel::script_named(&self.reader, app.id, named, now, moment).await
            }
        };
        was(past.map_err(|error| unreadable(&error))?, &format!("the script `{}`", short(named)), moment)
    }

    /// What an app's scripts were called.
    pub(super) async fn script_names(&self, app: &App, moment: Moment) -> Result<HashMap<ScriptId, String>, Problem> {
        let scripts = travel::scripts(&self.reader, app.id, moment).await.map_err(|error| unreadable(&error))?;
        Ok(scripts.into_iter().map(|script| (script.id, script.name)).collect())
    }

    /// What is so already makes no event.
    async fn set_script(
        &self,
        caller: &Caller,
        app: &App,
        named: &str,
        set: impl Fn(&Script) -> Result<Option<Event>, Problem> + Send + Sync,
    ) -> Result<Written<Shown<ScriptForm>>, Problem> {
        let decided = self
            .decide(caller, app.id, |picture| {
                let event = set(find(&picture.app, named)?)?;
                Ok((event.into_iter().collect(), ()))
            })
            .await?;
        let app = self.picture(app.id).await?.app;
        let form = ScriptForm::full(find(&app, named)?);
        decided.answer(self, StatusCode::OK, Shown(form)).await
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SourceToValidate)]
pub(super) struct Validation {
    source: String,
    limits: Option<Limits>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Diagnostics {
    diagnostics: Vec<Diagnostic>,
}

/// Says what is wrong with a source. That something is, is the answer, not a failure.
pub(super) async fn validate(
    State(plane): State<Plane>,
    Json(wanted): Json<Validation>,
) -> Result<Answer<Diagnostics>, Problem> {
    let limits = wanted.limits.unwrap_or_default();
    let source = Source::check(NewSource { source: wanted.source, limits, message: None }, &plane.ceiling)?;
    let found = plane.diagnose(&[("", &source)]).await?;
    Ok(Answer(Diagnostics { diagnostics: flat(found) }))
}
