//! Apps: the tenants.

use serde::{Deserialize, Serialize};

use crate::id::AppId;

/// An app came to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// The app.
    pub app: AppId,
    /// Its name in URLs, unique on the instance.
    pub slug: String,
}

impl Created {
    pub(super) fn subject(&self) -> String {
        self.app.to_string()
    }
}
