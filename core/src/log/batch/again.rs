//! The rows of events that are in the log already: nothing is appended, and nobody asks by what right.

use super::{Arrays, Folded};
use crate::{id::AppId, log::NewEvent};

impl<'a> Arrays<'a> {
    /// Lays out what follows from these events, as far as one follows the other in one batch: how many of them do.
    pub fn again(events: impl Iterator<Item = &'a NewEvent>) -> (Self, usize) {
        let mut arrays = Self::default();
        let mut folded = Folded::default();
        for event in events {
            // Whose an item is stands beside its event, which is asked for by its number.
            let offset = arrays.event_app.len() as i32 + 1;
            if folded.take(event.app, &event.event, offset).is_err() {
                break;
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
