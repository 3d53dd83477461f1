//! Back through the log: a run's lines are met before its beginning, which names the script.

use std::collections::HashMap;

use picloud_core::{
    event::Event,
    id::InvocationId,
    log::{
        Position, Recorded,
        read::{Direction, Filter},
    },
};
use picloud_projections::setup::App;

use super::{
    Wanted,
    line::{self, Line, Origin},
};
use crate::{
    admin::{
        AdminPlane,
        events::{Scope, unreadable},
        write::database,
    },
    problem::Problem,
};

/// How many events are looked at for one page: a filter that hardly anything matches gives short pages with a cursor.
const MAX_LOOKED_AT: usize = 20_000;

/// How many are read at once.
const CHUNK: usize = 1_000;

pub(super) struct Walk<'a> {
    pub(super) app: &'a App,
    pub(super) wanted: Wanted,
    pub(super) limit: usize,
    pub(super) before: Option<Position>,
}

/// What was seen on the way.
#[derive(Default)]
struct Seen {
    /// Newest first.
    said: Vec<Recorded>,
    begun: HashMap<InvocationId, Origin>,
}

impl Seen {
    fn take(&mut self, found: Vec<Recorded>) {
        for recorded in found {
            match &recorded.event.event {
                Event::InvocationStarted(started) => {
                    self.begun.insert(started.invocation, started.into());
                }
                event if line::run_of(event).is_some() => self.said.push(recorded),
                _ => {}
            }
        }
    }

    fn origin(&self, recorded: &Recorded) -> Option<Origin> {
        self.begun.get(&line::run_of(&recorded.event.event)?).copied()
    }
}

impl Walk<'_> {
    /// The lines that match, newest first, and where to go on.
    pub(super) async fn run(
        &self,
        plane: &AdminPlane,
        scope: &Scope,
    ) -> Result<(Vec<Line>, Option<Position>), Problem> {
        let kinds = ["invocation.started", "invocation.logged", "invocation.failed"];
        let filter =
            Filter { app: Some(Some(self.app.id)), kinds: kinds.map(str::to_owned).into(), ..Filter::default() };
        let head = plane.reader.head().await.map_err(|error| database(&error))?;
        let mut up_to = self.before.map_or(head, |before| Position(before.0 - 1).min(head));
        let mut seen = Seen::default();
        for _ in 0..MAX_LOOKED_AT / CHUNK {
            let found = plane.reader.list(&filter, Direction::Backward, Position::ZERO, up_to, CHUNK).await;
            let found = found.map_err(|error| unreadable(&error))?;
            let next = found.last().filter(|_| found.len() == CHUNK).map(|last| Position(last.position.0 - 1));
            seen.take(found);
            let page = self.page(&seen, scope, next.is_none());
            match (page, next) {
                (Page::Full(lines, last), _) => return Ok((lines, Some(last))),
                (Page::Short(lines), None) => return Ok((lines, None)),
                (Page::Short(_), Some(next)) => up_to = next,
            }
        }
        match self.page(&seen, scope, true) {
            Page::Full(lines, last) => Ok((lines, Some(last))),
            // Where the next page begins, all of this has been seen.
            Page::Short(lines) => Ok((lines, Some(up_to.plus(1)))),
        }
    }

    /// What is known so far. A run whose beginning may still be met ends it, unless there is no further.
    fn page(&self, seen: &Seen, scope: &Scope, is_end: bool) -> Page {
        let mut lines = Vec::new();
        for recorded in &seen.said {
            let origin = seen.origin(recorded);
            if origin.is_none() && !is_end {
                break;
            }
            lines.extend(line::lines(recorded, origin, &self.wanted, Some(self.app), scope).into_iter().rev());
            if lines.len() >= self.limit {
                return Page::Full(lines, recorded.position);
            }
        }
        Page::Short(lines)
    }
}

enum Page {
    Full(Vec<Line>, Position),
    Short(Vec<Line>),
}
