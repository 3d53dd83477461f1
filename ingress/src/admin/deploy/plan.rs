//! What is to change for an app to become what a manifest says. Pure: the same app and manifest give the same plan.

mod topics;
mod triggers;

use std::collections::{BTreeSet, HashMap};

use picloud_core::{
    event::{Event, app, domain, env, route, script, trigger::Registrant},
    id::{AppId, DomainId, RouteId, ScriptId, VersionId},
    limits::Limits,
    routing::{Pattern, conflict},
};
use picloud_projections::{
    scripts::Latest,
    setup::{App, Route, Script},
};
use serde::Serialize;
use serde_json::{Value, json};
use ulid::Ulid;
use utoipa::ToSchema;

use super::manifest::{ScriptWanted, Wanted};
use crate::{
    admin::{
        routes::{check::contradiction, pattern_text, wanted::RouteWanted},
        scripts::{
            self,
            step::{self, Step, What},
        },
    },
    problem::{Kind, Problem},
};

/// A larger source is not compared line by line.
const MAX_DIFF_BYTES: usize = 64 * 1024;

/// How the app is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present<'a> {
    /// None: there is none, and it is to be made under this name.
    pub(super) app: Option<&'a App>,
    pub(super) slug: &'a str,
    pub(super) latest: &'a HashMap<ScriptId, Latest>,
    /// Who answers for what new triggers do.
    pub(super) registrant: &'a Registrant,
}

/// What is to happen.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) app: AppId,
    pub(super) slug: String,
    /// In an order in which each can be made.
    pub(super) events: Vec<Event>,
    /// The same for people, what stays included.
    pub(super) changes: Vec<Change>,
    /// The hosts that will lead to the app.
    pub(super) hosts: BTreeSet<String>,
    /// What the manifest's routes will say.
    pub(super) routes: Vec<route::Definition>,
}

impl Plan {
    /// Whether anything lasts in the name of who deploys.
    pub(super) fn makes_triggers(&self) -> bool {
        self.changes.iter().any(|change| change.kind == ChangeKind::Trigger && change.is_one())
    }

    /// Whether there was no app before.
    pub(super) fn makes_app(&self) -> bool {
        self.changes.iter().any(|change| change.kind == ChangeKind::App && change.is_one())
    }
}

/// What happens to one thing.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Change {
    pub(super) action: Action,
    pub(super) kind: ChangeKind,
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = serde_json::Value)]
    pub(super) before: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = serde_json::Value)]
    pub(super) after: Option<Value>,
    /// A unified diff of its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) diff: Option<String>,
}

/// What kind of change it is. An older version made active again is an update, as its detail says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ChangeAction)]
pub(super) enum Action {
    Create,
    Update,
    Delete,
    Unchanged,
}

/// What kind of thing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ChangeKind {
    App,
    Domain,
    Env,
    Script,
    Route,
    Trigger,
    Queue,
    Topic,
}

impl Change {
    fn new(action: Action, kind: ChangeKind, name: impl Into<String>) -> Self {
        Self { action, kind, name: name.into(), detail: None, before: None, after: None, diff: None }
    }

    /// Whether anything changes at all.
    pub(super) fn is_one(&self) -> bool {
        self.action != Action::Unchanged
    }
}

/// Works out the plan. `mint` makes the ids of what is new.
pub(super) fn plan(wanted: &Wanted, present: &Present<'_>, mint: &mut dyn FnMut() -> Ulid) -> Result<Plan, Problem> {
    let mut planner = Planner {
        wanted,
        present: *present,
        app: present.app.map_or_else(|| AppId::from(mint()), |app| app.id),
        mint,
        first: Vec::new(),
        then: Vec::new(),
        last: Vec::new(),
        changes: Vec::new(),
        scripts: HashMap::new(),
    };
    planner.app();
    let hosts = planner.hosts();
    planner.env();
    planner.scripts()?;
    let routes = planner.routes()?;
    planner.triggers()?;
    planner.queues();
    planner.topics();
    planner.prune_scripts()?;
    let Planner { app, mut first, then, last, changes, .. } = planner;
    first.extend(then);
    first.extend(last);
    let slug = present.app.map_or_else(|| present.slug.to_owned(), |app| app.slug.to_string());
    Ok(Plan { app, slug, events: first, changes, hosts, routes })
}

struct Planner<'a> {
    wanted: &'a Wanted,
    present: Present<'a>,
    app: AppId,
    mint: &'a mut dyn FnMut() -> Ulid,
    /// Making the app, and what makes room for others.
    first: Vec<Event>,
    then: Vec<Event>,
    /// What others must have let go of.
    last: Vec<Event>,
    changes: Vec<Change>,
    /// The ids of the manifest's scripts, by name.
    scripts: HashMap<&'a str, ScriptId>,
}

