//! How things were: folded from the log as of a moment, by the same functions that keep what is read from now
//! ([`picloud_core::state`]).
//!
//! A file a noun. What cannot be told is an error; that something was not there is an answer, a [`Past`] that says why.

mod dead_letters;
mod entries;
mod history;
mod kv;
mod routes;
mod scripts;
mod triggers;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use picloud_core::{
    id::AppId,
    log::{
        NewEvent, Position,
        read::{Direction, Filter, ReadError, Reader},
    },
};

pub use dead_letters::dead_letter;
pub use entries::{EntriesPage, PastEntries};
pub use history::{Change, History, history};
pub use kv::entry;
pub use routes::{route, routes};
pub use scripts::{Script, script, script_named, scripts};
pub use triggers::{trigger, triggers};

/// So many events are read at once: a script's can be a megabyte each.
const PAGE: usize = 100;

/// A moment: right after an event, or some time after it and before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The last event that had happened.
    pub position: Position,
    /// What the clock showed.
    pub at: DateTime<Utc>,
}

/// How something was at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Past<T> {
    /// There it was.
    Was(T),
    /// It had gone by then.
    Gone {
        /// When.
        at: DateTime<Utc>,
    },
    /// It came to be later.
    NotYet {
        /// When.
        at: DateTime<Utc>,
    },
    /// The log knows nothing of it.
    Never,
}

/// What an event makes of a thing.
type Evolve<T> = fn(Option<T>, &NewEvent, Position, DateTime<Utc>) -> Option<T>;

/// Everything of a noun that happened to one thing.
fn about(app: AppId, noun: &str, subject: String) -> Filter {
    Filter { subject: Some(subject), ..all(app, noun) }
}

/// Everything of a noun that happened to an app's things.
fn all(app: AppId, noun: &str) -> Filter {
    Filter { app: Some(Some(app)), kinds: vec![noun.to_owned()], ..Filter::default() }
}

/// A thing of which a filter finds all that happened to it.
async fn thing<T>(reader: &Reader, filter: &Filter, moment: Moment, evolve: Evolve<T>) -> Result<Past<T>, ReadError> {
    let (mut state, mut last) = (None, None);
    let mut after = Position::ZERO;
    loop {
        let events = reader.list(filter, Direction::Forward, after, moment.position, PAGE).await?;
        for recorded in &events {
            state = evolve(state, &recorded.event, recorded.position, recorded.at);
            last = Some(recorded.at);
            after = recorded.position;
        }
        if events.len() < PAGE {
            break;
        }
    }
    match (state, last) {
        (Some(thing), _) => Ok(Past::Was(thing)),
        (None, Some(at)) => Ok(Past::Gone { at }),
        (None, None) => absent(reader, filter, moment).await,
    }
}

/// Something that had not come to be by then.
async fn absent<T>(reader: &Reader, filter: &Filter, moment: Moment) -> Result<Past<T>, ReadError> {
    let head = reader.head().await?;
    let first = reader.list(filter, Direction::Forward, moment.position, head, 1).await?.pop();
    Ok(first.map_or(Past::Never, |first| Past::NotYet { at: first.at }))
}

/// All things of a noun: what is folded is told apart by what each event is about.
async fn things<T>(reader: &Reader, filter: &Filter, moment: Moment, evolve: Evolve<T>) -> Result<Vec<T>, ReadError> {
    let mut things = BTreeMap::<String, T>::new();
    let mut after = Position::ZERO;
    loop {
        let events = reader.list(filter, Direction::Forward, after, moment.position, PAGE).await?;
        for recorded in &events {
            let subject = &recorded.event.subject;
            let before = things.remove(subject);
            if let Some(thing) = evolve(before, &recorded.event, recorded.position, recorded.at) {
                things.insert(subject.clone(), thing);
            }
            after = recorded.position;
        }
        if events.len() < PAGE {
            return Ok(things.into_values().collect());
        }
    }
}
