//! People's accounts. What is secret of them (hashes, seeds) is never in the log: events name it, it lies in
//! `live.secret_material`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    id::{AccountId, SecretId},
    policy::InstanceRole,
};

/// An account came to be. Nobody can sign in to it before a password was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// The account.
    pub account: AccountId,
    /// What its holder signs in with, lower case, unique on the instance.
    pub email: String,
    /// What others see.
    pub name: String,
    /// What it may do on the instance.
    pub role: InstanceRole,
}

/// Its holder is called something else now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renamed {
    /// The account.
    pub account: AccountId,
    /// What others see.
    pub name: String,
}

/// Its holder signs in with another address now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmailChanged {
    /// The account.
    pub account: AccountId,
    /// The address, lower case.
    pub email: String,
}

/// It was given another role on the instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleGranted {
    /// The account.
    pub account: AccountId,
    /// What it may do now.
    pub role: InstanceRole,
}

/// What a link that was handed out is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkPurpose {
    /// The holder's first password.
    Invitation,
    /// Another password for one that was lost.
    Reset,
}

impl LinkPurpose {
    /// As it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invitation => "invitation",
            Self::Reset => "reset",
        }
    }
}

/// A link was handed out at which a password can be set, once. It makes an earlier one worthless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkIssued {
    /// The account.
    pub account: AccountId,
    /// The link's secret.
    pub link: SecretId,
    /// What it is for.
    pub purpose: LinkPurpose,
    /// When it stops working.
    pub expires_at: DateTime<Utc>,
}

/// A password was set; the one before works no more, nor does a link to set one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordSet {
    /// The account.
    pub account: AccountId,
    /// The password's hash.
    pub password: SecretId,
}

/// Signing in takes a code of an authenticator, too, from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotpEnabled {
    /// The account.
    pub account: AccountId,
    /// The seed (RFC 6238) that the authenticator knows.
    pub seed: SecretId,
    /// The hashes of codes for when it is lost.
    pub recovery: SecretId,
}

/// Signing in takes a password alone again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotpDisabled {
    /// The account.
    pub account: AccountId,
}

/// A recovery code stood in for the authenticator; it works no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryCodeUsed {
    /// The account.
    pub account: AccountId,
    /// Which of its codes, from 0.
    pub code: u8,
}

/// Its sessions and keys work no more, and nobody can sign in to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deactivated {
    /// The account.
    pub account: AccountId,
}

/// Its holder can sign in again, and its keys work again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reactivated {
    /// The account.
    pub account: AccountId,
}

macro_rules! subjects {
    ($($type:ty),*) => {$(
        impl $type {
            pub(super) fn subject(&self) -> String {
                self.account.to_string()
            }
        }
    )*};
}

subjects!(
    Created,
    Renamed,
    EmailChanged,
    RoleGranted,
    LinkIssued,
    PasswordSet,
    TotpEnabled,
    TotpDisabled,
    RecoveryCodeUsed,
    Deactivated,
    Reactivated
);