impl<'a> Planner<'a> {
    fn app(&mut self) {
        if self.present.app.is_none() {
            let slug = self.present.slug.to_owned();
            self.changes.push(Change::new(Action::Create, ChangeKind::App, slug.clone()));
            self.first.push(app::Created { app: self.app, slug }.into());
        }
    }

    /// Answers the hosts there will be.
    fn hosts(&mut self) -> BTreeSet<String> {
        let present = self.present.app.map_or(&[][..], |app| &app.domains);
        let mut hosts = self.wanted.hosts.clone();
        for domain in present {
            // A manifest without hosts says nothing of them: an app that nobody reaches is not what anyone wants.
            let stays = hosts.contains(&domain.host) || !self.wanted.prune || self.wanted.hosts.is_empty();
            if stays {
                hosts.insert(domain.host.clone());
            } else {
                self.first.push(domain::Released { domain: domain.id }.into());
                self.changes.push(Change::new(Action::Delete, ChangeKind::Domain, domain.host.clone()));
            }
        }
        for host in &self.wanted.hosts {
            let is_claimed = present.iter().any(|domain| domain.host == *host);
            let action = if is_claimed { Action::Unchanged } else { Action::Create };
            self.changes.push(Change::new(action, ChangeKind::Domain, host.clone()));
            if !is_claimed {
                let domain = DomainId::from((self.mint)());
                self.then.push(domain::Claimed { domain, host: host.clone() }.into());
            }
        }
        hosts
    }

    fn env(&mut self) {
        let Some(wanted) = &self.wanted.env else { return };
        let present = self.present.app.map(|app| &*app.env);
        for (name, value) in wanted {
            let before = present.and_then(|present| present.get(name));
            let action = match before {
                None => Action::Create,
                Some(before) if before == value => Action::Unchanged,
                Some(_) => Action::Update,
            };
            let mut change = Change::new(action, ChangeKind::Env, name.clone());
            if change.is_one() {
                change.before = before.map(|before| json!(before));
                change.after = Some(json!(value));
                self.then.push(env::Set { name: name.clone(), value: value.clone() }.into());
            }
            self.changes.push(change);
        }
        let gone = present.into_iter().flatten().filter(|(name, _)| self.wanted.prune && !wanted.contains_key(*name));
        for (name, value) in gone {
            let before = Some(json!(value));
            self.changes.push(Change { before, ..Change::new(Action::Delete, ChangeKind::Env, name.clone()) });
            self.then.push(env::Deleted { name: name.clone() }.into());
        }
    }

    fn scripts(&mut self) -> Result<(), Problem> {
        for wanted in &self.wanted.scripts {
            let present = self.present.app.and_then(|app| app.scripts.iter().find(|script| script.name == wanted.name));
            let step = match present {
                None => step::first(&wanted.name, wanted.kind, &wanted.source, true, self.mint),
                Some(script) => {
                    same_kind(script, wanted)?;
                    step::next(script, self.present.latest.get(&script.id), &wanted.source, true, self.mint)
                }
            };
            self.scripts.insert(&wanted.name, step.script);
            self.changes.push(script_change(present, wanted, &step));
            self.then.extend(step.events);
        }
        Ok(())
    }

    /// Answers what the manifest's routes will say.
    fn routes(&mut self) -> Result<Vec<route::Definition>, Problem> {
        let mut left: Vec<(&Route, Pattern)> = self
            .present
            .app
            .into_iter()
            .flat_map(|app| &app.routes)
            .filter_map(|route| Some((route, Pattern::try_from(&route.definition).ok()?)))
            .collect();
        let kept = self.keep(&mut left);
        let mut definitions: Vec<_> = kept.iter().map(|(route, _)| route.definition.clone()).collect();
        let mut new = Vec::new();
        for (script, wanted) in self.wanted_routes() {
            let definition = wanted.definition(self.scripts[script.name.as_str()]);
            definitions.push(definition.clone());
            match left.iter().position(|(_, pattern)| *pattern == wanted.pattern) {
                Some(index) => {
                    let (route, _) = left.swap_remove(index);
                    self.route_there(route, definition, script);
                }
                None => new.push((script, wanted, definition)),
            }
        }
        // Stable for readers, whatever `swap_remove` did.
        left.sort_by_key(|(route, _)| route.id);
        if self.wanted.prune {
            for (route, _) in left.drain(..) {
                self.unbind(route);
            }
        }
        for (script, wanted, definition) in new {
            if let Some((other, _)) = left.iter().chain(&kept).find(|(_, pattern)| conflict(pattern, &wanted.pattern)) {
                return Err(contradiction(&wanted.pattern, &pattern_text(&other.definition), Some(other.id)));
            }
            let mut change = Change::new(Action::Create, ChangeKind::Route, pattern_text(&definition));
            change.detail = Some(format!("→ {}", script.name));
            change.after = Some(json!(definition));
            self.changes.push(change);
            self.then.push(route::Bound { route: RouteId::from((self.mint)()), definition }.into());
        }
        Ok(definitions)
    }

