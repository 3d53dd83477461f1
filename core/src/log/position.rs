//! An event's place in the log.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Gapless, counted from 1 in the order of commits; 0 is before the first event. Positions count what all apps do: only
/// instance operators see them, everybody else gets a [`crate::keys::Cursor`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Position(pub i64);

impl Position {
    /// Before the first event; as a row's version: there is no row.
    pub const ZERO: Self = Self(0);

    /// The place `n` further on.
    #[must_use]
    pub const fn plus(self, n: usize) -> Self {
        Self(self.0 + n as i64)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
