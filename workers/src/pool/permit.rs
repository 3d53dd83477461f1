//! The right to compute, and giving it back while there is nothing to compute.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use picloud_core::id::AppId;

use super::{
    Shared,
    seat::{Handed, Seat},
};

/// The right of one job to compute. Clones are the same right: they are for those on the job's own thread who wait on
/// its behalf, and mean nothing once the job has ended.
#[derive(Clone)]
pub struct Permit(Arc<Right>);

struct Right {
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    app: AppId,
    held: AtomicBool,
    began: Instant,
    /// When the present slice of computing began, counted from `began`.
    slice_began_us: AtomicU64,
}

impl Permit {
    /// The permit that a job starts with.
    pub(super) fn new(shared: &Arc<Shared>, seat: &Arc<Seat>, app: AppId) -> Self {
        Self(Arc::new(Right {
            shared: Arc::clone(shared),
            seat: Arc::clone(seat),
            app,
            held: AtomicBool::new(true),
            began: Instant::now(),
            slice_began_us: AtomicU64::new(0),
        }))
    }

    /// Makes a blocking call without the right to compute, so that another run may, and takes it again afterwards: in
    /// turn with other apps, and ahead of what its own app has not begun yet.
    pub fn wait<T>(&self, io: impl FnOnce() -> T) -> T {
        if !self.give_back() {
            // Within another wait.
            return io();
        }
        let answer = io();
        self.take_again();
        answer
    }

    /// Lets others compute when some wait for it and this run has had its slice. To be called often while computing:
    /// it looks at one flag, and at the clock only when that is up.
    pub fn breathe(&self) {
        if self.0.shared.wanted.load(Ordering::Relaxed) && self.slice_is_over() {
            self.wait(|| ());
        }
    }

    fn slice_is_over(&self) -> bool {
        let slice_us = self.now_us() - self.0.slice_began_us.load(Ordering::Relaxed);
        u128::from(slice_us) >= self.0.shared.settings.slice.as_micros()
    }

    fn now_us(&self) -> u64 {
        self.0.began.elapsed().as_micros() as u64
    }

    fn give_back(&self) -> bool {
        if !self.0.held.swap(false, Ordering::Relaxed) {
            return false;
        }
        let mut state = self.0.shared.state.lock();
        state.schedule.give_back();
        self.0.shared.dispatch(state);
        true
    }

    fn take_again(&self) {
        let mut state = self.0.shared.state.lock();
        let granted = state.schedule.take_again(self.0.app, &self.0.seat);
        drop(state);
        if !granted {
            match self.0.seat.wait() {
                Handed::Permit => {}
                Handed::Work(_) | Handed::Leave => unreachable!("a thread with work is not parked"),
            }
        }
        self.0.slice_began_us.store(self.now_us(), Ordering::Relaxed);
        self.0.held.store(true, Ordering::Relaxed);
    }

    /// The job is over. Says whether it still held the right: it does not when it panicked while waiting.
    pub(super) fn end(&self) -> bool {
        self.0.held.swap(false, Ordering::Relaxed)
    }
}
