//! Whose turn it is: apps in turn, and within an app first who comes back from waiting, then who waits to begin.
//!
//! Bookkeeping only, under the pool's lock: no threads, no clock, no waiting. After each change, what [`Schedule::next`]
//! answers is to be done, until it answers nothing.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use picloud_core::id::AppId;

use super::{Job, Refused, Settings, seat::Seat};

/// A job that waits for a thread and a permit.
pub(super) struct Work {
    pub(super) app: AppId,
    /// How many runs of this platform wait for it, each for the next.
    pub(super) hop: u8,
    /// Whether it has run before: somebody waits for its turn to be over.
    pub(super) again: bool,
    pub(super) job: Job,
}

impl Work {
    /// Who begins first within an app.
    fn rank(&self) -> (u8, bool) {
        (self.hop, self.again)
    }
}

/// What is to be done, its permit already counted.
pub(super) enum Next {
    /// Give a job a thread.
    Start(Work),
    /// Let the thread go on that waits on this seat.
    Resume(Arc<Seat>),
}

pub(super) struct Schedule {
    free_permits: usize,
    /// Jobs that have a thread, computing or not.
    running: usize,
    queued: usize,
    max_running: usize,
    max_queued: usize,
    app_running: usize,
    app_queued: usize,
    /// Apps that run or want something.
    apps: HashMap<AppId, Lane>,
    /// Apps that want something they may have, the next one first.
    rotation: VecDeque<AppId>,
    wanted: Arc<AtomicBool>,
}

#[derive(Default)]
struct Lane {
    running: usize,
    in_rotation: bool,
    /// Back from waiting for IO.
    returning: VecDeque<Arc<Seat>>,
    /// Deepest first, since others wait for those; then what runs again, for the same reason; then in order of arrival.
    jobs: VecDeque<Work>,
}

