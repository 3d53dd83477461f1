//! Signed-in stays. The token is never in the log; its hash lies in `live.session`.

use serde::{Deserialize, Serialize};

use crate::id::{AccountId, SessionId};

/// Somebody signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The session.
    pub session: SessionId,
    /// Whose it is.
    pub account: AccountId,
}

impl Opened {
    pub(super) fn subject(&self) -> String {
        self.session.to_string()
    }
}

/// Why a session ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosedBy {
    /// Its holder signed out.
    SignedOut,
    /// Its holder, or an operator, ended it from elsewhere.
    Revoked,
    /// The account has another password.
    PasswordSet,
    /// The account was deactivated.
    Deactivated,
}

/// A session was ended. One that is merely not used any more expires without an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// The session.
    pub session: SessionId,
    /// Whose it was.
    pub account: AccountId,
    /// Why.
    pub by: ClosedBy,
}

impl Closed {
    pub(super) fn subject(&self) -> String {
        self.session.to_string()
    }
}
