//! Where one thread of the pool waits for what it is handed.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::schedule::Work;

/// One thread's place. It waits here for one thing at a time: work while it is parked, a permit while it has work.
#[derive(Default)]
pub(super) struct Seat {
    handed: Mutex<Option<Handed>>,
    woken: Condvar,
}

/// What a waiting thread gets.
pub(super) enum Handed {
    /// A job to run, with its permit.
    Work(Work),
    /// The permit that its job asked back.
    Permit,
    /// The word that there will be no more.
    Leave,
}

impl Seat {
    /// Puts something down for the thread; [`Seat::wake`] follows when locks are let go of.
    pub(super) fn hand(&self, handed: Handed) {
        *self.handed.lock() = Some(handed);
    }

    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    /// What lies there, without waiting.
    pub(super) fn take(&self) -> Option<Handed> {
        self.handed.lock().take()
    }

    /// Waits for as long as it takes.
    pub(super) fn wait(&self) -> Handed {
        let mut handed = self.handed.lock();
        loop {
            match handed.take() {
                Some(handed) => return handed,
                None => self.woken.wait(&mut handed),
            }
        }
    }

    /// Waits for a while.
    pub(super) fn wait_for(&self, patience: Duration) -> Option<Handed> {
        self.wait_until(Instant::now() + patience)
    }

    /// Waits until a moment.
    pub(super) fn wait_until(&self, deadline: Instant) -> Option<Handed> {
        let mut handed = self.handed.lock();
        while handed.is_none() && !self.woken.wait_until(&mut handed, deadline).timed_out() {}
        handed.take()
    }
}
