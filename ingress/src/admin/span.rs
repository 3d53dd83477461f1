//! Which part of the log a list is wanted of, as the query says it.

use chrono::{DateTime, Utc};
use futures::future::try_join;
use picloud_core::log::{Position, read::Direction};
use picloud_projections::views::Page;

use super::{
    AdminPlane,
    access::short,
    events::{Scope, unreadable},
    page,
    write::database,
};
use crate::problem::{Kind, Problem};

/// What the query says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span<'a> {
    /// Behind that.
    pub(super) after: Option<&'a str>,
    /// Before that.
    pub(super) before: Option<&'a str>,
    /// What a page gave: `after` or `before`, whichever way the list goes.
    pub(super) cursor: Option<&'a str>,
    /// `asc` or `desc`; not said: newest first.
    pub(super) order: Option<&'a str>,
    /// Not earlier.
    pub(super) since: Option<DateTime<Utc>>,
    /// Earlier.
    pub(super) until: Option<DateTime<Utc>>,
    /// How many.
    pub(super) limit: Option<usize>,
}

impl Span<'_> {
    /// The part of the log, up to a head at most. Times make it smaller, but not exactly as they say.
    pub(super) async fn page(&self, plane: &AdminPlane, scope: &Scope) -> Result<Page, Problem> {
        let direction = self.direction()?;
        let limit = page::limit(self.limit)?;
        let open = |field, text: Option<&str>| text.map(|text| plane.open(&scope.key, field, text)).transpose();
        let (mut after, mut before) = (open("after", self.after)?, open("before", self.before)?);
        if let Some(cursor) = open("cursor", self.cursor)? {
            match direction {
                Direction::Forward => after = Some(after.map_or(cursor, |after| after.max(cursor))),
                Direction::Backward => before = Some(before.map_or(cursor, |before| before.min(cursor))),
            }
        }
        let head = plane.reader.head().await.map_err(|error| database(&error))?;
        let mut after = after.unwrap_or_default();
        let mut up_to = before.map_or(head, |before| Position(before.0 - 1).min(head));
        let around = async |time: Option<DateTime<Utc>>| match time {
            Some(time) => plane.reader.around(time, head).await.map(Some),
            None => Ok(None),
        };
        let (since, until) =
            try_join(around(self.since), around(self.until)).await.map_err(|error| unreadable(&error))?;
        if let Some((place, _)) = since {
            after = after.max(place);
        }
        if let Some((_, place)) = until {
            up_to = up_to.min(place);
        }
        Ok(Page { direction, after, up_to, limit })
    }

    /// Whether a time is between those that were asked for.
    pub(super) fn spans(&self, at: DateTime<Utc>) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
    }

    /// Which way the list goes.
    fn direction(&self) -> Result<Direction, Problem> {
        match self.order {
            Some("asc") => Ok(Direction::Forward),
            None | Some("desc") => Ok(Direction::Backward),
            Some(other) => {
                let detail = format!("order is `{}`: allowed are `asc` and `desc`", short(other));
                Err(Problem::new(Kind::InvalidInput, detail).field("order"))
            }
        }
    }
}
