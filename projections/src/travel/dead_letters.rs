//! Dead letters as they were.

use picloud_core::{
    event::Event,
    id::{AppId, DeadLetterId},
    log::{
        Position, Recorded,
        read::{Direction, Filter, ReadError, Reader},
    },
    state::dead_letter::{Standing, evolve},
};

use super::{Moment, Past, about, absent};
use crate::dead_letters::Letter;

/// What takes care of a letter is owed by the commit that makes it: not further behind it than this.
const OWED_WITHIN: usize = 10_000;

/// More than ever happens to a letter.
const EVENTS: usize = 10_000;

/// A letter of an app.
///
/// # Errors
/// When the log cannot be read.
pub async fn dead_letter(
    reader: &Reader,
    app: AppId,
    letter: DeadLetterId,
    moment: Moment,
) -> Result<Past<Letter>, ReadError> {
    let filter = about(app, "dead_letter", letter.to_string());
    let mut events = reader.list(&filter, Direction::Forward, Position::ZERO, moment.position, EVENTS).await?;
    let Some((beginning, last)) = events.first().cloned().zip(events.last().map(|last| last.at)) else {
        return absent(reader, &filter, moment).await;
    };
    events.extend(handlers(reader, app, letter, &beginning, moment).await?);
    events.sort_by_key(|recorded| recorded.position);
    let standing = events
        .iter()
        .fold(None::<Standing>, |standing, recorded| evolve(standing, &recorded.event, recorded.position, recorded.at));
    let (Some(standing), Event::DeadLetterCreated(created)) = (standing, &beginning.event.event) else {
        return Ok(Past::Gone { at: last });
    };
    Ok(Past::Was(Letter {
        created: created.clone(),
        actor: beginning.event.actor.clone(),
        root: beginning.event.root,
        depth: beginning.event.depth,
        created_at: beginning.at,
        resolved: standing.resolved,
        position: standing.position,
    }))
}

/// What was owed to take care of a letter.
async fn handlers(
    reader: &Reader,
    app: AppId,
    letter: DeadLetterId,
    beginning: &Recorded,
    moment: Moment,
) -> Result<Vec<Recorded>, ReadError> {
    let owed = Filter {
        app: Some(Some(app)),
        kinds: vec!["outbox.enqueued".to_owned()],
        // In one commit the clock stands still.
        since: Some(beginning.at),
        until: Some(beginning.at + chrono::TimeDelta::microseconds(1)),
        ..Filter::default()
    };
    let up_to = beginning.position.plus(OWED_WITHIN).min(moment.position);
    let mut found = reader.list(&owed, Direction::Forward, beginning.position, up_to, OWED_WITHIN).await?;
    found.retain(
        |recorded| matches!(&recorded.event.event, Event::OutboxEnqueued(owed) if owed.handles == Some(letter)),
    );
    Ok(found)
}
