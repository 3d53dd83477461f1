//! Scripts as they were, each with the version that was active.

use picloud_core::{
    event::{Event, script::Deployed},
    id::{AppId, ScriptId, VersionId},
    log::{
        Position,
        read::{Direction, Filter, ReadError, Reader},
    },
    state::script::{self, evolve},
};

use super::{Moment, PAGE, Past, about, absent, all, thing, things};

/// A script with what ran.
#[derive(Clone, Debug)]
pub struct Script {
    /// The script.
    pub script: script::Script,
    /// The version that was active.
    pub active: Option<Deployed>,
}

/// A script of an app.
///
/// # Errors
/// When the log cannot be read.
pub async fn script(reader: &Reader, app: AppId, script: ScriptId, moment: Moment) -> Result<Past<Script>, ReadError> {
    let filter = about(app, "script", script.to_string());
    match thing(reader, &filter, moment, evolve).await? {
        Past::Was(script) => {
            let active = match script.active {
                Some(version) => version_of(reader, &filter, version, moment).await?,
                None => None,
            };
            Ok(Past::Was(Script { script, active }))
        }
        Past::Gone { at } => Ok(Past::Gone { at }),
        Past::NotYet { at } => Ok(Past::NotYet { at }),
        Past::Never => Ok(Past::Never),
    }
}

/// The script of an app that had a name. `now` is the one that has it now: if none had it then, that one came later.
///
/// # Errors
/// When the log cannot be read.
pub async fn script_named(
    reader: &Reader,
    app: AppId,
    name: &str,
    now: Option<ScriptId>,
    moment: Moment,
) -> Result<Past<Script>, ReadError> {
    let found = scripts(reader, app, moment).await?.into_iter().find(|script| script.name == name);
    match (found, now) {
        (Some(found), _) => script(reader, app, found.id, moment).await,
        (None, Some(now)) => absent(reader, &about(app, "script", now.to_string()), moment).await,
        (None, None) => Ok(Past::Never),
    }
}

/// All scripts that an app had, without their sources.
///
/// # Errors
/// When the log cannot be read.
pub async fn scripts(reader: &Reader, app: AppId, moment: Moment) -> Result<Vec<script::Script>, ReadError> {
    things(reader, &all(app, "script"), moment, evolve).await
}

/// The event that stored a version: the last that can have, from there back.
async fn version_of(
    reader: &Reader,
    filter: &Filter,
    version: VersionId,
    moment: Moment,
) -> Result<Option<Deployed>, ReadError> {
    let mut up_to = moment.position;
    let filter = Filter { kinds: vec!["script.deployed".to_owned()], ..filter.clone() };
    loop {
        let events = reader.list(&filter, Direction::Backward, Position::ZERO, up_to, PAGE).await?;
        for recorded in &events {
            match &recorded.event.event {
                Event::ScriptDeployed(deployed) if deployed.version == version => return Ok(Some(deployed.clone())),
                _ => up_to = Position(recorded.position.0 - 1),
            }
        }
        if events.len() < PAGE {
            return Ok(None);
        }
    }
}
