//! How new is what lists show: what was answered before is in them, if it can be waited for.

use std::time::Duration;

use picloud_core::log::Position;

use super::{AdminPlane, events::Scope, write::database};
use crate::problem::{Kind, Problem};

/// For how long a list waits until it shows all there was when it was asked for: views follow closely.
const USUALLY: Duration = Duration::from_millis(300);

/// For how long it waits for a change that it was asked to show.
const FOR_A_CHANGE: Duration = Duration::from_secs(5);

impl AdminPlane {
    /// Waits until a view shows all there is, or what a cursor says was written. Whether it does: what is asked for without
    /// a cursor is answered as it is.
    pub(super) async fn fresh(&self, view: &str, scope: &Scope, min_cursor: Option<&str>) -> Result<bool, Problem> {
        let Some(cursor) = min_cursor else {
            return self.views.reach(view, self.head(), USUALLY).await.map_err(|error| database(&error));
        };
        let position: Position = self.open(&scope.key, "min_cursor", cursor)?;
        if self.views.reach(view, position, FOR_A_CHANGE).await.map_err(|error| database(&error))? {
            return Ok(true);
        }
        let detail =
            "what this list is read from has not come as far as `min_cursor` yet: try again, or look at `/readyz`";
        Err(Problem::new(Kind::Unavailable, detail).field("min_cursor"))
    }
}
