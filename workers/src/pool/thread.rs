//! The life of one thread of the pool: work, the next work, a rest, and an end when nobody needs it.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use parking_lot::MutexGuard;
use tracing::error;

use super::{
    Permit, Shared, State,
    schedule::{Next, Work},
    seat::{Handed, Seat},
};

/// Makes a thread that begins with what lies on its seat, if anything does.
pub(super) fn start(shared: &Arc<Shared>, state: &mut MutexGuard<'_, State>, seat: &Arc<Seat>) -> io::Result<()> {
    state.threads += 1;
    let worker = Worker { shared: Arc::clone(shared), seat: Arc::clone(seat) };
    let builder = thread::Builder::new().name("picloud-run".to_owned()).stack_size(shared.settings.stack_bytes);
    // Making a thread takes as long as fifty jobs: not under the lock.
    match MutexGuard::unlocked(state, || builder.spawn(move || worker.live())) {
        Ok(handle) => {
            state.handles.push(handle);
            Ok(())
        }
        Err(error) => {
            state.threads -= 1;
            Err(error)
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    seat: Arc<Seat>,
}

impl Worker {
    fn live(&self) {
        let mut work = match self.seat.take() {
            Some(Handed::Work(work)) => Some(work),
            Some(Handed::Permit | Handed::Leave) | None => self.next(self.shared.state.lock()),
        };
        while let Some(current) = work {
            let state = self.perform(current);
            work = self.next(state);
        }
    }

    /// Runs a job to its end, whichever that is.
    fn perform(&self, work: Work) -> MutexGuard<'_, State> {
        let Work { app, job, .. } = work;
        let permit = Permit::new(&self.shared, &self.seat, app);
        if catch_unwind(AssertUnwindSafe(|| job(&permit))).is_err() {
            error!(app.id = %app, "A run panicked; its thread goes on");
        }
        let held = permit.end();
        let mut state = self.shared.state.lock();
        state.schedule.end(app, held);
        state
    }

    /// The next job: at once when there is one, else after a rest. None, when this thread is to end.
    fn next(&self, mut state: MutexGuard<'_, State>) -> Option<Work> {
        let mut resumed: Option<Arc<Seat>> = None;
        while let Some(next) = state.schedule.next() {
            match next {
                Next::Start(work) => {
                    self.shared.dispatch(state);
                    wake(resumed);
                    return Some(work);
                }
                Next::Resume(seat) => {
                    seat.hand(Handed::Permit);
                    wake(resumed.replace(seat));
                }
            }
        }
        if state.is_done() {
            self.leave(state);
            wake(resumed);
            return None;
        }
        state.parked.push(Arc::clone(&self.seat));
        let stays = state.parked.len() <= self.shared.settings.permits;
        drop(state);
        wake(resumed);
        self.rest(stays)
    }

    /// Waits for work; a thread that need not stay ends when none comes for long.
    fn rest(&self, stays: bool) -> Option<Work> {
        let handed = if stays { Some(self.seat.wait()) } else { self.seat.wait_for(self.shared.settings.idle) };
        let handed = match handed {
            Some(handed) => handed,
            None => {
                let mut state = self.shared.state.lock();
                if let Some(at) = state.parked.iter().position(|seat| Arc::ptr_eq(seat, &self.seat)) {
                    state.parked.remove(at);
                    // Nobody needs to join a thread that ended long before the pool does.
                    state.handles.retain(|handle| handle.thread().id() != thread::current().id());
                    self.leave(state);
                    return None;
                }
                drop(state);
                // Handed something in the same moment.
                self.seat.wait()
            }
        };
        match handed {
            Handed::Work(work) => Some(work),
            Handed::Permit | Handed::Leave => {
                self.leave(self.shared.state.lock());
                None
            }
        }
    }

    fn leave(&self, mut state: MutexGuard<'_, State>) {
        state.threads -= 1;
        state.let_go_when_done();
        if state.threads == 0 {
            self.shared.empty.notify_all();
        }
    }
}

fn wake(seat: Option<Arc<Seat>>) {
    if let Some(seat) = seat {
        seat.wake();
    }
}
