//! Host names that lead to an app.

use serde::{Deserialize, Serialize};

use crate::id::DomainId;

/// An app took a host name for its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// The claim.
    pub domain: DomainId,
    /// `shop.example.com`, or `*.example.com` for every name below it, however deep; lower case, unique on the instance.
    pub host: String,
}

impl Claimed {
    pub(super) fn subject(&self) -> String {
        self.domain.to_string()
    }
}

/// An app gave a host name up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// The claim.
    pub domain: DomainId,
}

impl Released {
    pub(super) fn subject(&self) -> String {
        self.domain.to_string()
    }
}
