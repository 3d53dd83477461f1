//! The cells that closures share with the scope they captured: known, so that they can be emptied.
//!
//! A closure that is assigned to a variable it captures keeps itself alive for ever. The interpreter makes a cell when
//! a closure is made; we make it just before, when the captured variable is looked up, and remember it weakly.

use std::sync::{Arc, PoisonError, RwLock};

use rhai::{Dynamic, Scope};

use super::current::{SharedCell, WeakCell};

/// The cells of one run.
#[derive(Default)]
pub(super) struct Cells {
    known: Vec<WeakCell>,
    /// How many to collect before the dead ones are looked for.
    sweep_at: usize,
}

impl Cells {
    /// Puts the variable into a cell of ours, unless it is in one already or constant.
    pub(super) fn share(&mut self, scope: &mut Scope, name: &str) {
        let Some(variable) = scope.get_mut(name).filter(|variable| !variable.is_shared()) else { return };
        let cell: SharedCell = Arc::new(RwLock::new(variable.take()));
        self.remember(&cell);
        *variable = Dynamic::from(cell);
    }

    fn remember(&mut self, cell: &SharedCell) {
        if self.known.len() >= self.sweep_at {
            self.known.retain(|cell| cell.strong_count() > 0);
            self.sweep_at = (self.known.len() * 2).max(64);
        }
        self.known.push(Arc::downgrade(cell));
    }

    /// Empties all that are still alive. To be called when nothing of the run is needed any more.
    pub(super) fn empty(self) {
        for cell in self.known {
            let Some(cell) = cell.upgrade() else { continue };
            let content = std::mem::take(&mut *cell.write().unwrap_or_else(PoisonError::into_inner));
            // Outside the lock: dropping a closure may drop this very cell.
            drop(content);
        }
    }
}
