//! Where scripts run: threads with large stacks, and permits that say how many of them may compute at once.
//!
//! A run holds a thread from its beginning to its end, and a [`Permit`] only while it computes: [`Permit::wait`] gives
//! the permit back for the time of a blocking call. So there are about as many runs computing as there are cores, and
//! hundreds that wait. Both are handed round between apps in turn (`schedule`), however much one of them asks for.
//!
//! What a run does, and within which time, is its own business: the pool only says when.

mod permit;
mod schedule;
mod seat;
mod thread;

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, MutexGuard};
use picloud_core::id::AppId;
use tracing::warn;

pub use permit::Permit;
use schedule::{Next, Schedule, Work};
use seat::{Handed, Seat};

/// How many calls of scripts to scripts of their own platform may stand inside each other.
pub const MAX_HOPS: u8 = 8;

/// What runs on the pool. It gets the permit it starts with.
type Job = Box<dyn FnOnce(&Permit) + Send>;

/// How large a pool is and what one app may take of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many runs compute at once, about the number of cores.
    pub permits: usize,
    /// The most threads, each holding one run, computing or waiting; [`MAX_HOPS`] more are kept for nested runs.
    pub max_threads: usize,
    /// The stack of each; only what a run touches of it takes memory.
    pub stack_bytes: usize,
    /// After how much idleness a thread that is not of the first `permits` ends.
    pub idle: Duration,
    /// The most runs of one app, computing or waiting; nested ones have [`MAX_HOPS`] more.
    pub app_running: usize,
    /// The most jobs of one app that wait for their turn.
    pub app_queued: usize,
    /// The most jobs of all apps that wait for their turn.
    pub queued: usize,
    /// How long a run computes before it lets others in that wait for a permit, see [`Permit::breathe`].
    pub slice: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            permits: std::thread::available_parallelism().map_or(2, usize::from),
            max_threads: 256,
            stack_bytes: 16 * 1024 * 1024,
            idle: Duration::from_secs(10),
            app_running: 64,
            app_queued: 1024,
            queued: 8192,
            slice: Duration::from_millis(10),
        }
    }
}

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The app has as many jobs waiting as it may, or all apps together have.
    #[error("too many runs are waiting")]
    Busy,
    /// The pool is closed.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// The threads and their permits. Dropping it closes it, and does not wait for what runs.
pub struct Pool {
    shared: Arc<Shared>,
}

/// What the threads of a pool and its owner share.
struct Shared {
    settings: Settings,
    state: Mutex<State>,
    /// Whether someone waits for a permit: the schedule's, here so that a computing run can look without the lock.
    wanted: Arc<AtomicBool>,
    /// The last thread has ended.
    empty: Condvar,
}

struct State {
    schedule: Schedule,
    /// Threads without work, the last parked on top: its caches are the warmest, and those below can end.
    parked: Vec<Arc<Seat>>,
    threads: usize,
    handles: Vec<JoinHandle<()>>,
    closed: bool,
}

impl Pool {
    /// A pool with its first threads, one for each permit; they stay until it is closed.
    ///
    /// # Errors
    /// The operating system has no thread left.
    pub fn new(settings: Settings) -> io::Result<Self> {
        let permits = settings.permits.max(1);
        let settings = Settings { permits, max_threads: settings.max_threads.max(permits), ..settings };
        let schedule = Schedule::new(&settings);
        let wanted = schedule.wanted();
        let state = State { schedule, parked: Vec::new(), threads: 0, handles: Vec::new(), closed: false };
        let pool =
            Self { shared: Arc::new(Shared { settings, state: Mutex::new(state), wanted, empty: Condvar::new() }) };
        for _ in 0..permits {
            let mut state = pool.shared.state.lock();
            thread::start(&pool.shared, &mut state, &Arc::default())?;
        }
        Ok(pool)
    }

    /// Runs a job when it is its app's turn.
    ///
    /// # Errors
    /// [`Refused`], at once; the job is dropped.
    pub fn submit(&self, app: AppId, job: impl FnOnce(&Permit) + Send + 'static) -> Result<(), Refused> {
        self.enqueue(Work { app, hop: 0, again: false, job: Box::new(job) })
    }

    /// Runs a job once more. It goes ahead of what its app has not begun, for others may wait for it to be done, and is
    /// not refused for want of room: it was let in before.
    ///
    /// # Errors
    /// [`Refused::ShuttingDown`], at once; the job is dropped.
    pub fn submit_again(&self, app: AppId, job: impl FnOnce(&Permit) + Send + 'static) -> Result<(), Refused> {
        self.enqueue(Work { app, hop: 0, again: true, job: Box::new(job) })
    }

