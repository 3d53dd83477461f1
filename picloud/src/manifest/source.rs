//! From a path on the command line to a [`Manifest`].

use std::{
    fs,
    path::{Path, PathBuf},
};

use picloud_core::event::script::ScriptKind;

use super::{Manifest, ManifestError, Route, RoutePattern, Script, file};

/// What an app is declared in.
pub const FILE_NAME: &str = "picloud.toml";
/// Where a bare script goes.
const DEFAULT_APP: &str = "default";

/// What the command line says beside the path.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Another app than the file's, or than `default`.
    pub app: Option<String>,
    /// Instead of a bare script's own.
    pub routes: Vec<RoutePattern>,
    /// What the deployer says of the new versions.
    pub message: Option<String>,
}

/// Reads a script, a `picloud.toml`, or a folder with the one or the others.
///
/// # Errors
/// [`ManifestError`].
pub fn read(path: &Path, overrides: &Overrides) -> Result<Manifest, ManifestError> {
    let declared = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
    let mut manifest = if declared.extension().is_some_and(|extension| extension == "toml") && declared.is_file() {
        if !overrides.routes.is_empty() {
            let told = format!("--route is for a bare script: {} names its own routes", declared.display());
            return Err(ManifestError::Nothing(told));
        }
        file::read(&declared)?
    } else if path.is_dir() {
        let scripts = rhai_files(path)?;
        if scripts.is_empty() {
            let told = format!("{} holds neither a {FILE_NAME} nor a .rhai file", path.display());
            return Err(ManifestError::Nothing(told));
        }
        if scripts.len() > 1 && !overrides.routes.is_empty() {
            let told = format!("--route is for one script, and {} holds {}", path.display(), scripts.len());
            return Err(ManifestError::Nothing(told));
        }
        bare(&scripts, overrides)?
    } else {
        bare(&[path.to_owned()], overrides)?
    };
    if let Some(app) = &overrides.app {
        file::check_name(app).map_err(ManifestError::Nothing)?;
        manifest.app.clone_from(app);
    }
    for script in &mut manifest.scripts {
        script.message.clone_from(&overrides.message);
    }
    Ok(manifest)
}

/// Scripts without a `picloud.toml`: each answers where it did, a new one everything on the path of its name, and nothing
/// else is touched.
fn bare(paths: &[PathBuf], overrides: &Overrides) -> Result<Manifest, ManifestError> {
    let script = |path: &PathBuf| {
        let source =
            fs::read_to_string(path).map_err(|source| ManifestError::Unreadable { path: path.clone(), source })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        file::check_name(&name).map_err(ManifestError::Nothing)?;
        let own = RoutePattern { method: None, path: format!("/{name}") };
        let route = |pattern: &RoutePattern| Route {
            method: pattern.method.clone(),
            path: pattern.path.clone(),
            host: None,
            mode: Default::default(),
            record: Default::default(),
            cors: None,
            rate_limit: None,
            retry: None,
        };
        Ok(Script {
            name,
            kind: ScriptKind::Endpoint,
            source,
            limits: serde_json::Map::new(),
            routes: overrides.routes.iter().map(route).collect(),
            default_routes: if overrides.routes.is_empty() { vec![route(&own)] } else { Vec::new() },
            message: None,
        })
    };
    Ok(Manifest {
        app: DEFAULT_APP.to_owned(),
        create_app: false,
        hosts: Vec::new(),
        env: None,
        scripts: paths.iter().map(script).collect::<Result<_, ManifestError>>()?,
        triggers: None,
        queues: None,
        topics: None,
        prune: false,
    })
}

fn rhai_files(dir: &Path) -> Result<Vec<PathBuf>, ManifestError> {
    let entries = fs::read_dir(dir).map_err(|source| ManifestError::Unreadable { path: dir.to_owned(), source })?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && path.extension().is_some_and(|extension| extension == "rhai"))
        .collect();
    files.sort();
    Ok(files)
}
