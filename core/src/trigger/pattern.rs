//! Names that a trigger asks for: one, all that begin alike, or all.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A name, or with `*` at its end all names that begin with what stands before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// From its text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the `*`; none when it is one name.
    #[must_use]
    pub fn prefix(&self) -> Option<&str> {
        self.0.strip_suffix('*')
    }

    /// A name that it asks for.
    pub(super) fn example(&self) -> String {
        match self.prefix() {
            None => self.0.clone(),
            Some(prefix) if prefix.is_empty() || prefix.ends_with('.') => format!("{prefix}example"),
            Some(prefix) => prefix.to_owned(),
        }
    }

    /// Whether it asks for a name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.prefix().map_or(self.0 == name, |prefix| name.starts_with(prefix))
    }

    /// Whether it asks for all that another asks for.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self.prefix(), other.prefix()) {
            (Some(prefix), Some(longer)) => longer.starts_with(prefix),
            (None, Some(_)) => false,
            (_, None) => self.matches(&other.0),
        }
    }

    /// How many of these one name can match. Those that match a name all cover the one among them that asks for the least.
    pub(super) fn most_at_once(all: &[&Self]) -> usize {
        let covering = |least: &&Self| all.iter().filter(|pattern| pattern.covers(least)).count();
        all.iter().map(covering).max().unwrap_or(0)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
