//! The rows of events that are in the log already: nothing is appended, and nobody asks by what right.

use std::collections::HashSet;

use super::{Arrays, Folded};
use crate::{event::Event, id::AppId, log::NewEvent};

impl<'a> Arrays<'a> {
    /// Lays out what follows from these events, as far as one follows the other in one batch: how many of them do. `gone` are the
    /// apps that were deleted.
    pub fn again(events: impl Iterator<Item = &'a NewEvent>, gone: &mut HashSet<AppId>) -> (Self, usize) {
        let mut arrays = Self::default();
        let mut folded = Folded::default();
        for event in events {
            // Whose an item is stands beside its event, which is asked for by its number.
            let offset = arrays.event_app.len() as i32 + 1;
            match &event.event {
                // What an app had is swept, and nobody says when: an increase by a run that outlived it found nothing, where
                // here something might be in its way.
                Event::KvSet(_) | Event::KvIncreased(_) | Event::KvDeleted(_)
                    if event.app.is_some_and(|app| gone.contains(&app)) => {}
                other => {
                    if folded.take(event.app, other, offset).is_err() {
                        break;
                    }
                    if let Event::AppDeleted(deleted) = other {
                        gone.insert(deleted.app);
                    }
                }
            }
            arrays.event_app.push(event.app.map(AppId::uuid));
        }
        let count = arrays.event_app.len();
        arrays.rows(folded);
        (arrays, count)
    }

    /// Whether no row follows from it that the function writes.
    pub fn has_no_rows(&self) -> bool {
        self.is_plain()
    }
}