    /// Runs a job that another run of this platform waits for, at most [`MAX_HOPS`] deep. Each depth has a thread that
    /// those above it cannot take, of the pool and of the app, so that runs waiting for each other come to an end.
    ///
    /// # Errors
    /// [`Refused`], at once; the job is dropped.
    pub fn submit_nested(
        &self,
        app: AppId,
        hop: u8,
        job: impl FnOnce(&Permit) + Send + 'static,
    ) -> Result<(), Refused> {
        self.enqueue(Work { app, hop: hop.min(MAX_HOPS), again: false, job: Box::new(job) })
    }

    /// Does a short piece of work on the calling thread, which counts as a job of its app meanwhile; `None`, when others
    /// have to go first. For what takes less time than handing it to another thread.
    pub fn here<T>(&self, app: AppId, work: impl FnOnce() -> T) -> Option<T> {
        let mut state = self.shared.state.lock();
        if state.closed || !state.schedule.begin_here(app) {
            return None;
        }
        drop(state);
        let _place = Place { shared: &self.shared, app };
        Some(work())
    }

    fn enqueue(&self, work: Work) -> Result<(), Refused> {
        let mut state = self.shared.state.lock();
        if state.closed {
            return Err(Refused::ShuttingDown);
        }
        state.schedule.enqueue(work)?;
        self.shared.dispatch(state);
        Ok(())
    }

    /// How many jobs run or wait for IO, and how many wait for their turn.
    #[must_use]
    pub fn load(&self) -> Load {
        let state = self.shared.state.lock();
        Load { running: state.schedule.running(), queued: state.schedule.queued(), threads: state.threads }
    }

    /// Takes no more jobs. Those taken run to their end.
    pub fn close(&self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        state.let_go_when_done();
    }

    /// Closes the pool and waits until all jobs have ended and all threads are gone. Blocks.
    ///
    /// # Errors
    /// [`StillRunning`], when the deadline passes first.
    pub fn join(&self, deadline: Instant) -> Result<(), StillRunning> {
        self.close();
        let mut state = self.shared.state.lock();
        while state.threads > 0 {
            if self.shared.empty.wait_until(&mut state, deadline).timed_out() && state.threads > 0 {
                return Err(StillRunning { running: state.schedule.running(), queued: state.schedule.queued() });
            }
        }
        let handles = std::mem::take(&mut state.handles);
        drop(state);
        for handle in handles {
            // A thread does not panic: its jobs' panics are caught. And there is nobody to tell.
            let _ = handle.join();
        }
        Ok(())
    }
}

/// The place of a job on a thread that is not the pool's.
struct Place<'a> {
    shared: &'a Arc<Shared>,
    app: AppId,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.schedule.end(self.app, true);
        self.shared.dispatch(state);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

/// What a pool has to do at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Jobs that have a thread.
    pub running: usize,
    /// Jobs that wait for one.
    pub queued: usize,
    /// Threads, parked ones included.
    pub threads: usize,
}

/// Jobs had not ended when the deadline of [`Pool::join`] passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{running} runs have not ended and {queued} have not begun")]
pub struct StillRunning {
    /// Jobs that have a thread.
    pub running: usize,
    /// Jobs that wait for one.
    pub queued: usize,
}

impl Shared {
    /// Hands free permits to whoever's turn it is.
    fn dispatch(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let mut handed: Option<Arc<Seat>> = None;
        while let Some(next) = state.schedule.next() {
            let seat = match next {
                Next::Resume(seat) => {
                    seat.hand(Handed::Permit);
                    seat
                }
                Next::Start(work) => {
                    let seat = state.parked.pop();
                    let fresh = seat.is_none();
                    let seat = seat.unwrap_or_default();
                    seat.hand(Handed::Work(work));
                    if fresh && !self.staff(&mut state, &seat) {
                        break;
                    }
                    seat
                }
            };
            if let Some(earlier) = handed.replace(seat) {
                earlier.wake();
            }
        }
        // A wake-up is a system call, and nearly always the only one: not under the lock.
        drop(state);
        if let Some(seat) = handed {
            seat.wake();
        }
    }

    /// Makes a thread for a seat that has work, or puts the work back.
    fn staff(self: &Arc<Self>, state: &mut MutexGuard<'_, State>, seat: &Arc<Seat>) -> bool {
        let Err(error) = thread::start(self, state, seat) else { return true };
        warn!(%error, "Failed to start a thread for a run; it waits for one of those there are");
        if let Some(Handed::Work(work)) = seat.take() {
            // No thread was parked, and the first ones stay: one of them is busy and will come for this.
            state.schedule.put_back(work);
        }
        false
    }
}

impl State {
    /// Once closed, and when nothing is left to begin: tells the parked threads to end.
    fn let_go_when_done(&mut self) {
        if self.is_done() {
            for seat in self.parked.drain(..) {
                seat.hand(Handed::Leave);
                seat.wake();
            }
        }
    }

    fn is_done(&self) -> bool {
        self.closed && self.schedule.queued() == 0
    }
}
