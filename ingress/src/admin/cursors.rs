//! Cursors of the log, each app's under its own key.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::DateTime;
use picloud_core::{
    id::AppId,
    keys::{Cursor, DataKey},
    log::Position,
};

use picloud_projections::travel::Moment;

use super::{AdminPlane, access::short};
use crate::problem::{Kind, Problem};

/// What the cursor of a list as of a moment begins with: no other list takes it for its own.
const OF_A_MOMENT: &str = "at.";

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

    /// A place in a list as of a moment: when that is, and the name after which a page begins.
    pub(super) fn seal_place(&self, key: &DataKey, moment: Moment, after: &str) -> String {
        let position = self.seal(key, moment.position);
        let place = format!("{position} {} {after}", moment.at.timestamp_micros());
        format!("{OF_A_MOMENT}{}", BASE64_URL_SAFE_NO_PAD.encode(place))
    }

    /// A place that came in.
    pub(super) fn open_place(&self, key: &DataKey, cursor: &str) -> Result<(Moment, String), Problem> {
        let opened = || {
            let place = BASE64_URL_SAFE_NO_PAD.decode(cursor.strip_prefix(OF_A_MOMENT)?).ok()?;
            let place = String::from_utf8(place).ok().filter(|place| !place.contains('\0'))?;
            let mut parts = place.splitn(3, ' ');
            let position = self.open(key, "cursor", parts.next()?).ok()?;
            let at = DateTime::from_timestamp_micros(parts.next()?.parse().ok()?)?;
            Some((Moment { position, at }, parts.next()?.to_owned()))
        };
        opened().ok_or_else(|| {
            let detail =
                format!("`{}` is not a cursor of this list as of a moment: begin anew without one", short(cursor));
            Problem::new(Kind::InvalidInput, detail).field("cursor")
        })
    }
}
