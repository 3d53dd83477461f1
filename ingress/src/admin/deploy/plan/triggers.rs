//! What becomes of triggers and queues.
//!
//! A trigger of the manifest is the one that is there when script, kind and what it waits for are the same; then it keeps
//! its id, its history and, unless it is to say something else, in whose name it acts.

use picloud_core::{
    event::{
        queue::Configured,
        trigger::{Created, Definition, Deleted, Disabled, Enabled, Updated},
    },
    id::{ScriptId, TriggerId},
    trigger::{When, Written},
};
use picloud_projections::setup::Trigger;
use serde_json::json;

use super::{Action, Change, ChangeKind, Planner};
use crate::{
    admin::triggers::{
        told,
        wanted::{self, defined, no_script},
    },
    problem::Problem,
};

impl Planner<'_> {
    pub(super) fn triggers(&mut self) -> Result<(), Problem> {
        let Some(wanted) = &self.wanted.triggers else { return Ok(()) };
        let mut left: Vec<&Trigger> = self.present.app.into_iter().flat_map(|app| &app.triggers).collect();
        let mut counting: Vec<When> = Vec::new();
        for said in wanted {
            let (script, name) = self.triggered(&said.script)?;
            let definition = defined(said, script);
            let there = left.iter().position(|trigger| is_same(&trigger.definition, &definition));
            let is_enabled = match there.map(|index| left.remove(index)) {
                Some(trigger) => self.trigger_there(trigger, said, definition, &name),
                None => {
                    self.present.app.map_or(Ok(()), |app| wanted::known_to(&said.when, app))?;
                    self.new_trigger(said, definition, &name)
                }
            };
            counting.extend(is_enabled.then(|| said.when.clone()));
        }
        if self.wanted.prune {
            left.drain(..).for_each(|trigger| self.drop_trigger(trigger));
        }
        let others = left.iter().filter(|trigger| trigger.is_enabled).map(|trigger| &trigger.definition.when);
        match counting.last() {
            Some(last) => wanted::refuse_too_many_of(others.chain(&counting), last),
            None => Ok(()),
        }
    }

    /// The script that a trigger is to run: the manifest's, or one that is there and stays.
    fn triggered(&self, named: &str) -> Result<(ScriptId, String), Problem> {
        if let Some(script) = self.wanted.scripts.iter().find(|script| script.name == named) {
            return Ok((self.scripts[script.name.as_str()], script.name.clone()));
        }
        let there = self.present.app.filter(|_| !self.wanted.prune).and_then(|app| app.script(named));
        let script = there.ok_or_else(|| no_script(self.present.slug, named))?;
        wanted::must_run(script.kind, &script.name)?;
        Ok((script.id, script.name.clone()))
    }

    /// Answers whether it will be enabled.
    fn trigger_there(&mut self, there: &Trigger, said: &Written, definition: Definition, script: &str) -> bool {
        let trigger = there.id;
        let is_enabled = said.enabled.unwrap_or(there.is_enabled);
        let is_same = there.definition == definition && there.is_enabled == is_enabled;
        let action = if is_same { Action::Unchanged } else { Action::Update };
        let mut change = Change::new(action, ChangeKind::Trigger, told(&definition.when));
        change.detail = Some(match (there.is_enabled, is_enabled) {
            (false, true) => format!("→ {script}, enabled"),
            (true, false) => format!("→ {script}, disabled"),
            (true, true) | (false, false) => format!("→ {script}"),
        });
        if !is_same {
            change.before = Some(json!(there.definition));
            change.after = Some(json!(definition));
        }
        self.changes.push(change);
        if there.definition != definition {
            let registrant = self.present.registrant.clone();
            self.then.push(Updated { trigger, definition, registrant }.into());
        }
        match (there.is_enabled, is_enabled) {
            (false, true) => {
                self.then.push(Enabled { trigger, registrant: self.present.registrant.clone() }.into());
            }
            (true, false) => self.then.push(Disabled { trigger, why: None }.into()),
            (true, true) | (false, false) => {}
        }
        is_enabled
    }

    fn new_trigger(&mut self, said: &Written, definition: Definition, script: &str) -> bool {
        let is_enabled = said.enabled.unwrap_or(true);
        let mut change = Change::new(Action::Create, ChangeKind::Trigger, told(&definition.when));
        change.detail = Some(format!("→ {script}{}", if is_enabled { "" } else { ", disabled" }));
        change.after = Some(json!(definition));
        self.changes.push(change);
        let trigger = TriggerId::from((self.mint)());
        let registrant = self.present.registrant.clone();
        self.then.push(Created { trigger, definition, registrant }.into());
        if !is_enabled {
            self.then.push(Disabled { trigger, why: None }.into());
        }
        is_enabled
    }

    fn drop_trigger(&mut self, trigger: &Trigger) {
        let mut change = Change::new(Action::Delete, ChangeKind::Trigger, told(&trigger.definition.when));
        change.before = Some(json!(trigger.definition));
        self.changes.push(change);
        self.first.push(Deleted { trigger: trigger.id }.into());
    }

    pub(super) fn queues(&mut self) {
        let Some(wanted) = &self.wanted.queues else { return };
        let present = self.present.app.map(|app| &app.queues);
        for (name, most) in wanted {
            let before = present.and_then(|present| present.get(name)).map(|queue| queue.max_concurrency);
            let action = match before {
                None => Action::Create,
                Some(before) if before == *most => Action::Unchanged,
                Some(_) => Action::Update,
            };
            self.queue(action, name, *most);
        }
        let gone = present.into_iter().flatten().filter(|(name, _)| self.wanted.prune && !wanted.contains_key(*name));
        for (name, _) in gone.filter(|(_, queue)| queue.max_concurrency.is_some()) {
            // Messages may wait in it: what goes is what was said of it.
            self.queue(Action::Delete, name, None);
        }
    }

    fn queue(&mut self, action: Action, name: &str, most: Option<u32>) {
        let mut change = Change::new(action, ChangeKind::Queue, name.to_owned());
        change.detail = Some(match most {
            Some(most) => format!("at most {most} at once"),
            None => "as many at once as there is room for".to_owned(),
        });
        if change.is_one() {
            self.then.push(Configured { queue: name.to_owned(), max_concurrency: most }.into());
        }
        self.changes.push(change);
    }
}

fn is_same(there: &Definition, wanted: &Definition) -> bool {
    let name = |definition: &Definition| (definition.script, definition.when.kind(), definition.when.selects());
    name(there) == name(wanted)
}
