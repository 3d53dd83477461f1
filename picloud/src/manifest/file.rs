//! `picloud.toml`, from text to meaning.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use picloud_core::{
    event::{
        route::{Cors, Mode, RateLimit},
        script::ScriptKind,
    },
    limits::Limits,
    retry::RetryPolicy,
    run::Record,
};
use serde::Deserialize;
use toml::Spanned;

use super::{
    Manifest, ManifestError, Route, RoutePattern, Script,
    topic::{self, FileTopic},
    trigger::{self, FileQueue, FileTrigger},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    app: Spanned<String>,
    #[serde(default)]
    hosts: Vec<String>,
    env: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "script")]
    scripts: Vec<FileScript>,
    #[serde(default, rename = "trigger")]
    triggers: Vec<FileTrigger>,
    #[serde(default, rename = "queue")]
    queues: Vec<FileQueue>,
    #[serde(default, rename = "topic")]
    topics: Vec<FileTopic>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileScript {
    name: Spanned<String>,
    file: Option<Spanned<PathBuf>>,
    kind: Option<ScriptKind>,
    route: Option<Spanned<String>>,
    routes: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    mode: Mode,
    limits: Option<Spanned<toml::Table>>,
    secrets: Option<Spanned<toml::Value>>,
    #[serde(default)]
    record: Record,
    cors: Option<Cors>,
    rate_limit: Option<RateLimit>,
    retry: Option<RetryPolicy>,
}

/// A manifest's text, and where it lies: what it is to be told with.
pub(super) struct Place<'t> {
    path: &'t Path,
    text: &'t str,
}

/// Reads the file and the scripts that it names.
pub(super) fn read(path: &Path) -> Result<Manifest, ManifestError> {
    let text =
        fs::read_to_string(path).map_err(|source| ManifestError::Unreadable { path: path.to_owned(), source })?;
    let place = Place { path, text: &text };
    let file: File = toml::from_str(&text).map_err(|error| ManifestError::parsing(path, &text, &error))?;
    check_name(file.app.get_ref()).map_err(|problem| place.error(&file.app, problem))?;
    let mut scripts: Vec<Script> = Vec::new();
    for script in file.scripts {
        if scripts.iter().any(|known| known.name == *script.name.get_ref()) {
            return Err(place.error(&script.name, format!("there are two scripts `{}`", script.name.get_ref())));
        }
        scripts.push(place.script(script)?);
    }
    let triggers = trigger::triggers(&place, file.triggers, &scripts)?;
    let queues = trigger::queues(&place, file.queues)?;
    let topics = topic::topics(&place, file.topics)?;
    Ok(Manifest {
        app: file.app.into_inner(),
        create_app: true,
        hosts: file.hosts,
        env: file.env,
        scripts,
        triggers: Some(triggers),
        queues: Some(queues),
        topics: Some(topics),
        prune: true,
    })
}

impl Place<'_> {
    fn script(&self, script: FileScript) -> Result<Script, ManifestError> {
        if let Some(secrets) = &script.secrets {
            return Err(self.not_yet(secrets, "secrets"));
        }
        check_name(script.name.get_ref()).map_err(|problem| self.error(&script.name, problem))?;
        let routes = self.routes(&script)?;
        let limits = match &script.limits {
            Some(limits) => self.limits(limits)?,
            None => serde_json::Map::new(),
        };
        Ok(Script {
            source: self.source(&script)?,
            name: script.name.into_inner(),
            kind: script.kind.unwrap_or(ScriptKind::Endpoint),
            limits,
            routes,
            default_routes: Vec::new(),
            message: None,
        })
    }

    fn routes(&self, script: &FileScript) -> Result<Vec<Route>, ManifestError> {
        let written = match (&script.route, &script.routes) {
            (Some(_), Some(routes)) => return Err(self.error(routes, "either `route` or `routes`, not both")),
            (Some(route), None) => std::slice::from_ref(route),
            (None, Some(routes)) => routes.get_ref(),
            (None, None) => &[],
        };
        if let (Some(first), Some(ScriptKind::Module)) = (written.first(), script.kind) {
            return Err(self.error(first, "a module is imported by other scripts and has no routes"));
        }
        let read = |text: &Spanned<String>| {
            let pattern: RoutePattern =
                text.get_ref().parse().map_err(|error: super::InvalidRoute| self.error(text, error.to_string()))?;
            Ok(Route {
                method: pattern.method,
                path: pattern.path,
                host: None,
                mode: script.mode,
                record: script.record,
                cors: script.cors.clone(),
                rate_limit: script.rate_limit,
                retry: script.retry,
            })
        };
        written.iter().map(read).collect()
    }

    /// Checked as a whole, sent as written: what is not said stays the server's to decide.
    fn limits(
        &self,
        limits: &Spanned<toml::Table>,
    ) -> Result<serde_json::Map<String, serde_json::Value>, ManifestError> {
        for name in limits.get_ref().keys() {
            if !Limits::NAMES.contains(&name.as_str()) {
                let known = picloud_core::nearest::nearest(name, Limits::NAMES.iter().copied());
                let meant = known.map_or_else(
                    || format!("known are {}", Limits::NAMES.join(", ")),
                    |meant| format!("did you mean `{meant}`?"),
                );
                return Err(self.error(limits, format!("unknown limit `{name}` ({meant})")));
            }
        }
        let parsed: Limits = limits
            .get_ref()
            .clone()
            .try_into()
            .map_err(|error: toml::de::Error| self.error(limits, format!("limits: {}", error.message())))?;
        parsed.within(&Limits::CEILING).map_err(|error| self.error(limits, error.to_string()))?;
        let pairs = limits.get_ref().iter().map(|(name, value)| (name.clone(), value.as_integer().into()));
        Ok(pairs.collect())
    }

    fn source(&self, script: &FileScript) -> Result<String, ManifestError> {
        let beside = self.path.parent().unwrap_or(Path::new(""));
        let named = script.file.as_ref().map(Spanned::get_ref);
        let path = beside.join(named.cloned().unwrap_or_else(|| format!("{}.rhai", script.name.get_ref()).into()));
        fs::read_to_string(&path).map_err(|source| {
            let span = script.file.as_ref().map_or_else(|| script.name.span(), Spanned::span);
            ManifestError::at(self.path, self.text, span, format!("failed to read {}: {source}", path.display()))
        })
    }

    pub(super) fn error<T>(&self, at: &Spanned<T>, problem: impl Into<String>) -> ManifestError {
        ManifestError::at(self.path, self.text, at.span(), problem)
    }

    fn not_yet<T>(&self, at: &Spanned<T>, what: &str) -> ManifestError {
        let version = env!("CARGO_PKG_VERSION");
        self.error(at, format!("{what} need a newer version of PiCloud than this one ({version})"))
    }
}

/// Slugs and scripts are named alike.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let other = |c: char| first(c) || c == '_' || c == '-';
    if name.len() <= 63 && name.starts_with(first) && name.chars().all(other) {
        return Ok(());
    }
    Err(format!("`{name}` cannot be a name: up to 63 of a-z, 0-9, `_` and `-`, beginning with a letter or a digit"))
}
