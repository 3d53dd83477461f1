//! The right to compute, and giving it back while there is nothing to compute.

use std::{
    sync::{
        Arc, OnceLock,
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
    /// From when on it is not waited for any more.
    deadline: OnceLock<Instant>,
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
            deadline: OnceLock::new(),
        }))
    }

    /// Says when the job has to be over; the first word counts. It does not wait for the right to compute past that: what
    /// is left is to end, and it does so without.
    pub fn ends_by(&self, deadline: Instant) {
        self.0.deadline.get_or_init(|| deadline);
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
        if !granted && !self.wait_for_turn() {
            return;
        }
        self.0.slice_began_us.store(self.now_us(), Ordering::Relaxed);
        self.0.held.store(true, Ordering::Relaxed);
    }

    /// Says whether the turn came before the deadline.
    fn wait_for_turn(&self) -> bool {
        let handed = match self.0.deadline.get() {
            None => Some(self.0.seat.wait()),
            Some(deadline) => self.0.seat.wait_until(*deadline),
        };
        let handed = handed.or_else(|| {
            let left = self.0.shared.state.lock().schedule.stop_waiting(self.0.app, &self.0.seat);
            // Not in the line any more: it was handed in the same moment.
            if left { None } else { Some(self.0.seat.wait()) }
        });
        match handed {
            None => false,
            Some(Handed::Permit) => true,
            Some(Handed::Work(_) | Handed::Leave) => unreachable!("a thread with work is not parked"),
        }
    }

    /// The job is over. Says whether it still held the right: it does not when it panicked while waiting, or waited past
    /// its deadline.
    pub(super) fn end(&self) -> bool {
        self.0.held.swap(false, Ordering::Relaxed)
    }
}
