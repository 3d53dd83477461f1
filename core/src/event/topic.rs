//! Topics: who may listen to what is published there. Of which nothing is said, that one is the app's own.

use serde::{Deserialize, Serialize};

use crate::{
    id::SecretId,
    topic::{Access, Auth},
    trigger::Pattern,
};

fn subject(topic: &Pattern) -> String {
    format!("topic:{topic}")
}

/// This holds from now on for a topic, or for all topics below one of which nothing closer is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// A topic, `prefix.*` or `*`.
    pub topic: Pattern,
    /// Whether it can be listened to from outside.
    pub external: bool,
    /// By whom, if it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
}

impl Registered {
    /// What is said of a topic, or of many.
    #[must_use]
    pub const fn new(topic: Pattern, access: Access) -> Self {
        let auth = access.auth();
        Self { topic, external: auth.is_some(), auth }
    }

    pub(super) fn subject(&self) -> String {
        subject(&self.topic)
    }
}

/// Nothing is said of it any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// As it was registered.
    pub topic: Pattern,
}

impl Deleted {
    pub(super) fn subject(&self) -> String {
        subject(&self.topic)
    }
}

/// The app's key for the tokens of its subscribers was replaced: all there were are worthless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRotated {
    /// The new one's name. The key itself is not in the log.
    pub key: SecretId,
}

impl KeyRotated {
    pub(super) fn subject(&self) -> String {
        self.key.to_string()
    }
}
