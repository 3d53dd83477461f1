//! What is said of a trigger, held against its app.

use picloud_core::{
    event::{script::ScriptKind, trigger::Definition},
    id::{ScriptId, TriggerId},
    trigger::{MAX_OWED, When, Written},
};
use picloud_projections::setup::{App, Trigger};

use crate::{
    admin::access::short,
    problem::{Kind, Problem},
};

/// Checks what can be without looking at the app.
pub(in crate::admin) fn check(said: &Written) -> Result<(), Problem> {
    said.check().map_err(|invalid| Problem::new(Kind::InvalidInput, invalid.message).field(invalid.field))
}

/// What the trigger says, its script found.
pub(super) fn definition(said: &Written, app: &App) -> Result<Definition, Problem> {
    known_to(&said.when, app)?;
    let script = app.script(&said.script).ok_or_else(|| no_script(&app.slug, &said.script))?;
    must_run(script.kind, &script.name)?;
    Ok(defined(said, script.id))
}

/// What the trigger says, once its script is known.
pub(in crate::admin) fn defined(said: &Written, script: ScriptId) -> Definition {
    Definition { when: said.when.clone(), script, retry: said.retry.unwrap_or_default() }
}

/// Refuses a script that only others can use.
pub(in crate::admin) fn must_run(kind: ScriptKind, name: &str) -> Result<(), Problem> {
    match kind {
        ScriptKind::Endpoint => Ok(()),
        ScriptKind::Module => {
            let detail = format!("the script `{name}` is a module: it is imported by others and no trigger can run it");
            Err(Problem::new(Kind::InvalidInput, detail).field("script"))
        }
    }
}

pub(in crate::admin) fn no_script(app: &str, named: &str) -> Problem {
    let detail = format!("the app `{app}` has no script `{}`", short(named));
    Problem::new(Kind::InvalidInput, detail).field("script")
}

/// What a trigger names besides its script has to be of the same app, or it would wait for ever.
pub(in crate::admin) fn known_to(when: &When, app: &App) -> Result<(), Problem> {
    let When::DeadLetter(letters) = when else { return Ok(()) };
    let unknown = |field: &'static str, id: String| {
        let detail = format!("the app `{}` has nothing that is `{id}`: no letter would ever be of it", app.slug);
        Err(Problem::new(Kind::InvalidInput, detail).field(field))
    };
    match (letters.trigger, letters.failed_script) {
        (Some(trigger), _) if app.trigger(trigger).is_none() => unknown("trigger", trigger.to_string()),
        (_, Some(script)) if !app.scripts.iter().any(|known| known.id == script) => {
            unknown("failed_script", script.to_string())
        }
        _ => Ok(()),
    }
}

/// Refuses a trigger with which one event could owe too much.
pub(super) fn refuse_too_many(when: &When, app: &App, besides: Option<TriggerId>) -> Result<(), Problem> {
    let others = app.triggers.iter().filter(|trigger| trigger.is_enabled && Some(trigger.id) != besides);
    refuse_too_many_of(others.map(when_of).chain([when]), when)
}

fn when_of(trigger: &Trigger) -> &When {
    &trigger.definition.when
}

/// The same for all triggers there would be, of which one is told.
pub(in crate::admin) fn refuse_too_many_of<'a>(
    all: impl Iterator<Item = &'a When> + Clone,
    last: &When,
) -> Result<(), Problem> {
    let most = When::most_at_once(all);
    if most <= MAX_OWED {
        return Ok(());
    }
    let detail = format!(
        "with this trigger (`{}`) one event could owe {most} runs: at most {MAX_OWED} are allowed; disable or delete \
         others that wait for the same, or let one script do it all",
        super::told(last)
    );
    Err(Problem::new(Kind::InvalidInput, detail)
        .field("kind")
        .limit("owed_per_event")
        .with("asked", most)
        .with("allowed", MAX_OWED))
}
