//! What is to be run instead of what ran: a version that may not be active yet, or a source that was never deployed.

use std::sync::Arc;

use picloud_core::{event::script::ScriptKind, id::VersionId, replay::Candidate, run::Program};
use picloud_projections::setup::{App, Script};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    source::{NewSource, Source},
    versions::{self, Named},
};
use crate::{
    admin::{AdminPlane, access::Caller},
    problem::{Kind, Problem},
};

/// One of the two, or neither.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReplayWith)]
pub(in crate::admin) struct Instead {
    /// A version of the script, by its number or id.
    pub(in crate::admin) version: Option<Named>,
    /// A source, with the limits of the version that is active.
    pub(in crate::admin) source: Option<String>,
}

impl Instead {
    /// What a script is to be run as; nothing, when nothing is said.
    pub(in crate::admin) async fn candidate(
        self,
        plane: &AdminPlane,
        caller: &Caller,
        app: &App,
        script: &Script,
    ) -> Result<Option<Candidate>, Problem> {
        if script.kind == ScriptKind::Module {
            let detail = format!("the script `{}` is a module: it is imported by others and never ran", script.name);
            return Err(Problem::new(Kind::Conflict, detail));
        }
        match (self.version, self.source) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => {
                let detail = "give `version` or `source`, not both: which of them is to be run?";
                Err(Problem::new(Kind::InvalidInput, detail).field("source"))
            }
            (Some(version), None) => {
                let version = versions::find(plane, app, script.id, &version).await?;
                let deployed_by = version.actor.clone();
                Ok(Some(Candidate { program: Arc::new(version.program(app, script)), deployed_by }))
            }
            (None, Some(source)) => {
                let limits = script.active.as_ref().map(|active| active.limits).unwrap_or_default();
                let source = Source::check(NewSource { source, limits, message: None }, &plane.ceiling)?;
                plane.validate(&[(&script.name, &source)]).await?;
                let program = Program {
                    app: app.id,
                    app_slug: Arc::clone(&app.slug),
                    script: script.id,
                    name: script.name.as_str().into(),
                    // Nobody else's: what is compiled is kept by it.
                    version: VersionId::generate(),
                    number: script.active.as_ref().map_or(0, |active| active.number) + 1,
                    source: source.text,
                    limits,
                    env: Arc::clone(&app.env),
                };
                Ok(Some(Candidate { program: Arc::new(program), deployed_by: caller.actor() }))
            }
        }
    }
}
