//! What a deployment asks for, read and checked as far as it can be without looking at the app.

use std::collections::{BTreeMap, BTreeSet};

use picloud_core::{
    event::script::ScriptKind,
    limits::Limits,
    routing::conflict,
    topic::{Access, Auth},
    trigger::Written,
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    admin::{
        access::short,
        domains, env, names, queues,
        routes::{
            check::contradiction,
            is_module,
            wanted::{RouteSaid, RouteWanted},
        },
        scripts::source::{NewSource, Source},
        topics, triggers,
    },
    problem::{Kind, Problem},
};

/// An app, or a part of one, as it shall be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Manifest {
    /// The app it was written for; checked against the path.
    pub(super) app: Option<String>,
    #[serde(default)]
    pub(super) create_app: bool,
    #[serde(default)]
    hosts: Vec<String>,
    env: Option<BTreeMap<String, String>>,
    #[serde(default)]
    scripts: Vec<ScriptSaid>,
    /// All triggers there shall be; not said: those there are stay.
    triggers: Option<Vec<Written>>,
    /// What is said of queues; not said: what was said stays.
    queues: Option<Vec<QueueSaid>>,
    /// What is said of topics; not said: what was said stays.
    topics: Option<Vec<TopicSaid>>,
    #[serde(default)]
    prune: bool,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ManifestQueue)]
struct QueueSaid {
    name: String,
    /// How many of its messages each consumer works on at once, 1 to 1000; not said: as many as there is room for.
    max_concurrency: Option<u32>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ManifestTopic)]
struct TopicSaid {
    /// A topic, `prefix.*` or `*`.
    name: String,
    /// Whether it can be listened to from outside.
    #[serde(default)]
    external: bool,
    /// By whom: to be said if, and only if, it is external.
    auth: Option<Auth>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ManifestScript)]
struct ScriptSaid {
    name: String,
    kind: Option<ScriptKind>,
    source: String,
    #[serde(default)]
    limits: Limits,
    message: Option<String>,
    #[serde(default)]
    routes: Vec<RouteSaid>,
    /// Bound if the script has no routes and none are said.
    #[serde(default)]
    default_routes: Vec<RouteSaid>,
}

/// A manifest that makes sense in itself.
#[derive(Debug)]
pub(in crate::admin) struct Wanted {
    pub(super) create_app: bool,
    /// In order. None: nothing is said of hosts, and those there are stay.
    pub(super) hosts: BTreeSet<String>,
    /// None: nothing is said of it.
    pub(super) env: Option<BTreeMap<String, String>>,
    pub(super) scripts: Vec<ScriptWanted>,
    /// None: nothing is said of them.
    pub(super) triggers: Option<Vec<Written>>,
    /// How many messages of each are worked on at once. None: nothing is said of them.
    pub(super) queues: Option<BTreeMap<String, Option<u32>>>,
    /// Who may listen to each from outside. None: nothing is said of them.
    pub(super) topics: Option<BTreeMap<String, Access>>,
    /// Whether what is there and not named goes.
    pub(super) prune: bool,
}

/// One script of it.
#[derive(Debug)]
pub(in crate::admin) struct ScriptWanted {
    pub(super) name: String,
    pub(super) kind: ScriptKind,
    pub(super) source: Source,
    pub(super) routes: Vec<RouteWanted>,
    /// For a script that would have none. Not empty: the routes that it has stay.
    pub(super) default_routes: Vec<RouteWanted>,
}

impl Wanted {
    pub(super) fn check(manifest: Manifest, ceiling: &Limits) -> Result<Self, Problem> {
        let Manifest { app: _, create_app, hosts, env, scripts, triggers, queues, topics, prune } = manifest;
        let hosts = hosts.iter().map(|host| domains::host(host)).collect::<Result<BTreeSet<_>, _>>()?;
        for (name, value) in env.iter().flatten() {
            env::check(name, value)?;
        }
        let scripts = scripts.into_iter().map(|said| said.check(ceiling)).collect::<Result<Vec<_>, _>>()?;
        no_duplicates(&scripts)?;
        no_conflicts(&scripts)?;
        check_triggers(triggers.as_deref().unwrap_or_default(), &scripts)?;
        let queues = queues.map(queues_wanted).transpose()?;
        let topics = topics.map(topics_wanted).transpose()?;
        Ok(Self { create_app, hosts, env, scripts, triggers, queues, topics, prune })
    }
}

