//! Who may do what: roles, the rights that follow from them, and the one function that decides.
//!
//! A role holds capabilities. An API key has scopes, maybe an app that it is bound to, maybe an account whose rights it has
//! at most: what it may do is in all of these.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    capability::{Capabilities, Capability},
    id::{AccountId, ApiKeyId, AppId, SessionId},
    run,
};

/// What an account is on the whole instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstanceRole {
    /// Sees and does what its memberships of apps say.
    Member,
    /// Makes apps and accounts and is editor of every app.
    Admin,
    /// Does everything.
    Owner,
}

/// What an account is to one app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AppRole {
    /// Looks.
    Viewer,
    /// Deploys, runs, changes data.
    Editor,
    /// Does everything to it.
    AppAdmin,
}

/// A name that is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a role: it is one of {known}")]
pub struct UnknownRole {
    /// What was given.
    pub given: String,
    /// What there is.
    pub known: &'static str,
}

macro_rules! names {
    ($type:ty, $all:literal, $($variant:ident = $name:literal),*) => {
        impl $type {
            /// All of them, the mightiest last.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As it stands in events, forms and the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownRole;

            fn from_str(name: &str) -> Result<Self, UnknownRole> {
                let known = Self::ALL.iter().copied().find(|role| role.as_str() == name);
                known.ok_or_else(|| UnknownRole { given: name.to_owned(), known: $all })
            }
        }
    };
}

names!(InstanceRole, "`owner`, `admin`, `member`", Member = "member", Admin = "admin", Owner = "owner");
names!(AppRole, "`app_admin`, `editor`, `viewer`", Viewer = "viewer", Editor = "editor", AppAdmin = "app_admin");

impl InstanceRole {
    /// What it may do to the instance.
    #[must_use]
    pub const fn holds(self, capability: Capability) -> bool {
        match self {
            Self::Owner => capability.is_instance(),
            Self::Admin => matches!(
                capability,
                Capability::InstanceCreateApp | Capability::InstanceManageAccounts | Capability::InstanceReadLog
            ),
            Self::Member => false,
        }
    }

    /// What it is to every app, members or not.
    #[must_use]
    pub const fn everywhere(self) -> Option<AppRole> {
        match self {
            Self::Owner => Some(AppRole::AppAdmin),
            Self::Admin => Some(AppRole::Editor),
            Self::Member => None,
        }
    }
}

impl AppRole {
    /// What it may do to the app.
    #[must_use]
    pub const fn holds(self, capability: Capability) -> bool {
        use Capability::{AppAdmin, AppDocsRead, AppFilesRead, AppKvRead, AppManageDomains, AppRead, AppReadLog};
        if capability.is_instance() {
            return false;
        }
        match self {
            Self::AppAdmin => true,
            // Hosts are the instance's: who claims one takes it from all other apps.
            Self::Editor => !matches!(capability, AppAdmin | AppManageDomains),
            Self::Viewer => matches!(capability, AppRead | AppReadLog | AppKvRead | AppDocsRead | AppFilesRead),
        }
    }
}

/// What an account may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// On the instance, and through it on every app.
    pub role: InstanceRole,
    /// On apps that it is a member of.
    pub apps: BTreeMap<AppId, AppRole>,
}

impl Rights {
    /// What it is to an app, by its role or as a member: whichever is more.
    #[must_use]
    pub fn on(&self, app: AppId) -> Option<AppRole> {
        self.role.everywhere().max(self.apps.get(&app).copied())
    }

    /// All that it may do to an app.
    #[must_use]
    pub fn capabilities(&self, app: AppId) -> Capabilities {
        Capability::ALL.iter().copied().filter(|capability| self.hold(*capability, Some(app))).collect()
    }

    fn hold(&self, capability: Capability, app: Option<AppId>) -> bool {
        match app {
            None => self.role.holds(capability),
            Some(app) => self.on(app).is_some_and(|role| role.holds(capability)),
        }
    }
}

/// Who acts, with what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A person, signed in.
    Account {
        /// Whose account.
        account: AccountId,
        /// What it may do.
        rights: Arc<Rights>,
        /// Since when, and for how long, the session says.
        session: SessionId,
    },
    /// A program with an API key that was valid when the request came.
    ApiKey {
        /// The key's name.
        key: ApiKeyId,
        /// What it may do at most.
        scopes: Arc<[Capability]>,
        /// The only app it is good for.
        app: Option<AppId>,
        /// Whose rights it has at most; none are its own.
        account: Option<(AccountId, Arc<Rights>)>,
        /// When it stops working.
        expires_at: Option<DateTime<Utc>>,
    },
    /// Nobody: a request without credentials.
    Public,
}

impl Principal {
    /// Whose account acts, itself or by one of its keys.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        match self {
            Self::Account { account, .. } => Some(*account),
            Self::ApiKey { account, .. } => account.as_ref().map(|(account, _)| *account),
            Self::Public => None,
        }
    }
}

/// Whether a principal may do something, to an app or (`None`) to the instance. The only place that decides it.
#[must_use]
pub fn allows(principal: &Principal, capability: Capability, app: Option<AppId>) -> bool {
    if capability.is_instance() != app.is_none() {
        return false;
    }
    match principal {
        Principal::Public => false,
        Principal::Account { rights, .. } => rights.hold(capability, app),
        Principal::ApiKey { scopes, app: bound, account, .. } => {
            let in_scope = scopes.contains(&capability) || (app.is_some() && scopes.contains(&Capability::AppAdmin));
            let in_reach = bound.is_none() || *bound == app;
            let is_held = account.as_ref().is_none_or(|(_, rights)| rights.hold(capability, app));
            in_scope && in_reach && is_held
        }
    }
}

/// What a run may do that a principal makes happen in an app: all that it is allowed there.
#[must_use]
pub fn rights_in(principal: &Principal, app: AppId) -> run::Rights {
    let allowed = |capability: &Capability| allows(principal, *capability, Some(app));
    match principal {
        Principal::Public => run::Rights::Public,
        Principal::Account { .. } | Principal::ApiKey { .. } => {
            run::Rights::Principal(Capability::ALL.iter().copied().filter(allowed).collect())
        }
    }
}

#[cfg(test)]
mod tests;
