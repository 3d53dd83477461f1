//! `[[trigger]]` and `[[queue]]`: what is wrong with one is told at the key that it is about.

use std::collections::BTreeMap;

use picloud_core::{event::script::ScriptKind, name, trigger::Written};
use serde::{Deserialize, de::IntoDeserializer as _};
use toml::Spanned;

use super::{ManifestError, Queue, Script, error::with_nearest, file::Place};

/// A trigger as it stands there, with the places of its keys and values.
pub(super) type FileTrigger = Spanned<BTreeMap<Spanned<String>, Spanned<toml::Value>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileQueue {
    name: Spanned<String>,
    max_concurrency: Option<Spanned<u32>>,
}

/// All triggers of the file. They run its scripts: all others go when it is deployed.
pub(super) fn triggers(
    place: &Place<'_>,
    said: Vec<FileTrigger>,
    scripts: &[Script],
) -> Result<Vec<Written>, ManifestError> {
    let mut triggers: Vec<Written> = Vec::new();
    for said in said {
        let trigger = trigger(place, &said)?;
        runnable(&trigger.script, scripts).map_err(|problem| place.error_of(&said, "script", problem))?;
        let is_same = |known: &Written| {
            let name = |one: &Written| (one.script.clone(), one.when.kind(), one.when.selects());
            name(known) == name(&trigger)
        };
        if triggers.iter().any(is_same) {
            let (kind, selects) = (trigger.when.kind(), trigger.when.selects());
            let problem = format!("there are two triggers `{kind} {selects}` that run `{}`", trigger.script);
            return Err(place.error(&said, problem));
        }
        triggers.push(trigger);
    }
    Ok(triggers)
}

fn trigger(place: &Place<'_>, said: &FileTrigger) -> Result<Written, ManifestError> {
    let table: toml::Table =
        said.get_ref().iter().map(|(key, value)| (key.get_ref().clone(), value.get_ref().clone())).collect();
    let kind = table.get("kind").and_then(toml::Value::as_str).unwrap_or_default().to_owned();
    let read = Written::deserialize(toml::Value::Table(table).into_deserializer());
    let trigger = read.map_err(|error: toml::de::Error| {
        // The first word in quotes is what it is about.
        let message = error.message();
        if let Some(of_retry) = message.strip_prefix("retry: ") {
            return place.error_of(said, "retry", format!("retry: {}", with_nearest(of_retry)));
        }
        let about = message.split('`').nth(1).unwrap_or_default();
        let about = if message.starts_with("unknown variant") && about == kind { "kind" } else { about };
        place.error_of(said, about, with_nearest(message))
    })?;
    trigger.check().map_err(|invalid| {
        let key = invalid.field.split('.').next().unwrap_or(invalid.field);
        place.error_of(said, key, invalid.message)
    })?;
    Ok(trigger)
}

fn runnable(named: &str, scripts: &[Script]) -> Result<(), String> {
    match scripts.iter().find(|script| script.name == named) {
        None => Err(format!("there is no script `{named}` in this file for the trigger to run")),
        Some(script) if script.kind == ScriptKind::Module => {
            Err(format!("`{named}` is a module: it is imported by other scripts and no trigger can run it"))
        }
        Some(_) => Ok(()),
    }
}

/// What the file says of queues.
pub(super) fn queues(place: &Place<'_>, said: Vec<FileQueue>) -> Result<Vec<Queue>, ManifestError> {
    let mut queues: Vec<Queue> = Vec::new();
    for FileQueue { name, max_concurrency } in said {
        let called = name.get_ref().clone();
        if !name::is_name(&called) {
            return Err(place.error(&name, format!("`{called}` cannot be a queue: use {}", name::RULE)));
        }
        if queues.iter().any(|known| known.name == called) {
            return Err(place.error(&name, format!("there are two queues `{called}`")));
        }
        if let Some(most) = max_concurrency.as_ref().filter(|most| !(1..=1_000).contains(most.get_ref())) {
            let problem = format!("`max_concurrency` is {}: 1 to 1000 are allowed", most.get_ref());
            return Err(place.error(most, problem));
        }
        queues.push(Queue { name: called, max_concurrency: max_concurrency.map(Spanned::into_inner) });
    }
    Ok(queues)
}

impl Place<'_> {
    /// At a key of a trigger, or at the trigger if it has none of that name.
    fn error_of(&self, trigger: &FileTrigger, key: &str, problem: impl Into<String>) -> ManifestError {
        match trigger.get_ref().keys().find(|known| known.get_ref() == key) {
            Some(key) => self.error(key, problem),
            None => self.error(trigger, problem),
        }
    }
}
