//! Which due times are to be fired now.

use chrono::{DateTime, TimeDelta, Utc};

use super::{MissedPolicy, Schedule};

/// A due time that lies less far back is not missed: whoever looks is only a little late.
pub const GRACE: TimeDelta = TimeDelta::seconds(60);

/// Up to how many due times that were passed over are counted. A schedule of every second passes 31 million in a year.
pub const MAX_COUNTED: u64 = 10_000;

/// Due times lie whole seconds apart.
const SECOND: TimeDelta = TimeDelta::seconds(1);

/// What a look at a schedule comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// To be fired now, in order: the latest of those that were due.
    pub fire: Vec<DateTime<Utc>>,
    /// How many were due before those and are passed over; [`MAX_COUNTED`] is that many or more.
    pub skipped: u64,
    /// Up to where all has been decided: what to compare with at the next look. The latest due time, fired or not; when
    /// none was due, what was given.
    pub settled: DateTime<Utc>,
}

impl Schedule {
    /// Which of the times that became due since the last one that was fired or passed over ([`Due::settled`]; at first,
    /// since the schedule came to be) are to be fired now. At most `max`, the latest.
    ///
    /// What is not later than `settled` is never fired, wherever the clock is put.
    #[must_use]
    pub fn due(&self, settled: DateTime<Utc>, now: DateTime<Utc>, missed: MissedPolicy, max: usize) -> Due {
        let Some(latest) = self.last_until(settled, now) else {
            return Due { fire: Vec::new(), skipped: 0, settled };
        };
        let (after, max) = match missed {
            MissedPolicy::Skip => (now.checked_sub_signed(GRACE).map_or(settled, |late| late.max(settled)), max),
            MissedPolicy::Once => (settled, max.min(1)),
            MissedPolicy::All => (settled, max),
        };
        let fire = self.latest(after, latest, max);
        let first = fire.first().copied();
        let counted = usize::try_from(MAX_COUNTED).unwrap_or(usize::MAX);
        let passed = self.times_after(settled).take_while(|at| *at <= latest && first.is_none_or(|first| *at < first));
        Due { skipped: passed.take(counted).count() as u64, settled: latest, fire }
    }

    /// The last `max` times after one instant and until another, which is one of them.
    fn latest(&self, after: DateTime<Utc>, latest: DateTime<Utc>, max: usize) -> Vec<DateTime<Utc>> {
        let before = |at: &DateTime<Utc>| self.last_until(after, at.checked_sub_signed(SECOND)?);
        let mut times: Vec<_> = std::iter::successors((latest > after).then_some(latest), before).take(max).collect();
        times.reverse();
        times
    }

    /// The last time after one instant and until another. Looks at some, not at all that lie between: they may be millions.
    fn last_until(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut found = self.one_of_the_last(after, until)?;
        let mut until = until;
        while until - found >= SECOND {
            let middle = found + (until - found) / 2;
            match self.next_after(middle).filter(|at| *at <= until) {
                Some(later) => found = later,
                None => until = middle,
            }
        }
        Some(found)
    }

    /// Looks further and further back from the end.
    fn one_of_the_last(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut reach = SECOND;
        loop {
            let from = until.checked_sub_signed(reach).map_or(after, |from| from.max(after));
            match self.next_after(from).filter(|at| *at <= until) {
                Some(found) => return Some(found),
                None if from == after => return None,
                None => reach = reach * 2,
            }
        }
    }
}
