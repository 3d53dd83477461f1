//! Steps of time: what happened in a minute is counted for the longer ones too, so that a month is not read from its minutes.

use chrono::{DateTime, Utc};

/// How long the steps are that are counted over, in seconds: each divides the next.
pub(super) const STEPS_S: [i64; 4] = [60, 300, 3_600, DAY_S];

/// The longest of them.
pub const DAY_S: i64 = 86_400;

/// When the step began that a time lies in. Days are those of UTC.
#[must_use]
pub fn begin_of(at: DateTime<Utc>, step_s: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_secs(floor(at.timestamp(), step_s)).unwrap_or(at)
}

const fn floor(at_s: i64, step_s: i64) -> i64 {
    at_s.div_euclid(step_s) * step_s
}

const fn ceil(at_s: i64, step_s: i64) -> i64 {
    floor(at_s + step_s - 1, step_s)
}

fn time(at_s: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_secs(at_s).unwrap_or_default()
}

/// Stretches of time, each of whole steps of one length: as columns.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    pub(super) steps_s: Vec<i32>,
    pub(super) since: Vec<DateTime<Utc>>,
    pub(super) until: Vec<DateTime<Utc>>,
}

impl Parts {
    /// All from the minute of one time on until another, in steps as long as there are: of those that divide a wanted one.
    #[must_use]
    pub fn of(since: DateTime<Utc>, until: DateTime<Utc>, step_s: i64) -> Self {
        let [minute_s, ..] = STEPS_S;
        let until_s = until.timestamp() + i64::from(until.timestamp_subsec_nanos() > 0);
        let dividing = STEPS_S.partition_point(|step| step_s % step == 0);
        let mut parts = Self::default();
        parts.add(floor(since.timestamp(), minute_s), ceil(until_s, minute_s), &STEPS_S[..dividing]);
        parts
    }

    /// The longest steps make up the middle, shorter ones what is left at both ends.
    fn add(&mut self, since_s: i64, until_s: i64, steps_s: &[i64]) {
        let Some((step_s, shorter)) = steps_s.split_last().filter(|_| since_s < until_s) else { return };
        let (from_s, to_s) = (ceil(since_s, *step_s), floor(until_s, *step_s));
        if from_s >= to_s {
            return self.add(since_s, until_s, shorter);
        }
        self.add(since_s, from_s, shorter);
        self.steps_s.push(*step_s as i32);
        self.since.push(time(from_s));
        self.until.push(time(to_s));
        self.add(to_s, until_s, shorter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As `step: since to until`, days apart by their dates.
    fn said(since: &str, until: &str, step_s: i64) -> Vec<String> {
        let at = |said: &str| said.parse::<DateTime<Utc>>().expect("a time");
        let parts = Parts::of(at(since), at(until), step_s);
        let said = |(n, step_s): (usize, &i32)| {
            format!("{step_s}: {} to {}", parts.since[n].format("%dT%H:%M"), parts.until[n].format("%dT%H:%M"))
        };
        parts.steps_s.iter().enumerate().map(said).collect()
    }

    #[test]
    fn days_are_read_in_the_middle_and_minutes_at_the_ends() {
        assert_eq!(
            said("2026-03-01T22:58:30Z", "2026-03-04T01:00:01Z", DAY_S),
            [
                "60: 01T22:58 to 01T23:00",
                "3600: 01T23:00 to 02T00:00",
                "86400: 02T00:00 to 04T00:00",
                "3600: 04T00:00 to 04T01:00",
                "60: 04T01:00 to 04T01:01",
            ]
        );
        assert_eq!(said("2026-03-01T00:00:00Z", "2026-03-08T00:00:00Z", 7 * DAY_S), ["86400: 01T00:00 to 08T00:00"]);
    }

    #[test]
    fn steps_that_do_not_divide_the_wanted_one_are_not_read() {
        assert_eq!(said("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", 900), ["300: 01T00:00 to 02T00:00"]);
        assert_eq!(said("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", 420), ["60: 01T00:00 to 02T00:00"]);
        assert_eq!(said("2026-03-01T00:00:10Z", "2026-03-01T00:00:20Z", 60), ["60: 01T00:00 to 01T00:01"]);
        assert_eq!(said("2026-03-01T00:01:00Z", "2026-03-01T00:01:00Z", 60), [""; 0]);
    }

    proptest! {
        #[test]
        fn parts_follow_each_other_without_a_gap(since_s in -10_000_000_i64..10_000_000, long_s in 1_i64..5_000_000, step in 1_i64..3_000) {
            let parts = Parts::of(time(since_s), time(since_s + long_s), 60 * step);
            let mut reached = begin_of(time(since_s), 60);
            for (n, step_s) in parts.steps_s.iter().enumerate() {
                let (since_s, until_s) = (parts.since[n].timestamp(), parts.until[n].timestamp());
                prop_assert_eq!(parts.since[n], reached);
                prop_assert_eq!((60 * step % i64::from(*step_s), since_s % i64::from(*step_s), until_s % i64::from(*step_s)), (0, 0, 0));
                prop_assert!(since_s < until_s);
                reached = parts.until[n];
            }
            prop_assert!(reached >= time(since_s + long_s) && reached < time(since_s + long_s + 60));
            prop_assert!(parts.steps_s.len() < 2 * STEPS_S.len());
        }
    }
}
