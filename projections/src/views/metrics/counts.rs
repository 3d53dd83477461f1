//! What is counted in a step of time.

use super::histogram;

/// Runs that ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// How many ended well,
    pub ok: u64,
    /// and how many did not.
    pub failed: u64,
    /// How long they took together.
    pub duration_us: u64,
    /// How many took how long, by the buckets of [`histogram`].
    pub durations: Vec<u64>,
}

impl Runs {
    /// Counts one.
    pub(super) fn count(&mut self, duration_us: u64, is_ok: bool) {
        *(if is_ok { &mut self.ok } else { &mut self.failed }) += 1;
        self.duration_us += duration_us;
        let bucket = histogram::bucket(duration_us);
        if bucket >= self.durations.len() {
            self.durations.resize(bucket + 1, 0);
        }
        self.durations[bucket] += 1;
    }

    /// Counts others too.
    pub fn add(&mut self, more: &Self) {
        self.ok += more.ok;
        self.failed += more.failed;
        self.duration_us += more.duration_us;
        histogram::add(&mut self.durations, more.durations.iter().copied());
    }
}

/// What became of owed work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// How much was owed newly,
    pub enqueued: u64,
    /// how many attempts failed that are tried again,
    pub rescheduled: u64,
    /// how much was done,
    pub delivered: u64,
    /// became a dead letter,
    pub exhausted: u64,
    /// or was taken back.
    pub cancelled: u64,
}

impl Owed {
    /// Counts more.
    pub const fn add(&mut self, more: &Self) {
        self.enqueued += more.enqueued;
        self.rescheduled += more.rescheduled;
        self.delivered += more.delivered;
        self.exhausted += more.exhausted;
        self.cancelled += more.cancelled;
    }
}
