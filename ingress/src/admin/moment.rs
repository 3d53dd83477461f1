//! From a time to a place in the log.

use chrono::{DateTime, Utc};
use picloud_core::log::{
    Position,
    read::{Direction, Filter},
};

use super::{AdminPlane, events::unreadable};
use crate::problem::Problem;

/// So few events are looked through rather than searched.
const NEAR_ENOUGH: i64 = 1_000;

impl AdminPlane {
    /// Two places close to each other: what lies up to the first happened before a time, what lies after the second did not.
    ///
    /// Times never go backwards along the log, so halving finds them.
    pub(super) async fn around(&self, time: DateTime<Utc>, head: Position) -> Result<(Position, Position), Problem> {
        let (mut before, mut after) = (0, head.0);
        while after - before > NEAR_ENOUGH {
            let middle = before + (after - before) / 2;
            let next = self.reader.list(&Filter::default(), Direction::Forward, Position(middle), head, 1).await;
            match next.map_err(|error| unreadable(&error))?.pop() {
                Some(next) if next.at < time => before = next.position.0,
                _ => after = middle,
            }
        }
        Ok((Position(before), Position(after)))
    }
}
