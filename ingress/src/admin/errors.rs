//! How runs fail, those together that are alike.

use axum::{Json as Answer, extract::State};
use picloud_core::{
    event::FailureReason,
    id::{InvocationId, ScriptId, VersionId},
};
use picloud_projections::{
    setup::App,
    views::errors::{self, ErrorGroup},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Plane,
    access::InApp,
    events::Scope,
    page::{self, Page},
    params::Params,
    scripts,
    time::Time,
    write::database,
};
use crate::problem::Problem;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Id or name.
    script: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
    /// What a change was answered with, `x-picloud-cursor`: the list shows it.
    min_cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ErrorGroup)]
pub(super) struct GroupForm {
    /// The script, and what the messages have in common; a dead letter of it has the same.
    fingerprint: String,
    script: ScriptId,
    /// Null when the script is deleted.
    #[schema(required)]
    script_name: Option<String>,
    failures: u64,
    first_at: Time,
    last_at: Time,
    /// The last of them, and what it was.
    invocation: InvocationId,
    version: VersionId,
    reason: FailureReason,
    message: String,
    #[schema(required)]
    line: Option<u32>,
}

impl GroupForm {
    fn of(app: &App, group: ErrorGroup) -> Self {
        let script = app.scripts.iter().find(|script| script.id == group.script);
        let name = script.map(|script| script.name.clone());
        Self {
            fingerprint: format!("{}: {}", name.clone().unwrap_or_else(|| group.script.to_string()), group.alike),
            script: group.script,
            script_name: name,
            failures: group.failures,
            first_at: Time(group.first_at),
            last_at: Time(group.last_at),
            invocation: group.invocation,
            version: group.version,
            reason: group.reason,
            message: group.message,
            line: group.line,
        }
    }
}

pub(super) async fn list(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(wanted): Params<Wanted>,
) -> Result<Answer<Page<GroupForm>>, Problem> {
    let scope = Scope::new(&plane, Some(app.id)).await?;
    let script = wanted.script.as_deref().map(|named| scripts::find_ever(&app, named)).transpose()?;
    let limit = page::limit(wanted.limit)?;
    let before = wanted.cursor.as_deref().map(|cursor| plane.open(&scope.key, "cursor", cursor)).transpose()?;
    plane.fresh(errors::NAME, &scope, wanted.min_cursor.as_deref()).await?;
    let found = errors::list(&plane.pool, app.id, script, before, limit + 1).await;
    let mut found = found.map_err(|error| database(&error))?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let cursor = found.last().filter(|_| has_more).map(|last| scope.seal(last.last_position));
    Ok(Answer(Page { items: found.into_iter().map(|group| GroupForm::of(&app, group)).collect(), cursor }))
}
