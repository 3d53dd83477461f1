//! Triggers: which event runs which script.

use serde::{Deserialize, Serialize};

use crate::{
    capability::Capability,
    id::{AccountId, ApiKeyId, ScriptId, TriggerId},
    retry::RetryPolicy,
    trigger::When,
};

/// All that a trigger says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// When.
    pub when: When,
    /// What is run.
    pub script: ScriptId,
    /// How patiently.
    #[serde(default, deserialize_with = "super::tolerant::retry")]
    pub retry: RetryPolicy,
}

/// In whose name a trigger's runs act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registrant {
    /// The account that registered it, itself or by one of its keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The key that registered it, when that is nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<ApiKeyId>,
    /// Registered by a key: runs may do no more than that could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<Capability>>,
}

/// A trigger came to be, enabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// The trigger.
    pub trigger: TriggerId,
    /// What it says.
    #[serde(flatten)]
    pub definition: Definition,
    /// In whose name its runs act.
    pub registrant: Registrant,
}

/// A trigger says something else now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updated {
    /// The trigger.
    pub trigger: TriggerId,
    /// All that it says now.
    #[serde(flatten)]
    pub definition: Definition,
    /// In whose name its runs act from now on: who changes what it does answers for it.
    pub registrant: Registrant,
}

/// Events count again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enabled {
    /// The trigger.
    pub trigger: TriggerId,
    /// In whose name its runs act from now on.
    pub registrant: Registrant,
}

/// Events pass it by from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    /// The trigger.
    pub trigger: TriggerId,
    /// Why, when nobody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Events still count, but what they owe waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// The trigger.
    pub trigger: TriggerId,
}

/// What waited may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// The trigger.
    pub trigger: TriggerId,
}

/// A trigger went. What it made be owed is still run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// The trigger.
    pub trigger: TriggerId,
}

macro_rules! about_the_trigger {
    ($($event:ty),*) => {
        $(impl $event {
            pub(super) fn subject(&self) -> String {
                self.trigger.to_string()
            }
        })*
    };
}

about_the_trigger!(Created, Updated, Enabled, Disabled, Paused, Resumed, Deleted);
