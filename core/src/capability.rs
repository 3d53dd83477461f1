//! What may be done. Who may do it is in [`crate::policy`].

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! capabilities {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Something a principal may be allowed to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
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
    /// Publish to topics and send to queues.
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

/// Some of them. Small enough to go wherever a run goes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities(u64);

// A bit each.
const _: () = assert!(Capability::ALL.len() <= u64::BITS as usize);

impl Capabilities {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Whether one is among them.
    #[must_use]
    pub const fn contains(self, capability: Capability) -> bool {
        self.0 & bit(capability) != 0
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// Each of them, in the order of the catalogue.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.iter().copied().filter(move |capability| self.contains(*capability))
    }
}

const fn bit(capability: Capability) -> u64 {
    1 << capability as u32
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        Self(capabilities.into_iter().fold(0, |bits, capability| bits | bit(capability)))
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_into_it_and_nothing_else() {
        for put in Capability::ALL {
            let one = Capabilities::from_iter([*put]);
            assert_eq!(one.iter().collect::<Vec<_>>(), [*put]);
            assert!(!Capabilities::NONE.contains(*put));
        }
        let all: Capabilities = Capability::ALL.iter().copied().collect();
        assert_eq!(all.iter().collect::<Vec<_>>(), Capability::ALL);
    }

    #[test]
    fn of_two_sets_what_both_hold_is_left() {
        use Capability::{AppInvoke, AppKvRead, AppKvWrite};
        let (one, other) =
            (Capabilities::from_iter([AppKvRead, AppInvoke]), Capabilities::from_iter([AppKvRead, AppKvWrite]));
        assert_eq!(one.and(other), Capabilities::from_iter([AppKvRead]));
        assert_eq!(one.and(Capabilities::NONE), Capabilities::NONE);
    }
}
