//! What keeps a configuration from being used.

use std::{io, path::PathBuf};

/// Why the service does not start as it is set up.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A name that is none of ours.
    #[error("{place} sets `{name}`, which is not a setting{}", suggestion(nearest.as_deref()))]
    UnknownName {
        /// The file, or the environment.
        place: String,
        /// As it was written.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// A value that cannot be used.
    #[error("{origin} is `{value}`: {problem}")]
    BadValue {
        /// Who said so: a flag, a variable, or a key in a file.
        origin: String,
        /// As it was written; passwords in URLs masked.
        value: String,
        /// What was expected.
        problem: String,
    },
    /// Two settings that do not go together.
    #[error("{0}")]
    Contradiction(String),
    /// The file is no TOML.
    #[error("failed to read {}: {problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// With line and column.
        problem: String,
    },
    /// The file cannot be read.
    #[error("failed to read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
}
