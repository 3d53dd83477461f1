//! The cells that closures share with the scope they captured: known, so that they can be emptied.
//!
//! A closure that is assigned to a variable it captures keeps itself alive for ever, and closures that capture each
//! other in a row would be dropped one inside the other until the stack ends. So the cells are ours: the interpreter
//! would make one when a closure is made; we make it just before, when the captured variable is looked up, hold on to
//! it, and empty it from here, never from inside another.

use std::sync::{Arc, PoisonError, RwLock};

use rhai::{Dynamic, Scope};

use super::memory;

/// What closures of a script share.
type Cell = Arc<RwLock<Dynamic>>;

/// How much a run may allocate before the unused cells are looked for again.
const GROWTH_BETWEEN_SWEEPS: isize = 1024 * 1024;
/// A pass that frees one cell in so many is followed by another: what they held may have been the last of others.
const WORTH_ANOTHER_PASS: usize = 16;

/// The cells of one run.
#[derive(Default)]
pub(super) struct Cells {
    known: Vec<Cell>,
    /// At how many cells, or at what use of memory, to sweep next.
    sweep_at: usize,
    sweep_at_used: isize,
}

impl Cells {
    /// Puts the variable into a cell of ours, unless it is in one already. A constant cannot be put into one; it is
    /// answered instead, so that the closure gets a copy.
    pub(super) fn share(&mut self, scope: &mut Scope, name: &str) -> Option<Dynamic> {
        match scope.get_mut(name) {
            None => return scope.get(name).cloned(),
            Some(variable) if variable.is_shared() => return None,
            Some(_) => (),
        }
        self.sweep_when_due();
        // Looked up again: the first look may have answered.
        let variable = scope.get_mut(name)?;
        let cell: Cell = Arc::new(RwLock::new(variable.take()));
        // Our own list is no array of the script's.
        memory::unwatched(|| self.known.push(Arc::clone(&cell)));
        *variable = Dynamic::from(cell);
        None
    }

    fn sweep_when_due(&mut self) {
        if self.known.len() < self.sweep_at && memory::used() < self.sweep_at_used {
            return;
        }
        loop {
            let mut freed = 0;
            // Newest first: what a closure captured is usually older than it, and becomes unused with it.
            for cell in self.known.iter().rev().filter(|cell| Arc::strong_count(cell) == 1) {
                drop(take(cell));
                freed += 1;
            }
            let before = self.known.len();
            self.known.retain(|cell| Arc::strong_count(cell) > 1);
            // A pass that freed little is not worth another.
            if freed * WORTH_ANOTHER_PASS < before || freed == 0 {
                break;
            }
        }
        self.sweep_at = (self.known.len() * 2).max(64);
        self.sweep_at_used = memory::used() + GROWTH_BETWEEN_SWEEPS;
    }

    /// Empties all of them. To be called when nothing of the run is needed any more.
    pub(super) fn empty(self) {
        for cell in &self.known {
            // All cells are held here: this drops no other cell's content.
            drop(take(cell));
        }
    }
}

fn take(cell: &Cell) -> Dynamic {
    std::mem::take(&mut *cell.write().unwrap_or_else(PoisonError::into_inner))
}