impl ScriptSaid {
    fn check(self, ceiling: &Limits) -> Result<ScriptWanted, Problem> {
        let Self { name, kind, source, limits, message, routes, default_routes } = self;
        names::word("name", &name)?;
        let kind = kind.unwrap_or(ScriptKind::Endpoint);
        if kind == ScriptKind::Module && !(routes.is_empty() && default_routes.is_empty()) {
            return Err(is_module(&name));
        }
        let source = Source::check(NewSource { source, limits, message }, ceiling)?;
        let routes = routes.into_iter().map(RouteSaid::check).collect::<Result<Vec<_>, _>>()?;
        let default_routes = match routes.is_empty() {
            true => default_routes.into_iter().map(RouteSaid::check).collect::<Result<_, _>>()?,
            false => Vec::new(),
        };
        Ok(ScriptWanted { name, kind, source, routes, default_routes })
    }
}

/// What can be told of triggers without looking at the app.
fn check_triggers(triggers: &[Written], scripts: &[ScriptWanted]) -> Result<(), Problem> {
    let mut seen = BTreeSet::new();
    for said in triggers {
        triggers::wanted::check(said)?;
        if let Some(script) = scripts.iter().find(|script| script.name == said.script) {
            triggers::wanted::must_run(script.kind, &script.name)?;
        }
        if !seen.insert((&said.script, said.when.kind(), said.when.selects())) {
            let detail = format!(
                "there are two triggers `{}` that run `{}` in the manifest",
                short(&triggers::told(&said.when)),
                short(&said.script)
            );
            return Err(Problem::new(Kind::InvalidInput, detail).field("triggers"));
        }
    }
    Ok(())
}

fn queues_wanted(said: Vec<QueueSaid>) -> Result<BTreeMap<String, Option<u32>>, Problem> {
    let mut wanted = BTreeMap::new();
    for QueueSaid { name, max_concurrency } in said {
        names::word("queue", &name)?;
        queues::check_concurrency(max_concurrency)?;
        if wanted.insert(name.clone(), max_concurrency).is_some() {
            let detail = format!("there are two queues `{name}` in the manifest");
            return Err(Problem::new(Kind::InvalidInput, detail).field("queues"));
        }
    }
    Ok(wanted)
}

fn topics_wanted(said: Vec<TopicSaid>) -> Result<BTreeMap<String, Access>, Problem> {
    let mut wanted = BTreeMap::new();
    for TopicSaid { name, external, auth } in said {
        let access = topics::check(&name, external, auth)?;
        if wanted.insert(name.clone(), access).is_some() {
            let detail = format!("there are two topics `{name}` in the manifest");
            return Err(Problem::new(Kind::InvalidInput, detail).field("topics"));
        }
    }
    Ok(wanted)
}

fn no_duplicates(scripts: &[ScriptWanted]) -> Result<(), Problem> {
    let mut seen = BTreeSet::new();
    match scripts.iter().find(|script| !seen.insert(&script.name)) {
        None => Ok(()),
        Some(twice) => {
            let detail = format!("there are two scripts `{}` in the manifest", short(&twice.name));
            Err(Problem::new(Kind::InvalidInput, detail).field("scripts"))
        }
    }
}

/// Routes of a manifest that contradict each other; the same one twice does too.
fn no_conflicts(scripts: &[ScriptWanted]) -> Result<(), Problem> {
    let mut before: Vec<&RouteWanted> = Vec::new();
    for route in scripts.iter().flat_map(|script| script.routes.iter().chain(&script.default_routes)) {
        if let Some(other) = before.iter().find(|other| conflict(&route.pattern, &other.pattern)) {
            return Err(contradiction(&route.pattern, &other.pattern.to_string(), None));
        }
        before.push(route);
    }
    Ok(())
}
