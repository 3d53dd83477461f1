//! What a backup says of itself.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    id::{DataKeyId, HistoryId},
    keys::{CannotOpen, MasterKey},
    log::Position,
    seal::{Hash, SealKey},
};

/// All that has to be known before the first row is read. Fields are only ever added: what changes the meaning of others is
/// another version of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of PiCloud that wrote it.
    pub product: String,
    /// The newest migration of the database.
    pub schema: i64,
    /// The moment it is of, by the database's clock.
    pub taken_at: DateTime<Utc>,
    /// Which life of the log.
    pub history: HistoryId,
    /// The last event in it.
    pub head: Position,
    /// Up to where events may have been dropped, as `log.meta` has it.
    pub floor: Position,
    /// The last change of the triggers, as `log.writer` has it.
    pub triggers: Position,
    /// The last seal of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seal: Option<SealSeen>,
    /// What its secrets are under.
    pub master_key: NeededKey,
    /// How the log is cut.
    pub segments: Vec<Segment>,
    /// What follows, in this order.
    pub tables: Vec<Table>,
}

impl Manifest {
    /// How many rows follow.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }
}

/// A seal, as far as it names itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealSeen {
    /// Counted from 1.
    pub number: u64,
    /// The last event that it is of.
    pub up_to: Position,
    /// What anchors know it by.
    pub hash: Hash,
}

/// A stretch of the log and the tables it lies in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Its first position,
    pub low: i64,
    /// and the first behind it.
    pub high: i64,
    /// Of which classes it still has events.
    pub classes: Vec<String>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// With its schema: `state.app`.
    pub name: String,
    /// In the order in which rows have them.
    pub columns: Vec<String>,
    /// So many rows follow.
    pub rows: u64,
}

/// The master key that a backup needs, which is not in it: its name, and something it opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeededKey {
    /// [`MasterKey::fingerprint`].
    pub fingerprint: String,
    /// The instance's own data key,
    pub data_key: DataKeyId,
    /// wrapped by the master key, Base64.
    pub wrapped: String,
}

impl NeededKey {
    pub(crate) fn new(master: &MasterKey, data_key: DataKeyId, wrapped: &[u8]) -> Self {
        Self { fingerprint: master.fingerprint().to_owned(), data_key, wrapped: BASE64_STANDARD.encode(wrapped) }
    }

    /// The key that the instance signs seals with, if this is the master key.
    ///
    /// # Errors
    /// When it is another.
    pub fn opened_by(&self, master: &MasterKey) -> Result<SealKey, CannotOpen> {
        let wrapped = BASE64_STANDARD.decode(&self.wrapped).map_err(|_| CannotOpen)?;
        let key = master.unwrap_data_key(self.data_key, &wrapped)?;
        Ok(SealKey::from_seed(&key.seal_seed))
    }
}
