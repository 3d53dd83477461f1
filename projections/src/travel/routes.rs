//! Routes as they were.

use picloud_core::{
    id::{AppId, RouteId},
    log::read::{ReadError, Reader},
    state::route::{Route, evolve},
};

use super::{Moment, Past, about, all, thing, things};

/// A route of an app.
///
/// # Errors
/// When the log cannot be read.
pub async fn route(reader: &Reader, app: AppId, route: RouteId, moment: Moment) -> Result<Past<Route>, ReadError> {
    thing(reader, &about(app, "route", route.to_string()), moment, evolve).await
}

/// All routes that an app had.
///
/// # Errors
/// When the log cannot be read.
pub async fn routes(reader: &Reader, app: AppId, moment: Moment) -> Result<Vec<Route>, ReadError> {
    things(reader, &all(app, "route"), moment, evolve).await
}
