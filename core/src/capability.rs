//! What may be done, and the one function that says who may do it.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{ApiKeyId, AppId};

macro_rules! capabilities {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Something a principal may be allowed to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Capability {
            $($(#[$doc])* $name,)*
        }

        impl Capability {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// As it stands in scopes and problems.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

capabilities! {
    /// Make apps.
    InstanceCreateApp,
    /// Invite, change and deactivate accounts.
    InstanceManageAccounts,
    /// Change what holds for the whole instance.
    InstanceManageSettings,
    /// Read the log of all apps, with positions and addresses.
    InstanceReadLog,
    /// See an app and what it is made of.
    AppRead,
    /// Do everything to an app, deleting it included.
    AppAdmin,
    /// Run scripts by id.
    AppInvoke,
    /// Deploy, activate and delete scripts.
    AppWriteScript,
    /// Bind, change and unbind routes.
    AppWriteRoute,
    /// Claim and release host names.
    AppManageDomains,
    /// Read an app's events, invocations and log lines.
    AppReadLog,
    /// Read kv entries.
    AppKvRead,
    /// Write kv entries.
    AppKvWrite,
    /// Read documents.
    AppDocsRead,
    /// Write documents.
    AppDocsWrite,
    /// Read files.
    AppFilesRead,
    /// Write files.
    AppFilesWrite,
    /// Read secrets from scripts.
    AppSecretsRead,
    /// Set and delete secrets.
    AppSecretsWrite,
    /// Call other services.
    AppHttpRequest,
    /// Send mail.
    AppEmailSend,
    /// Publish to topics.
    AppTopicPublish,
    /// Register topics.
    AppManageTopics,
    /// Make, change and delete triggers.
    AppManageTriggers,
    /// Pause, resume and purge queues.
    AppQueueManage,
    /// Replay and resolve dead letters.
    AppDeadLetterManage,
    /// Run recorded invocations again.
    AppReplay,
}

impl Capability {
    /// Whether it concerns the instance rather than one app.
    #[must_use]
    pub const fn is_instance(self) -> bool {
        matches!(
            self,
            Self::InstanceCreateApp
                | Self::InstanceManageAccounts
                | Self::InstanceManageSettings
                | Self::InstanceReadLog
        )
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no capability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a capability")]
pub struct UnknownCapability(pub String);

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(name: &str) -> Result<Self, UnknownCapability> {
        Self::ALL.iter().copied().find(|known| known.as_str() == name).ok_or_else(|| UnknownCapability(name.to_owned()))
    }
}

/// Who acts, with what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A program with an API key that was valid when the request came.
    ApiKey {
        /// The key's name.
        key: ApiKeyId,
        /// What it may do at most.
        scopes: Vec<Capability>,
        /// The only app it is good for.
        app: Option<AppId>,
        /// When it stops working.
        expires_at: Option<DateTime<Utc>>,
    },
    /// Nobody: a request without credentials.
    Public,
}

/// Whether a principal may do something, to an app or (`None`) to the instance. The only place that decides it.
#[must_use]
pub fn allows(principal: &Principal, capability: Capability, app: Option<AppId>) -> bool {
    match principal {
        Principal::Public => false,
        Principal::ApiKey { scopes, app: bound, .. } => {
            let in_scope =
                scopes.contains(&capability) || (!capability.is_instance() && scopes.contains(&Capability::AppAdmin));
            let in_reach = match (bound, app) {
                (None, _) => true,
                (Some(bound), Some(app)) => *bound == app,
                (Some(_), None) => false,
            };
            in_scope && in_reach && capability.is_instance() == app.is_none()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(scopes: &[Capability], app: Option<AppId>) -> Principal {
        Principal::ApiKey { key: ApiKeyId::generate(), scopes: scopes.to_vec(), app, expires_at: None }
    }

    #[test]
    fn nobody_may_do_nothing() {
        for capability in Capability::ALL {
            assert!(!allows(&Principal::Public, *capability, Some(AppId::generate())));
            assert!(!allows(&Principal::Public, *capability, None));
        }
    }

    #[test]
    fn a_key_bound_to_an_app_reaches_no_other_and_not_the_instance() {
        let (own, other) = (AppId::generate(), AppId::generate());
        let bound = key(Capability::ALL, Some(own));
        for capability in Capability::ALL {
            assert_eq!(allows(&bound, *capability, Some(own)), !capability.is_instance());
            assert!(!allows(&bound, *capability, Some(other)));
            assert!(!allows(&bound, *capability, None));
        }
    }

    #[test]
    fn a_key_does_what_its_scopes_say_and_no_more() {
        let app = AppId::generate();
        let reader = key(&[Capability::AppKvRead], None);
        for capability in Capability::ALL {
            assert_eq!(allows(&reader, *capability, Some(app)), *capability == Capability::AppKvRead);
        }
    }
}
