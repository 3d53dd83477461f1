//! Pages of lists that are searched for, in the log or beside it: they end where the time is up, and say so.

use std::borrow::Cow;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use picloud_core::log::{Position, read::Direction};
use picloud_projections::views;
use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, RefOr, SchemaFormat,
        schema::{ObjectBuilder, Schema, SchemaType, Type},
    },
};

use super::{
    AdminPlane,
    events::{Scope, unreadable},
    page::Page,
    write::database,
};
use crate::problem::Problem;

/// A part of a list that may be short, or empty, before the list is at its end.
#[derive(Debug, Serialize)]
pub(super) struct Searched<T> {
    #[serde(flatten)]
    pub(super) page: Page<T>,
    /// How far was searched, when the time was up before the page was full.
    pub(super) searched_to: Option<super::time::Time>,
}

impl<T: ToSchema> PartialSchema for Searched<T> {
    fn schema() -> RefOr<Schema> {
        let RefOr::T(Schema::Object(page)) = Page::<T>::schema() else { unreachable!("a page is an object") };
        let searched_to = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some(
                "Not null: finding a whole page took too long, so it is short, or empty. What matches from its beginning \
                 to this time is in it, and `cursor` goes on from there.",
            ));
        ObjectBuilder::from(page).property("searched_to", searched_to).required("searched_to").into()
    }
}

impl<T: ToSchema> ToSchema for Searched<T> {
    fn name() -> Cow<'static, str> {
        Page::<T>::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Page::<T>::schemas(schemas);
    }
}

/// What was found for a page, and one more if there is one; or where the search stopped.
pub(super) struct Found<T> {
    pub(super) items: Vec<T>,
    pub(super) stopped: Option<Position>,
}

impl AdminPlane {
    /// What was found, as it goes out.
    pub(super) async fn searched<F, T>(
        &self,
        scope: &Scope,
        page: views::Page,
        mut found: Found<F>,
        position: impl Fn(&F) -> Position,
        show: impl FnMut(F) -> T,
    ) -> Result<Searched<T>, Problem> {
        let has_more = found.items.len() > page.limit;
        found.items.truncate(page.limit);
        let last = found.items.last().filter(|_| has_more).map(position);
        let searched_to = match found.stopped {
            Some(place) => self.about(page.direction, place).await?.map(super::time::Time),
            None => None,
        };
        let cursor = last.or(found.stopped).map(|position| scope.seal(position));
        let page = Page { items: found.items.into_iter().map(show).collect(), cursor };
        Ok(Searched { page, searched_to })
    }

    /// A time that a search has passed when it stands at a place. Not exactly: what lies there may be another app's.
    async fn about(&self, direction: Direction, place: Position) -> Result<Option<DateTime<Utc>>, Problem> {
        let head = self.reader.head().await.map_err(|error| database(&error))?;
        let at = self.reader.time_near(place, head).await.map_err(|error| unreadable(&error))?;
        Ok(at.map(|at| whole_minute(direction, at)))
    }
}

/// The last whole minute that one who goes this way has behind himself.
fn whole_minute(direction: Direction, at: DateTime<Utc>) -> DateTime<Utc> {
    let minute = TimeDelta::minutes(1);
    let down = at.duration_trunc(minute).unwrap_or(at);
    match direction {
        Direction::Forward => down,
        Direction::Backward if down == at => at,
        Direction::Backward => down + minute,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_said_to_be_searched_is() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("a time");
        let (early, late) = (at("2026-03-01T12:34:00Z"), at("2026-03-01T12:35:00Z"));
        let between = at("2026-03-01T12:34:56.789012Z");
        assert_eq!(whole_minute(Direction::Forward, between), early);
        assert_eq!(whole_minute(Direction::Backward, between), late);
        assert_eq!(whole_minute(Direction::Forward, early), early);
        assert_eq!(whole_minute(Direction::Backward, early), early);
    }
}
