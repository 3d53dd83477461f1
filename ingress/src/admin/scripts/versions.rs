//! The versions of a script.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use http::StatusCode;
use picloud_core::{
    event::ActorKind,
    id::{ScriptId, VersionId},
    limits::Limits,
    run::Diagnostic,
};
use picloud_projections::{
    scripts::{self, Version},
    setup::{App, Script},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    flat,
    source::{NewSource, Source},
    step::{self, What},
    ulid_now,
};
use crate::{
    admin::{
        AdminPlane, Plane,
        access::{Caller, InApp, short},
        body::Json,
        etag::IfMatch,
        page::{self, Page},
        params::Params,
        time::Time,
        write::{Shown, Written, database},
    },
    problem::{Kind, Problem},
};

/// A version, as a request names it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = VersionName)]
pub(in crate::admin) enum Named {
    /// By its number.
    Number(u32),
    /// By its id, or its number as text.
    Text(String),
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Version)]
pub(in crate::admin) struct VersionForm {
    id: VersionId,
    number: u32,
    sha256: String,
    limits: Limits,
    #[schema(required)]
    message: Option<String>,
    /// Who deployed it.
    #[schema(required)]
    actor: Option<String>,
    actor_kind: ActorKind,
    created_at: Time,
    is_active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

impl VersionForm {
    fn brief(script: &Script, version: &Version) -> Self {
        Self {
            id: version.id,
            number: version.number,
            sha256: version.sha256.clone(),
            limits: version.limits,
            message: version.message.clone(),
            actor: version.actor.id.clone(),
            actor_kind: version.actor.kind,
            created_at: Time(version.created_at),
            is_active: script.active.as_ref().is_some_and(|active| active.version == version.id),
            source: None,
        }
    }

    fn full(script: &Script, version: &Version) -> Self {
        Self { source: Some(version.source.clone()), ..Self::brief(script, version) }
    }
}

/// A version of a script that belongs to an app.
pub(in crate::admin) async fn find(
    plane: &AdminPlane,
    app: &App,
    script: ScriptId,
    named: &Named,
) -> Result<Version, Problem> {
    let (number, text) = match named {
        Named::Number(number) => (Some(*number), number.to_string()),
        Named::Text(text) => (text.parse().ok(), text.clone()),
    };
    let found = match (number, text.parse::<VersionId>()) {
        (Some(number), _) => {
            let below = scripts::versions(&plane.pool, app.id, script, number.checked_add(1), 1).await;
            below.map(|versions| versions.into_iter().find(|version| version.number == number))
        }
        (None, Ok(id)) => scripts::version(&plane.pool, app.id, script, id).await,
        (None, Err(_)) => Ok(None),
    };
    found.map_err(|error| database(&error))?.ok_or_else(|| {
        let detail = format!("the script has no version `{}`; name it by its number or id", short(&text));
        Problem::new(Kind::NotFound, detail).field("version")
    })
}

pub(in crate::admin) async fn list(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    Params(wanted): Params<page::Wanted>,
) -> Result<Answer<Page<VersionForm>>, Problem> {
    let script = super::find(&app, &named)?;
    let limit = page::limit(wanted.limit)?;
    let below = wanted.cursor.as_deref().map(below).transpose()?;
    let found = scripts::versions(&plane.pool, app.id, script.id, below, limit + 1).await;
    let mut versions = found.map_err(|error| database(&error))?;
    let has_more = versions.len() > limit;
    versions.truncate(limit);
    let cursor = versions.last().filter(|_| has_more).map(|version| page::cursor(&version.number.to_string()));
    Ok(Answer(Page { items: versions.iter().map(|version| VersionForm::brief(script, version)).collect(), cursor }))
}

fn below(cursor: &str) -> Result<u32, Problem> {
    page::after(cursor)?.parse::<i32>().ok().and_then(|number| u32::try_from(number).ok()).ok_or_else(|| {
        let detail = format!("`{}` is not a cursor of this list: begin anew without one", short(cursor));
        Problem::new(Kind::InvalidInput, detail).field("cursor")
    })
}

pub(in crate::admin) async fn show(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Path((_, named, version)): Path<(String, String, String)>,
) -> Result<Answer<VersionForm>, Problem> {
    let script = super::find(&app, &named)?;
    let version = find(&plane, &app, script.id, &Named::Text(version)).await?;
    Ok(Answer(VersionForm::full(script, &version)))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct NewVersion {
    source: String,
    /// Absent: those of the newest version.
    limits: Option<Limits>,
    message: Option<String>,
    activate: Option<bool>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeployedVersion)]
pub(in crate::admin) struct Outcome {
    /// `deployed`, `activated` or `unchanged`.
    outcome: &'static str,
    version: VersionForm,
    diagnostics: Vec<Diagnostic>,
}

/// Deploys a new version. The source that is there already makes none, and the answer says so.
pub(in crate::admin) async fn create(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    if_match: IfMatch,
    Json(new): Json<NewVersion>,
) -> Result<Written<Shown<Outcome>>, Problem> {
    let expected = if_match.of(&plane, Some(app.id)).await?;
    let script = super::find(&app, &named)?.id;
    let limits = match new.limits {
        Some(limits) => limits,
        None => plane.picture(app.id).await?.latest.get(&script).map(|latest| latest.limits).unwrap_or_default(),
    };
    let source = Source::check(NewSource { source: new.source, limits, message: new.message }, &plane.ceiling)?;
    let diagnostics = plane.validate(&[(&named, &source)]).await?;
    let activate = new.activate.unwrap_or(true);
    let decided = plane
        .decide(&caller, app.id, |picture| {
            let script = super::find(&picture.app, &script.to_string())?;
            expected.check(script.position)?;
            let mut step = step::next(script, picture.latest.get(&script.id), &source, activate, &mut ulid_now);
            Ok((std::mem::take(&mut step.events), step))
        })
        .await?;
    let app = plane.picture(app.id).await?.app;
    let version = find(&plane, &app, script, &Named::Text(decided.value.version.to_string())).await?;
    let (status, outcome) = match decided.value.what {
        What::Deployed => (StatusCode::CREATED, "deployed"),
        What::Activated => (StatusCode::OK, "activated"),
        What::Unchanged => (StatusCode::OK, "unchanged"),
    };
    let version = VersionForm::full(super::find(&app, &script.to_string())?, &version);
    decided.answer(&plane, status, Shown(Outcome { outcome, version, diagnostics: flat(diagnostics) })).await
}
