//! Plain configuration values of an app, `ctx.env`. Not for secrets: they are in the log.

use serde::{Deserialize, Serialize};

/// A value was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl Set {
    pub(super) fn subject(&self) -> String {
        format!("env:{}", self.name)
    }
}

/// A value was taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Its name.
    pub name: String,
}

impl Deleted {
    pub(super) fn subject(&self) -> String {
        format!("env:{}", self.name)
    }
}
