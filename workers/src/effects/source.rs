//! Where stored data comes from: the seam between the overlay and whoever reads the database.

use chrono::{DateTime, Utc};
use picloud_core::{
    keys::Grant,
    log::{Position, Read},
};
use serde_json::value::RawValue;

use crate::sandbox::DataError;

/// Reads one app's stored data. Calls block the run's thread; whoever implements this gives the permit back meanwhile.
pub trait Source: Send + 'static {
    /// A key's row, and the head of the log when it was read, or before.
    ///
    /// # Errors
    /// [`SourceError`], when there is no answer.
    fn get(&mut self, collection: &str, key: &str) -> Result<(Stored, Position), SourceError>;

    /// The first `limit` rows whose key begins with `prefix` and comes after `after`, in the order of the keys' bytes,
    /// and the head of the log when they were read, or before. Fewer than `limit` means there are no more.
    ///
    /// # Errors
    /// [`SourceError`], when there is no answer.
    fn list(
        &mut self,
        collection: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<(String, Stored)>, Position), SourceError>;

    /// Looks whether all of this still holds, as one snapshot; answers a head of the log at which it did.
    ///
    /// # Errors
    /// [`SourceError::Conflict`], when something has changed since it was read.
    fn check(&mut self, reads: &[Read]) -> Result<Position, SourceError>;

    /// A token with which topics of the app can be listened to.
    ///
    /// # Errors
    /// [`SourceError`], when there is no key for it.
    fn subscriber_token(&mut self, grant: &Grant) -> Result<String, SourceError>;

    /// Called every few steps while the run computes: the moment to let others do so.
    fn breathe(&self) {}

    /// Lets the run wait, and others compute meanwhile. `sleep` blocks, and ends with the run at the latest.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`], where nothing may block.
    fn pause(&self, sleep: &mut dyn FnMut()) -> Result<(), SourceError> {
        sleep();
        Ok(())
    }
}

/// A row as it is stored, expired or not; the default is none.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// Its value; `None` when there is no row.
    pub value: Option<Box<RawValue>>,
    /// What last changed it, [`Position::ZERO`] when there is no row.
    pub version: Position,
    /// From when on it reads as absent.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Why stored data could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// What was read before has changed since.
    #[error("what the run had read has changed")]
    Conflict,
    /// The run's time was up while waiting.
    #[error("the run's time was up")]
    Deadline,
    /// The run was cancelled while waiting.
    #[error("the run was cancelled")]
    Cancelled,
    /// The database is away.
    #[error("the database is away")]
    Unavailable,
}

impl From<SourceError> for DataError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Conflict => Self::Conflict,
            SourceError::Deadline => Self::Deadline,
            SourceError::Cancelled => Self::Cancelled,
            SourceError::Unavailable => Self::Unavailable,
        }
    }
}
