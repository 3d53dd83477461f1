//! How a run's app is set up, from memory.

use std::sync::Arc;

use chrono::Utc;
use picloud_core::{
    event::{outbox::Payload, script::ScriptKind},
    id::{OutboxId, ScriptId},
    nearest::nearest,
    outbox::{Kept, Plain},
    run::Request,
};
use picloud_projections::setup::App;

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
        let app = self.home();
        let scripts = app.as_deref().map_or(&[][..], |app| &app.scripts);
        let Some(script) = scripts.iter().find(|script| script.name == name) else {
            return Err(no_script(app.as_deref(), name));
        };
        if script.kind == ScriptKind::Module {
            return Err(format!("`{name}` is a module: it is there to be imported"));
        }
        let Some(active) = &script.active else {
            return Err(format!("`{name}` has no active version: activate one"));
        };
        let (setup, actor) = (self.outside.inner.parts.setup.get(), &self.outside.run.call.actor);
        let rights = setup.rights_to_run(actor, self.app, &active.deployed_by, Utc::now());
        Ok(Invocable { program: Arc::clone(&active.program), rights, is_paused: script.is_paused })
    }

    fn script_id(&self, name: &str) -> Result<ScriptId, String> {
        let app = self.home();
        let found = app.as_deref().and_then(|app| app.scripts.iter().find(|script| script.name == name));
        found.map(|script| script.id).ok_or_else(|| no_script(app.as_deref(), name))
    }

    fn seal(&self, item: OutboxId, mut request: Request) -> Payload {
        let World { run, .. } = &self.outside;
        if run.hops > 0 {
            // Told on: or scripts that call each other, now and then through the outbox, could do so for ever.
            request.headers.push((HOPS.to_owned(), run.hops.to_string()));
        }
        Plain::Request(Kept::of(&request, run.call.request_id, run.call.record).into()).seal(item, &run.key)
    }
}

fn no_script(app: Option<&App>, name: &str) -> String {
    let scripts = app.map_or(&[][..], |app| &app.scripts);
    let near = nearest(name, scripts.iter().map(|script| script.name.as_str()));
    let near = near.map_or_else(String::new, |near| format!(", perhaps `{near}`"));
    let name: String = name.chars().take(80).collect();
    format!("there is no script `{name}`{near}")
}
