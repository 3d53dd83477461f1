//! What is wrong with a manifest, told as a compiler would.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use picloud_core::nearest::nearest;

use super::InvalidRoute;
use crate::failure::Failure;

/// Why there is nothing to deploy.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A line of the file is not as it should be.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong, with what was expected.
        problem: String,
    },
    /// A file cannot be read.
    #[error("failed to read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A route on the command line.
    #[error(transparent)]
    Route(#[from] InvalidRoute),
    /// The path, or the command, does not say what to deploy.
    #[error("{0}")]
    Nothing(String),
}

impl ManifestError {
    /// At what was written there.
    pub(super) fn at(path: &Path, text: &str, span: Range<usize>, problem: impl Into<String>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        Self::Line { path: path.to_owned(), line, problem: problem.into() }
    }

    /// What the parser said.
    pub(super) fn parsing(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let problem = with_nearest(error.message());
        Self::at(path, text, error.span().unwrap_or(0..0), problem)
    }
}

impl From<ManifestError> for Failure {
    fn from(error: ManifestError) -> Self {
        Self::usage(error.to_string())
    }
}

/// serde lists every key there is; someone who mistyped one wants that one.
pub(super) fn with_nearest(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field ") else {
        return message.replace("missing field", "missing key");
    };
    let mut names = rest.split('`').skip(1).step_by(2);
    let unknown = names.next().unwrap_or_default();
    let known: Vec<&str> = names.collect();
    match nearest(unknown, known.iter().copied()) {
        Some(meant) => format!("unknown key `{unknown}` (did you mean `{meant}`?)"),
        None => format!("unknown key `{unknown}`: known are {}", known.join(", ")),
    }
}
