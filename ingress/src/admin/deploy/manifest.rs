//! What a deployment asks for, read and checked as far as it can be without looking at the app.

use std::collections::{BTreeMap, BTreeSet};

use picloud_core::{event::script::ScriptKind, limits::Limits, routing::conflict};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    admin::{
        access::short,
        domains, env, names,
        routes::{
            check::contradiction,
            is_module,
            wanted::{RouteSaid, RouteWanted},
        },
        scripts::source::{NewSource, Source},
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
    #[serde(default)]
    prune: bool,
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
        let Manifest { app: _, create_app, hosts, env, scripts, prune } = manifest;
        let hosts = hosts.iter().map(|host| domains::host(host)).collect::<Result<BTreeSet<_>, _>>()?;
        for (name, value) in env.iter().flatten() {
            env::check(name, value)?;
        }
        let scripts = scripts.into_iter().map(|said| said.check(ceiling)).collect::<Result<Vec<_>, _>>()?;
        no_duplicates(&scripts)?;
        no_conflicts(&scripts)?;
        Ok(Self { create_app, hosts, env, scripts, prune })
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
