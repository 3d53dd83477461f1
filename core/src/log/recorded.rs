//! An event as it lies in the log.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{NewEvent, Position};

/// An event with its place and time. Cheap to share: what it says is behind one pointer.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its place.
    pub position: Position,
    /// When it was committed, by the database's clock, never backwards along the log.
    pub at: DateTime<Utc>,
    /// What happened, to whom, by whom.
    pub event: Arc<NewEvent>,
}
