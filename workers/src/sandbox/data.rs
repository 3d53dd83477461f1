//! What a run may read, write and call: the seam between the sandbox and whoever buffers a run's effects.

use std::{any::Any, sync::Arc};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use picloud_core::{
    event::message::Sent,
    id::{DeadLetterId, OutboxId, ScriptId},
    keys::Grant,
    run::{Program, Rights},
};
use serde_json::value::RawValue;

use crate::http;

/// Stored data as one run sees it, its own writes included. Calls block the script's thread.
///
/// Names, sizes and values are already checked against the script's limits when a call arrives here; the counts of
/// reads and writes are this side's business.
pub trait Data: Any + Send {
    /// The value of a key; `None` when there is none.
    fn kv_get(&mut self, collection: &str, key: &str) -> Result<Option<Box<RawValue>>, DataError>;

    /// Gives a key a value, until `expires_at` if that is given.
    fn kv_set(
        &mut self,
        collection: &str,
        key: &str,
        value: Box<RawValue>,
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<(), DataError>;

    /// Removes a key; says whether it was there.
    fn kv_delete(&mut self, collection: &str, key: &str) -> Result<bool, DataError>;

    /// Adds to a key's number; an absent key counts as 0.
    fn kv_increment(&mut self, collection: &str, key: &str, by: i64) -> Result<(), DataError>;

    /// Up to `limit` entries whose key begins with `prefix`, in order of keys, after `cursor`.
    fn kv_list(
        &mut self,
        collection: &str,
        prefix: &str,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<KvPage, DataError>;

    /// Publishes a message once the run has committed.
    fn publish(&mut self, topic: &str, message: Box<RawValue>) -> Result<(), DataError>;

    /// Tells a message to whoever listens once the run has committed. It is stored nowhere.
    fn broadcast(&mut self, topic: &str, message: Box<RawValue>) -> Result<(), DataError>;

    /// A token with which topics of the app can be listened to.
    fn subscriber_token(&mut self, grant: &Grant) -> Result<String, DataError>;

    /// Sends a message to a queue once the run has committed. That nobody takes from it is [`DataError::Refused`].
    fn send(&mut self, message: Sent) -> Result<(), DataError>;

    /// The script of that name, to be run within this run. That there is none, or that it may not run, is
    /// [`DataError::Refused`], without naming the call.
    /// And what it may do at most.
    fn program(&mut self, script: &str) -> Result<(Arc<Program>, Rights), DataError>;

    /// The script of that name, to be run later. That there is none is [`DataError::Refused`], without naming the call.
    fn target(&mut self, script: &str) -> Result<Arc<Program>, DataError>;

    /// Makes a run of a script be owed once this one has committed.
    fn invoke_later(&mut self, later: Later) -> Result<(), DataError>;

    /// A dead letter of the app, as JSON, with all that was tried and what its run gets.
    fn letter(&mut self, id: DeadLetterId) -> Result<Option<Box<RawValue>>, DataError>;

    /// Dead letters of the app, newest first. A filter that cannot be is [`DataError::Refused`], without naming the call.
    fn letters(&mut self, wanted: LetterQuery) -> Result<LetterPage, DataError>;

    /// Tries a letter again as an item of that name, with another payload if one is given. That it is closed, or not there, is
    /// [`DataError::Refused`], without naming the call.
    fn replay_letter(
        &mut self,
        id: DeadLetterId,
        item: OutboxId,
        payload: Option<Box<RawValue>>,
    ) -> Result<(), DataError>;

    /// Closes a letter as one that a script has taken care of. As above.
    fn resolve_letter(&mut self, id: DeadLetterId, reason: String) -> Result<(), DataError>;

    /// Calls outside. What went wrong out there is [`DataError::Refused`], without naming the call.
    fn http(&mut self, request: http::Request) -> Result<http::Answer, DataError>;

    /// Called every few steps while the script computes: the moment to let other runs do so.
    fn breathe(&self) {}

    /// Lets the script wait, and others compute meanwhile. `sleep` blocks, and ends with the run at the latest.
    fn pause(&self, sleep: &mut dyn FnMut()) -> Result<(), DataError> {
        sleep();
        Ok(())
    }
}

/// A run of another script that a script wants.
#[derive(Clone, Debug)]
pub struct Later {
    /// Names the work.
    pub item: OutboxId,
    /// What is to be run.
    pub script: ScriptId,
    /// As JSON.
    pub args: Bytes,
    /// Runs of the script under one key come one after the other.
    pub key: Option<String>,
    /// Not before.
    pub due_at: Option<DateTime<Utc>>,
}

/// Which dead letters a script wants. Everything named must hold.
#[derive(Clone, Debug)]
pub struct LetterQuery {
    /// Only those about which nothing is decided, or whose handler failed.
    pub is_unresolved: bool,
    /// Only with this resolution.
    pub resolution: Option<String>,
    /// Only of this script: its id or its name.
    pub script: Option<String>,
    /// Only from such a source.
    pub source: Option<String>,
    /// Only for this reason.
    pub reason: Option<String>,
    /// Only those that failed alike.
    pub fingerprint: Option<String>,
    /// Only those that come after this one in the list.
    pub after: Option<DeadLetterId>,
    /// How many at most.
    pub limit: usize,
}

/// One page of dead letters.
#[derive(Clone, Debug, Default)]
pub struct LetterPage {
    /// As JSON, newest first.
    pub items: Vec<Box<RawValue>>,
    /// The last, when there are more.
    pub cursor: Option<DeadLetterId>,
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub struct KvPage {
    /// Keys and values, in order of keys.
    pub items: Vec<(String, Box<RawValue>)>,
    /// Where the next page begins; `None` when this was the last.
    pub cursor: Option<String>,
}

/// Why stored data could not be read or written. All but [`DataError::Refused`] end the run, whatever it catches.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// Something read before has changed since: the run must be repeated.
    #[error("what the run had read has changed")]
    Conflict,
    /// The run's time was up while waiting.
    #[error("the run's time was up")]
    Deadline,
    /// The run was cancelled while waiting.
    #[error("the run was cancelled")]
    Cancelled,
    /// A limit was passed.
    #[error("{message}")]
    Limit {
        /// The limit's name in [`picloud_core::limits::Limits`].
        name: &'static str,
        /// What was asked and what is allowed.
        message: String,
    },
    /// The run increased what is no integer, or past the range of one. Its commit would be refused: it ends here.
    #[error("{0}")]
    NotANumber(String),
    /// The run was repeated, and would call outside differently than it has done already: it ends here. Says where.
    #[error("{0}")]
    Diverged(String),
    /// The call makes no sense; the script sees it thrown. Names the call and the value.
    #[error("{0}")]
    Refused(String),
    /// The database is away.
    #[error("the database is away")]
    Unavailable,
}

impl DataError {
    /// The same, naming the call where it is the script that is told.
    pub(super) fn of_call(self, call: &str) -> Self {
        match self {
            Self::Refused(why) => Self::Refused(format!("{call}: {why}")),
            other => other,
        }
    }
}
