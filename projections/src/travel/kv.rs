//! Key-value entries as they were.

use chrono::{DateTime, Utc};
use picloud_core::{
    event::{Class, Event, kv},
    id::AppId,
    log::{
        Position, Recorded,
        read::{Direction, Filter, ReadError, Reader},
    },
    state::kv::{Entry, evolve},
};

use super::{Moment, Past, about, absent};

/// So many events are read at once: a counter is one after another of small ones.
const PAGE: usize = 1_000;

/// An entry; one whose time had run out was gone.
///
/// # Errors
/// When the log cannot be read.
pub async fn entry(
    reader: &Reader,
    app: AppId,
    collection: &str,
    key: &str,
    moment: Moment,
) -> Result<Past<Entry>, ReadError> {
    let (collection, key) = (collection.to_owned(), key.to_owned());
    let filter = about(app, "kv", Event::from(kv::Deleted { collection, key }).subject());
    let floor = reader.floor(Class::Data).await?;
    let mut after = floor;
    // What came before it was last set does not matter any more.
    let mut up_to = moment.position;
    let mut page = reader.list(&filter, Direction::Backward, after, up_to, PAGE).await?;
    while page.len() == PAGE && !page.iter().any(begins_anew) {
        up_to = page.last().map_or(up_to, |first| Position(first.position.0 - 1));
        page = reader.list(&filter, Direction::Backward, after, up_to, PAGE).await?;
    }
    page.reverse();
    let (mut entry, mut last) = match page.first() {
        Some(first) if begins_anew(first) => (None, None),
        Some(_) | None => before_the_log(reader, &filter, floor).await?,
    };
    loop {
        for recorded in &page {
            after = recorded.position;
            if !matches!(recorded.event.event, Event::KvSnapshot(_)) {
                entry = evolve(entry, &recorded.event, recorded.position, recorded.at);
                last = Some(recorded.at);
            }
        }
        // Of the page that was found from the end back nothing is missing; those that follow it are read once more.
        page = reader.list(&filter, Direction::Forward, after, moment.position, PAGE).await?;
        if page.is_empty() {
            break;
        }
    }
    match (entry, last) {
        (Some(entry), _) => match entry.expires_at.filter(|_| entry.is_expired(moment.at)) {
            Some(at) => Ok(Past::Gone { at }),
            None => Ok(Past::Was(entry)),
        },
        (None, Some(at)) => Ok(Past::Gone { at }),
        (None, None) => absent(reader, &filter, moment).await,
    }
}

/// What it was before the oldest part of the log that is left, and since when, as far as that is said.
async fn before_the_log(
    reader: &Reader,
    about: &Filter,
    floor: Position,
) -> Result<(Option<Entry>, Option<DateTime<Utc>>), ReadError> {
    if floor == Position::ZERO {
        return Ok((None, None));
    }
    let filter = Filter { kinds: vec!["kv.snapshot".to_owned()], ..about.clone() };
    let head = reader.head().await?;
    let said = reader.list(&filter, Direction::Backward, floor, head, 1).await?.pop();
    Ok(match said.as_ref().map(|said| (said.position, &said.event.event)) {
        Some((position, Event::KvSnapshot(snapshot))) => (Entry::of(snapshot, position), snapshot.changed_at),
        _ => (None, None),
    })
}

/// Whether what was there before has no part in what is there after.
fn begins_anew(recorded: &Recorded) -> bool {
    matches!(recorded.event.event, Event::KvSet(_) | Event::KvDeleted(_))
}
