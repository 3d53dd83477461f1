//! What follows from the log, made again from it.

use serde::{Deserialize, Serialize};

/// Rows that did not follow from the log were replaced by those that do. Whoever keeps in memory what was read from them reads it
/// again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuilt {
    /// What they are rows of: `state`.
    pub projection: String,
    /// In which tables, those with any.
    pub tables: Vec<Corrected>,
}

/// A table of which some rows were replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Corrected {
    /// Its name.
    pub table: String,
    /// How many were written or deleted.
    pub rows: u64,
}

impl Rebuilt {
    /// Some rows of state were.
    #[must_use]
    pub fn state(tables: Vec<Corrected>) -> Self {
        Self { projection: "state".to_owned(), tables }
    }

    pub(super) fn subject(&self) -> String {
        format!("projection:{}", self.projection)
    }
}
