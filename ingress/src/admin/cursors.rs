//! Cursors of the log, each app's under its own key.

use std::sync::Arc;

use picloud_core::{
    id::AppId,
    keys::{Cursor, DataKey},
    log::Position,
};

use super::AdminPlane;
use crate::problem::{Kind, Problem};

impl AdminPlane {
    /// The key that an app's cursors, or (`None`) the instance's, are under.
    pub(super) async fn cursor_key(&self, app: Option<AppId>) -> Result<Arc<DataKey>, Problem> {
        match app {
            None => Ok(Arc::clone(self.keyring.instance())),
            Some(app) => self.keyring.app(app).await.map_err(|error| Problem::internal(&error)),
        }
    }

    /// A position as it goes out.
    pub(super) fn seal(&self, key: &DataKey, position: Position) -> String {
        Cursor { history: self.history, position }.seal(key)
    }

    /// A position that came in.
    pub(super) fn open(&self, key: &DataKey, field: &'static str, cursor: &str) -> Result<Position, Problem> {
        Cursor::open(cursor, key, self.history)
            .map(|cursor| cursor.position)
            .map_err(|invalid| Problem::new(Kind::InvalidInput, invalid.to_string()).field(field))
    }
}