    /// The routes that the manifest asks for, each with the script that it is to run.
    fn wanted_routes(&self) -> Vec<(&'a ScriptWanted, &'a RouteWanted)> {
        let of = |script: &'a ScriptWanted| {
            let routes = if self.has_routes(script) { &script.routes } else { &script.default_routes };
            routes.iter().map(move |route| (script, route))
        };
        self.wanted.scripts.iter().flat_map(of).collect()
    }

    fn has_routes(&self, script: &ScriptWanted) -> bool {
        let id = self.scripts[script.name.as_str()];
        !script.routes.is_empty()
            || self.present.app.is_some_and(|app| app.routes.iter().any(|route| route.definition.script == id))
    }

    /// Takes out the routes of those scripts that are to keep theirs.
    fn keep<'r>(&mut self, left: &mut Vec<(&'r Route, Pattern)>) -> Vec<(&'r Route, Pattern)> {
        let mut kept = Vec::new();
        for script in self.wanted.scripts.iter().filter(|script| !script.default_routes.is_empty()) {
            let id = self.scripts[script.name.as_str()];
            for (route, pattern) in left.extract_if(.., |(route, _)| route.definition.script == id) {
                self.route_there(route, route.definition.clone(), script);
                kept.push((route, pattern));
            }
        }
        kept
    }

    /// A route that is bound already: to another script perhaps, or saying something else.
    fn route_there(&mut self, route: &Route, definition: route::Definition, script: &ScriptWanted) {
        let is_same = route.definition == definition;
        let action = if is_same { Action::Unchanged } else { Action::Update };
        let mut change = Change::new(action, ChangeKind::Route, pattern_text(&definition));
        change.detail = Some(format!("→ {}", script.name));
        if !is_same {
            change.before = Some(json!(route.definition));
            change.after = Some(json!(definition));
            self.then.push(route::Updated { route: route.id, definition }.into());
        }
        self.changes.push(change);
    }

    fn unbind(&mut self, route: &Route) {
        let mut change = Change::new(Action::Delete, ChangeKind::Route, pattern_text(&route.definition));
        change.before = Some(json!(route.definition));
        self.changes.push(change);
        self.first.push(route::Unbound { route: route.id }.into());
    }

    fn prune_scripts(&mut self) -> Result<(), Problem> {
        let Some(app) = self.present.app.filter(|_| self.wanted.prune) else { return Ok(()) };
        for script in app.scripts.iter().filter(|script| !self.scripts.contains_key(script.name.as_str())) {
            if self.wanted.triggers.is_none() {
                // Nothing was said of those: they stay, and need what they run.
                scripts::refuse_triggered(app, script)?;
            }
            let mut change = Change::new(Action::Delete, ChangeKind::Script, script.name.clone());
            change.before = Some(json!({ "script": script.id }));
            self.changes.push(change);
            self.last.push(script::Deleted { script: script.id }.into());
        }
        Ok(())
    }
}

fn same_kind(script: &Script, wanted: &ScriptWanted) -> Result<(), Problem> {
    if script.kind == wanted.kind {
        return Ok(());
    }
    let (is, asked) = (script.kind.as_str(), wanted.kind.as_str());
    let detail = format!(
        "the script `{}` is of kind `{is}` and cannot become `{asked}`; delete it first or use another name",
        script.name
    );
    Err(Problem::new(Kind::InvalidInput, detail).field("kind"))
}

fn script_change(present: Option<&Script>, wanted: &ScriptWanted, step: &Step) -> Change {
    let action = match (present, step.what) {
        (_, What::Unchanged) => Action::Unchanged,
        (None, _) => Action::Create,
        (Some(_), _) => Action::Update,
    };
    let mut change = Change::new(action, ChangeKind::Script, wanted.name.clone());
    change.detail = Some(match step.what {
        What::Deployed => format!("version {}", step.number),
        What::Activated => format!("version {} activated again", step.number),
        What::Unchanged => format!("version {}, identical source", step.number),
    });
    let active = present.and_then(|script| script.active.as_ref());
    if change.is_one() {
        change.before = active.map(|active| version(active.version, active.number, &active.sha256, &active.limits));
        change.after = Some(version(step.version, step.number, &wanted.source.sha256, &wanted.source.limits));
        change.diff = active.and_then(|active| diff(&active.program.source, &wanted.source.text));
    }
    change
}

fn version(id: VersionId, number: u32, sha256: &str, limits: &Limits) -> Value {
    json!({ "version": id, "number": number, "sha256": sha256, "limits": limits })
}

/// A unified diff of texts that differ and are not too long for one.
pub(in crate::admin) fn diff(before: &str, after: &str) -> Option<String> {
    if before == after || before.len() > MAX_DIFF_BYTES || after.len() > MAX_DIFF_BYTES {
        return None;
    }
    Some(similar::TextDiff::from_lines(before, after).unified_diff().context_radius(3).to_string())
}
