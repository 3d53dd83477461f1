//! A moment in the past, as the query names it (`at`): a time, an event or a cursor.
//!
//! What is shown of it was so right after the event, or when the clock showed the time.

use chrono::{DateTime, SecondsFormat, Utc};
use picloud_core::{event::Class, id::EventId, log::Position};
use picloud_projections::{
    setup::App,
    travel::{Moment, Past},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{AdminPlane, access::short, events::unreadable, page, write::database};
use crate::problem::{Kind, Problem};

/// The query of what can be shown as it was.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct At {
    /// As it was then: a time (RFC 3339), right after an event (`evt_…`), or at a cursor of the app's log.
    pub(super) at: Option<String>,
}

/// The query of a list that can be shown as it was.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListAt {
    /// How many items the page has at most.
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// What the page before gave.
    cursor: Option<String>,
    /// As it was then: a time (RFC 3339), right after an event (`evt_…`), or at a cursor of the app's log.
    pub(super) at: Option<String>,
}

impl ListAt {
    /// Which page of it.
    pub(super) fn page(self) -> page::Wanted {
        page::Wanted { limit: self.limit, cursor: self.cursor }
    }
}

impl AdminPlane {
    /// The moment that is meant, if what lies in events of a class can still be told of it.
    pub(super) async fn moment(&self, app: &App, said: &str, class: Class) -> Result<Moment, Problem> {
        let head = self.reader.head().await.map_err(|error| database(&error))?;
        let moment = if said.starts_with(EventId::PREFIX) {
            self.after_event(app, said).await?
        } else if let Ok(time) = said.parse::<DateTime<Utc>>() {
            self.at_time(time, head).await?
        } else {
            self.at_cursor(app, said, head).await?
        };
        self.check_kept(moment, said, class).await?;
        Ok(moment)
    }

    /// Refuses a moment of which the log cannot tell any more, or not yet.
    pub(super) async fn check_kept(&self, moment: Moment, said: &str, class: Class) -> Result<(), Problem> {
        let floor = self.reader.floor(class).await.map_err(|error| database(&error))?;
        if moment.position < floor.max(Position(1)) {
            let head = self.reader.head().await.map_err(|error| database(&error))?;
            let first = self.reader.range(floor, head, 1).await.map_err(|error| unreadable(&error))?.pop();
            let begins =
                first.map_or_else(|| "has no event yet".to_owned(), |first| format!("begins at {}", text(first.at)));
            return Err(wrong(format!("`{}` is before what the log can tell: it {begins}", short(said))));
        }
        Ok(())
    }

    async fn after_event(&self, app: &App, said: &str) -> Result<Moment, Problem> {
        let found = match said.parse() {
            Ok(id) => self.reader.find_near(app.id, id).await.map_err(|error| unreadable(&error))?,
            Err(_) => None,
        };
        found.map(|found| Moment { position: found.position, at: found.at }).ok_or_else(|| {
            wrong(format!("the log of the app `{}` has no event `{}`; `…/events` lists them", app.slug, short(said)))
        })
    }

    async fn at_time(&self, time: DateTime<Utc>, head: Position) -> Result<Moment, Problem> {
        let now = Utc::now();
        if time > now {
            return Err(wrong(format!("`{}` has not come yet: it is {}", text(time), text(now))));
        }
        let position = self.reader.last_at(time, head).await.map_err(|error| unreadable(&error))?;
        Ok(Moment { position, at: time })
    }

    async fn at_cursor(&self, app: &App, said: &str, head: Position) -> Result<Moment, Problem> {
        let key = self.cursor_key(Some(app.id)).await?;
        let position = self.open(&key, "at", said).map_err(|_| {
            wrong(format!(
                "`{}` is no moment of this log: allowed are a time such as 2026-01-31T12:00:00Z (a `+` in a URL is written \
                 %2B), an event `evt_…` and a cursor of this app since the last restore",
                short(said)
            ))
        })?;
        if position > head {
            return Err(wrong(format!("the cursor `{}` is ahead of the log", short(said))));
        }
        let found = self.reader.at(&[position]).await.map_err(|error| unreadable(&error))?;
        // One whose event is gone lies before the floor, which says so.
        let at = found.get(&position).map_or(DateTime::UNIX_EPOCH, |recorded| recorded.at);
        Ok(Moment { position, at })
    }
}

fn wrong(detail: String) -> Problem {
    Problem::new(Kind::InvalidInput, detail).field("at")
}

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// What was there at a moment, or a problem that says why it was not. `what` names it: ``the route `rte_…` ``.
pub(super) fn was<T>(past: Past<T>, what: &str, moment: Moment) -> Result<T, Problem> {
    let then = text(moment.at);
    let detail = match past {
        Past::Was(thing) => return Ok(thing),
        Past::Gone { at } => format!("{what} was not there any more at {then}: it went at {}", text(at)),
        Past::NotYet { at } => format!("{what} was not there yet at {then}: it came at {}", text(at)),
        Past::Never => format!("{what} was not there at {then}, and the log knows of none since"),
    };
    Err(Problem::new(Kind::NotFound, detail))
}
