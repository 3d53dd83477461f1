//! What a wanted source comes to, decided without looking at anything else: a new version, one that is there already made
//! the active one, or nothing at all.

use picloud_core::{
    event::{
        Event,
        script::{self, ScriptKind},
    },
    id::{ScriptId, VersionId},
};
use picloud_projections::{scripts::Latest, setup::Script};
use ulid::Ulid;

use super::source::Source;

/// What is to be done, and what will be true then.
#[derive(Debug)]
pub(in crate::admin) struct Step {
    pub(in crate::admin) script: ScriptId,
    pub(in crate::admin) version: VersionId,
    pub(in crate::admin) number: u32,
    pub(in crate::admin) what: What,
    pub(in crate::admin) events: Vec<Event>,
}

/// What kind of step it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) enum What {
    /// A version is stored, and activated where that was wanted.
    Deployed,
    /// A version that was stored before is activated.
    Activated,
    /// Everything is as wanted.
    Unchanged,
}

/// The first version of a script that does not exist.
pub(in crate::admin) fn first(
    name: &str,
    kind: ScriptKind,
    source: &Source,
    activate: bool,
    mint: &mut dyn FnMut() -> Ulid,
) -> Step {
    let script = ScriptId::from(mint());
    deployed(script, name, kind, 1, source, activate, mint)
}

/// The next version of a script, if its source or its limits are others than before.
pub(in crate::admin) fn next(
    script: &Script,
    latest: Option<&Latest>,
    source: &Source,
    activate: bool,
    mint: &mut dyn FnMut() -> Ulid,
) -> Step {
    let unchanged =
        |version, number| Step { script: script.id, version, number, what: What::Unchanged, events: Vec::new() };
    if let Some(active) = &script.active
        && active.sha256 == source.sha256
        && active.limits == source.limits
    {
        return unchanged(active.version, active.number);
    }
    let same = |latest: &&Latest| latest.sha256 == source.sha256 && latest.limits == source.limits;
    match latest.filter(same) {
        Some(latest) if activate => {
            let event = script::Activated { script: script.id, version: latest.id }.into();
            Step { what: What::Activated, events: vec![event], ..unchanged(latest.id, latest.number) }
        }
        Some(latest) => unchanged(latest.id, latest.number),
        None => {
            let number = latest.map_or(1, |latest| latest.number + 1);
            deployed(script.id, &script.name, script.kind, number, source, activate, mint)
        }
    }
}

fn deployed(
    script: ScriptId,
    name: &str,
    kind: ScriptKind,
    number: u32,
    source: &Source,
    activate: bool,
    mint: &mut dyn FnMut() -> Ulid,
) -> Step {
    let version = VersionId::from(mint());
    let deployed = script::Deployed {
        script,
        name: name.to_owned(),
        script_kind: kind,
        version,
        number,
        source: source.text.to_string(),
        sha256: source.sha256.clone(),
        imports: Vec::new(),
        limits: source.limits,
        message: source.message.clone(),
    };
    let mut events = vec![deployed.into()];
    if activate {
        events.push(script::Activated { script, version }.into());
    }
    Step { script, version, number, what: What::Deployed, events }
}
