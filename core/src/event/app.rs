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

/// An app has another name in URLs. The old one leads to the new one for as long as the app exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renamed {
    /// The app.
    pub app: AppId,
    /// Its name from now on.
    pub slug: String,
}

/// Its scripts run no more until it is resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// The app.
    pub app: AppId,
}

/// Its scripts run again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// The app.
    pub app: AppId,
}

/// An app is gone, with everything that belonged to it. What the log says of it stays, and can be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// The app.
    pub app: AppId,
    /// What it was called.
    pub slug: String,
}

/// The data key of a deleted app was erased: its recordings cannot be read by anyone any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// The app.
    pub app: AppId,
}

macro_rules! subjects {
    ($($type:ty),*) => {$(
        impl $type {
            pub(super) fn subject(&self) -> String {
                self.app.to_string()
            }
        }
    )*};
}

subjects!(Created, Renamed, Paused, Resumed, Deleted, Purged);
