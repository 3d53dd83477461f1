//! Members of an app: accounts with a role on it. The app is the event's.

use serde::{Deserialize, Serialize};

use crate::{id::AccountId, policy::AppRole};

/// An account became a member, or has another role now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The account.
    pub account: AccountId,
    /// What it may do to the app.
    pub role: AppRole,
}

impl Granted {
    pub(super) fn subject(&self) -> String {
        subject(self.account)
    }
}

/// An account is no member any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The account.
    pub account: AccountId,
}

impl Removed {
    pub(super) fn subject(&self) -> String {
        subject(self.account)
    }
}

fn subject(account: AccountId) -> String {
    format!("member:{account}")
}
