//! A route's pattern as a whole, and when two of them contradict each other.

use std::fmt;

use super::{HostPattern, InvalidPattern, MethodPattern, PathPattern};
use crate::event::route::Definition;

/// Which requests a route answers: host, path and method, in this order of precedence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// On which hosts.
    pub host: HostPattern,
    /// Which paths.
    pub path: PathPattern,
    /// Which methods.
    pub method: MethodPattern,
}

impl Pattern {
    /// Reads the three parts of a route.
    ///
    /// # Errors
    /// [`InvalidPattern`] of the first part that is wrong.
    pub fn parse(host: Option<&str>, path: &str, method: Option<&str>) -> Result<Self, InvalidPattern> {
        Ok(Self {
            host: HostPattern::parse(host)?,
            path: PathPattern::parse(path)?,
            method: MethodPattern::parse(method)?,
        })
    }
}

impl TryFrom<&Definition> for Pattern {
    type Error = InvalidPattern;

    fn try_from(definition: &Definition) -> Result<Self, InvalidPattern> {
        Self::parse(definition.host.as_deref(), &definition.path, definition.method.as_deref())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HostPattern::Any => write!(f, "{} {}", self.method, self.path),
            host => write!(f, "{} {host}{}", self.method, self.path),
        }
    }
}

/// Whether some request would find two routes that rank equal on every count, so that neither could be preferred.
#[must_use]
pub fn conflict(one: &Pattern, two: &Pattern) -> bool {
    // Different hosts never rank equal for a request that matches both, nor do different methods.
    one.host == two.host
        && one.method == two.method
        && one.path.rank() == two.path.rank()
        && one.path.overlaps(&two.path)
}
