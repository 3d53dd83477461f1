//! A part of a list that is in the order of the log.

use picloud_core::log::{Position, read::Direction};
use sqlx::{Postgres, QueryBuilder};

/// Which part.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Which way the list goes.
    pub direction: Direction,
    /// Only what lies behind this place,
    pub after: Position,
    /// and not behind this one.
    pub up_to: Position,
    /// How many at most.
    pub limit: usize,
}

impl Page {
    pub(super) const fn order(&self) -> &'static str {
        match self.direction {
            Direction::Forward => "asc",
            Direction::Backward => "desc",
        }
    }

    pub(super) fn between(&self, query: &mut QueryBuilder<Postgres>) {
        query.push(" and position > ").push_bind(self.after.0).push(" and position <= ").push_bind(self.up_to.0);
    }
}
