//! How a run's app is set up, from memory.

use std::sync::Arc;

use chrono::Utc;
use picloud_core::{
    event::{Actor, outbox::Payload, script::ScriptKind},
    id::{OutboxId, RequestId, ScriptId},
    keys::DataKey,
    nearest::nearest,
    outbox::{Kept, Plain},
    run::{Record, Request},
};
use picloud_projections::setup::{App, Script, Setup as Picture};

use super::{outside::World, source::Database};
use crate::{
    effects::{Invocable, Setup},
    http::HOPS,
};

impl Database {
    /// The app as it is now; none when it is gone, or so new that this node has not heard of it.
    fn home(&self) -> Option<Arc<App>> {
        self.outside.inner.parts.setup.get().apps.get(&self.app).map(Arc::clone)
    }
}

impl Setup for Database {
    fn has_consumer(&self, queue: &str) -> bool {
        self.home().is_some_and(|app| app.has_consumer(queue))
    }

    fn script(&self, name: &str) -> Result<Invocable, String> {
        let (setup, actor) = (self.outside.inner.parts.setup.get(), &self.outside.run.call.actor);
        invocable(&setup, setup.apps.get(&self.app).map(|app| &**app), actor, name)
    }

    fn script_id(&self, name: &str) -> Result<ScriptId, String> {
        named(self.home().as_deref(), name).map(|script| script.id)
    }

    fn seal(&self, item: OutboxId, request: Request) -> Payload {
        let World { run, .. } = &self.outside;
        seal(item, request, run.hops, run.call.request_id, run.call.record, &run.key)
    }
}

/// What an item holds whose run is to get a request of a run that stands in so many calls itself.
pub(super) fn seal(
    item: OutboxId,
    mut request: Request,
    hops: u8,
    request_id: Option<RequestId>,
    record: Record,
    key: &DataKey,
) -> Payload {
    if hops > 0 {
        // Told on: or scripts that call each other, now and then through the outbox, could do so for ever.
        request.headers.push((HOPS.to_owned(), hops.to_string()));
    }
    Plain::Request(Kept::of(&request, request_id, record).into()).seal(item, key)
}

/// What may be run in the name of an actor under a script's name.
pub(super) fn invocable(setup: &Picture, app: Option<&App>, actor: &Actor, name: &str) -> Result<Invocable, String> {
    let script = named(app, name)?;
    if script.kind == ScriptKind::Module {
        return Err(format!("`{name}` is a module: it is there to be imported"));
    }
    let Some(active) = &script.active else {
        return Err(format!("`{name}` has no active version: activate one"));
    };
    let program = Arc::clone(&active.program);
    let rights = setup.rights_to_run(actor, program.app, &active.deployed_by, Utc::now());
    Ok(Invocable { program, rights, is_paused: script.is_paused })
}

/// A script by its name.
pub(super) fn named<'a>(app: Option<&'a App>, name: &str) -> Result<&'a Script, String> {
    let scripts = app.map_or(&[][..], |app| &app.scripts);
    scripts.iter().find(|script| script.name == name).ok_or_else(|| no_script(scripts, name))
}

fn no_script(scripts: &[Script], name: &str) -> String {
    let near = nearest(name, scripts.iter().map(|script| script.name.as_str()));
    let near = near.map_or_else(String::new, |near| format!(", perhaps `{near}`"));
    let name: String = name.chars().take(80).collect();
    format!("there is no script `{name}`{near}")
}