impl Schedule {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            free_permits: settings.permits,
            running: 0,
            queued: 0,
            max_running: settings.max_threads,
            max_queued: settings.queued.max(1),
            app_running: settings.app_running.max(1),
            app_queued: settings.app_queued.max(1),
            apps: HashMap::new(),
            rotation: VecDeque::new(),
            wanted: Arc::default(),
        }
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// Whether anyone waits for a permit, kept up to date for those who look without the lock.
    pub(super) fn wanted(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.wanted)
    }

    pub(super) fn enqueue(&mut self, work: Work) -> Result<(), Refused> {
        // What has run before was let in then; refused now, all its work would be lost.
        if self.queued >= self.max_queued && !work.again {
            return Err(Refused::Busy);
        }
        let app = work.app;
        let lane = self.apps.entry(app).or_default();
        if lane.jobs.len() >= self.app_queued && !work.again {
            return Err(Refused::Busy);
        }
        let place = lane.jobs.partition_point(|earlier| earlier.rank() >= work.rank());
        lane.jobs.insert(place, work);
        self.queued += 1;
        self.rotate_in(app);
        Ok(())
    }

    /// Whether a job may begin at once, on whichever thread asks: there is room, and nobody waits. It is counted then.
    pub(super) fn begin_here(&mut self, app: AppId) -> bool {
        if self.free_permits == 0 || self.queued > 0 || !self.rotation.is_empty() {
            return false;
        }
        let lane = self.apps.entry(app).or_default();
        if lane.running >= self.app_running {
            return false;
        }
        lane.running += 1;
        self.running += 1;
        self.free_permits -= 1;
        true
    }

    /// A job that [`Schedule::next`] gave out could not be started: it is the first of its app again.
    pub(super) fn put_back(&mut self, work: Work) {
        let app = work.app;
        if let Some(lane) = self.apps.get_mut(&app) {
            lane.running -= 1;
            lane.jobs.push_front(work);
        }
        self.running -= 1;
        self.queued += 1;
        self.free_permits += 1;
        self.rotate_in(app);
    }

    /// A job waits for IO.
    pub(super) fn give_back(&mut self) {
        self.free_permits += 1;
    }

    /// A job is back from IO: true, when it may go on at once; otherwise its seat is resumed in turn.
    pub(super) fn take_again(&mut self, app: AppId, seat: &Arc<Seat>) -> bool {
        if self.free_permits > 0 {
            // Free, so nobody has been waiting for it who could use it.
            self.free_permits -= 1;
            return true;
        }
        if let Some(lane) = self.apps.get_mut(&app) {
            lane.returning.push_back(Arc::clone(seat));
        }
        self.rotate_in(app);
        self.note_wanted();
        false
    }

    /// A job that is back from IO does not wait for its turn any more; false, when it was resumed meanwhile.
    pub(super) fn stop_waiting(&mut self, app: AppId, seat: &Arc<Seat>) -> bool {
        let Some(lane) = self.apps.get_mut(&app) else { return false };
        let Some(at) = lane.returning.iter().position(|waiting| Arc::ptr_eq(waiting, seat)) else { return false };
        lane.returning.remove(at);
        true
    }

    /// A job has ended.
    pub(super) fn end(&mut self, app: AppId, held_permit: bool) {
        self.running -= 1;
        self.free_permits += usize::from(held_permit);
        let Some(lane) = self.apps.get_mut(&app) else { return };
        lane.running -= 1;
        if !lane.jobs.is_empty() {
            // It may have been out of the rotation for being at its maximum.
            self.rotate_in(app);
        } else if lane.running == 0 {
            self.apps.remove(&app);
        }
    }

    /// Who gets the next free permit.
    pub(super) fn next(&mut self) -> Option<Next> {
        let next = if self.free_permits == 0 { None } else { self.turn() };
        self.note_wanted();
        next
    }

    fn turn(&mut self) -> Option<Next> {
        for _ in 0..self.rotation.len() {
            let app = self.rotation.pop_front()?;
            let Some(lane) = self.apps.get_mut(&app) else { continue };
            lane.in_rotation = false;
            match lane.turn(self.app_running, self.running, self.max_running) {
                Turn::Nothing => {}
                Turn::NoThread => self.rotate_in(app),
                Turn::Taken(next) => {
                    if !(lane.returning.is_empty() && lane.jobs.is_empty()) {
                        self.rotate_in(app);
                    }
                    self.free_permits -= 1;
                    if matches!(next, Next::Start(_)) {
                        self.running += 1;
                        self.queued -= 1;
                    }
                    return Some(next);
                }
            }
        }
        None
    }

    fn rotate_in(&mut self, app: AppId) {
        if let Some(lane) = self.apps.get_mut(&app)
            && !lane.in_rotation
        {
            lane.in_rotation = true;
            self.rotation.push_back(app);
        }
    }

    fn note_wanted(&self) {
        let wanted = !self.rotation.is_empty();
        if self.wanted.load(Ordering::Relaxed) != wanted {
            self.wanted.store(wanted, Ordering::Relaxed);
        }
    }
}

enum Turn {
    Taken(Next),
    /// Nothing it may have before one of its own runs ends.
    Nothing,
    /// Every thread has a run.
    NoThread,
}

