//! API keys. The key itself is never in the log: its hash lies in `live.secret_material`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    capability::Capability,
    id::{AccountId, ApiKeyId, AppId},
};

/// A key was made and shown once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minted {
    /// The key's name.
    pub key: ApiKeyId,
    /// What its maker calls it.
    pub name: String,
    /// Its first characters, to be recognised by.
    pub prefix: String,
    /// What it may do at most.
    pub scopes: Vec<Capability>,
    /// The only app it is good for; none is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppId>,
    /// Whose rights it has; none are its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// When it stops working by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

impl Minted {
    pub(super) fn subject(&self) -> String {
        self.key.to_string()
    }
}

/// A key was made worthless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// The key's name.
    pub key: ApiKeyId,
}

impl Revoked {
    pub(super) fn subject(&self) -> String {
        self.key.to_string()
    }
}
