//! What was said about the settings, and by whom.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use picloud_core::nearest::nearest;

use super::{
    ConfigError,
    setting::{self, OTHER_VARIABLES, Setting},
};

/// The file that is read where the service starts, unless another is named.
pub const DEFAULT_FILE: &str = "picloud-server.toml";

/// Who set a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag, `--listen`.
    Flag(String),
    /// A variable of the environment.
    Variable(&'static str),
    /// A key of the file.
    File {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: &'static str,
    },
    /// Nobody.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(name) => f.write_str(name),
            Self::File { path, key } => write!(f, "{key} in {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// All that was said.
#[derive(Debug, Default)]
pub struct Sources {
    flags: BTreeMap<&'static str, String>,
    variables: BTreeMap<String, String>,
    file: Option<(PathBuf, BTreeMap<String, String>)>,
}

impl Sources {
    /// Gathers everything. `file` is read if it is named; else `PICLOUD_CONFIG`'s, else `DEFAULT_FILE` if there is
    /// one.
    ///
    /// # Errors
    /// [`ConfigError`], for names that are no settings and files that cannot be read.
    pub fn gather(
        flags: BTreeMap<&'static str, String>,
        variables: impl IntoIterator<Item = (String, String)>,
        file: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        // Compose files write `${X:-}` for what is not set.
        let variables: BTreeMap<String, String> =
            variables.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect();
        refuse_mistyped(&variables)?;
        let named = file.map(Path::to_owned).or_else(|| variables.get("PICLOUD_CONFIG").map(PathBuf::from));
        let file = match named {
            Some(path) => Some((path.clone(), read(&path)?)),
            None => match read(Path::new(DEFAULT_FILE)) {
                Ok(values) => Some((DEFAULT_FILE.into(), values)),
                Err(ConfigError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            },
        };
        Ok(Self { flags, variables, file })
    }

    /// What was said about a setting, by whoever counts most.
    #[must_use]
    pub fn get(&self, setting: &Setting) -> Option<(&str, Origin)> {
        if let Some(value) = self.flags.get(setting.key) {
            return Some((value, Origin::Flag(setting.flag())));
        }
        if let Some(value) = self.variables.get(setting.variable) {
            return Some((value, Origin::Variable(setting.variable)));
        }
        let (path, values) = self.file.as_ref()?;
        let value = values.get(setting.key)?;
        Some((value, Origin::File { path: path.clone(), key: setting.key }))
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| ConfigError::Syntax { path: path.to_owned(), problem: error.to_string() })?;
    let mut values = BTreeMap::new();
    for (name, value) in table {
        let known = setting::ALL.iter().map(|setting| setting.key);
        if known.clone().all(|key| key != name) {
            let nearest = nearest(&name, known).map(str::to_owned);
            return Err(ConfigError::UnknownName { place: path.display().to_string(), name, nearest });
        }
        let toml::Value::String(text) = value else {
            let origin = format!("{name} in {}", path.display());
            let problem = format!("expected a string, in quotes; got {}", value.type_str());
            return Err(ConfigError::BadValue { origin, value: value.to_string(), problem });
        };
        values.insert(name, text);
    }
    Ok(values)
}

/// A variable one slip away from one of ours would silently do nothing. Others with our prefix are let be: Kubernetes
/// makes `PICLOUD_PORT` and the like for a service of that name.
fn refuse_mistyped(variables: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    let known: Vec<&str> =
        setting::ALL.iter().map(|setting| setting.variable).chain(OTHER_VARIABLES.iter().copied()).collect();
    for name in variables.keys().filter(|name| name.starts_with("PICLOUD_")) {
        if known.contains(&name.as_str()) {
            continue;
        }
        if let Some(meant) = known.iter().find(|known| strsim::damerau_levenshtein(name, known) <= 2) {
            let (name, nearest) = (name.clone(), Some((*meant).to_owned()));
            return Err(ConfigError::UnknownName { place: "the environment".to_owned(), name, nearest });
        }
    }
    Ok(())
}
