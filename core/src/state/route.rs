//! Routes.

use chrono::{DateTime, Utc};

use crate::{
    event::{
        Event,
        route::{Bound, Definition, Updated},
    },
    id::RouteId,
    log::{NewEvent, Position},
};

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its id.
    pub id: RouteId,
    /// What it says.
    pub definition: Definition,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// The event that last changed it.
    pub position: Position,
}

/// A route after an event about it; none when it is gone.
#[must_use]
pub fn evolve(before: Option<Route>, new: &NewEvent, position: Position, at: DateTime<Utc>) -> Option<Route> {
    match &new.event {
        Event::RouteBound(Bound { route, definition }) | Event::RouteUpdated(Updated { route, definition }) => {
            let created_at = before.map_or(at, |before| before.created_at);
            Some(Route { id: *route, definition: definition.clone(), created_at, position })
        }
        Event::RouteUnbound(_) => None,
        _ => before,
    }
}