impl Lane {
    fn turn(&mut self, app_running: usize, running: usize, max_running: usize) -> Turn {
        if let Some(seat) = self.returning.pop_front() {
            return Turn::Taken(Next::Resume(seat));
        }
        // Each depth has one place that those above it cannot take: whoever waits for it is not waited for in vain.
        let reserve = self.jobs.front().map_or(0, |work| usize::from(work.hop));
        if self.running >= app_running + reserve {
            return Turn::Nothing;
        }
        if running >= max_running + reserve {
            return Turn::NoThread;
        }
        let Some(work) = self.jobs.pop_front() else { return Turn::Nothing };
        self.running += 1;
        Turn::Taken(Next::Start(work))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(settings: Settings) -> Schedule {
        Schedule::new(&Settings { permits: 1, ..settings })
    }

    fn work(app: AppId, hop: u8, again: bool) -> Work {
        Work { app, hop, again, job: Box::new(|_| ()) }
    }

    fn enqueue(schedule: &mut Schedule, app: AppId, hop: u8) {
        schedule.enqueue(work(app, hop, false)).expect("room");
    }

    /// `app` and hop of the job that starts, or who resumes.
    fn next(schedule: &mut Schedule) -> Option<(Option<AppId>, u8)> {
        Some(match schedule.next()? {
            Next::Start(work) => (Some(work.app), work.hop),
            Next::Resume(_) => (None, 0),
        })
    }

    #[test]
    fn whoever_comes_back_goes_before_what_its_app_has_not_begun_and_after_another_app() {
        let mut schedule = schedule(Settings::default());
        let (app, other) = (AppId::generate(), AppId::generate());
        enqueue(&mut schedule, app, 0);
        enqueue(&mut schedule, app, 0);
        assert_eq!(next(&mut schedule), Some((Some(app), 0)));
        schedule.give_back();
        assert_eq!(next(&mut schedule), Some((Some(app), 0)));
        enqueue(&mut schedule, other, 0);
        enqueue(&mut schedule, app, 0);
        assert!(!schedule.take_again(app, &Arc::default()));
        assert_eq!(next(&mut schedule), None, "the permit is out");
        schedule.end(app, true);
        assert_eq!(next(&mut schedule), Some((Some(other), 0)));
        schedule.end(other, true);
        assert_eq!(next(&mut schedule), Some((None, 0)));
        schedule.give_back();
        assert_eq!(next(&mut schedule), Some((Some(app), 0)));
    }

    #[test]
    fn deeper_runs_go_first_and_have_places_of_their_own() {
        let mut schedule = schedule(Settings { app_running: 1, ..Settings::default() });
        let app = AppId::generate();
        for hop in [0, 0, 1, 2, 1] {
            enqueue(&mut schedule, app, hop);
        }
        assert_eq!(next(&mut schedule), Some((Some(app), 2)));
        schedule.give_back();
        assert_eq!(next(&mut schedule), Some((Some(app), 1)), "the first that waits for the deepest");
        schedule.end(app, false);
        schedule.end(app, true);
        assert_eq!(next(&mut schedule), Some((Some(app), 1)));
        schedule.give_back();
        assert_eq!(next(&mut schedule), None, "the app is at its maximum");
    }

    #[test]
    fn what_runs_again_goes_ahead_of_what_has_not_begun_also_when_there_is_no_room() {
        let mut schedule = schedule(Settings { app_queued: 2, ..Settings::default() });
        let app = AppId::generate();
        enqueue(&mut schedule, app, 0);
        enqueue(&mut schedule, app, 1);
        assert!(schedule.enqueue(work(app, 0, false)).is_err());
        schedule.enqueue(work(app, 0, true)).expect("it was let in before");
        let mut order = Vec::new();
        while let Some(Next::Start(work)) = schedule.next() {
            order.push(work.rank());
            schedule.end(app, true);
        }
        assert_eq!(order, [(1, false), (0, true), (0, false)]);
    }

    #[test]
    fn whoever_stopped_waiting_is_not_resumed() {
        let mut schedule = schedule(Settings::default());
        let app = AppId::generate();
        enqueue(&mut schedule, app, 0);
        next(&mut schedule);
        schedule.give_back();
        enqueue(&mut schedule, app, 0);
        next(&mut schedule);
        let seat = Arc::default();
        assert!(!schedule.take_again(app, &seat));
        assert!(schedule.stop_waiting(app, &seat));
        assert!(!schedule.stop_waiting(app, &seat), "it is out");
        schedule.end(app, true);
        assert_eq!(next(&mut schedule), None);
        schedule.end(app, false);
        assert!(schedule.apps.is_empty());
    }

    #[test]
    fn what_could_not_be_started_is_the_first_again() {
        let mut schedule = schedule(Settings::default());
        let app = AppId::generate();
        enqueue(&mut schedule, app, 3);
        let Some(Next::Start(work)) = schedule.next() else { panic!("a free permit") };
        schedule.put_back(work);
        assert_eq!((schedule.running(), schedule.queued()), (0, 1));
        assert_eq!(next(&mut schedule), Some((Some(app), 3)));
        assert_eq!((schedule.running(), schedule.queued()), (1, 0));
    }

    #[test]
    fn an_app_that_wants_nothing_takes_no_room() {
        let mut schedule = schedule(Settings::default());
        let app = AppId::generate();
        enqueue(&mut schedule, app, 0);
        next(&mut schedule);
        assert!(!schedule.wanted().load(Ordering::Relaxed));
        schedule.end(app, true);
        assert!(schedule.apps.is_empty() && schedule.rotation.is_empty());
    }
}
