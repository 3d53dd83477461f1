//! What an app's scripts may call that is not on the public internet.

use serde::{Deserialize, Serialize};

/// Scripts of an app were allowed to call a host or a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// As [`crate::http_exception::Exception`] writes it: `nas.lan:5000`, `192.168.0.0/24`. A version that cannot read it
    /// allows nothing by it.
    pub target: String,
}

impl Allowed {
    pub(super) fn subject(&self) -> String {
        format!("http_exception:{}", self.target)
    }
}

/// They may call it no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// As it was allowed.
    pub target: String,
}

impl Removed {
    pub(super) fn subject(&self) -> String {
        format!("http_exception:{}", self.target)
    }
}
