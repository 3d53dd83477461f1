//! When a channel is told.

use chrono::{DateTime, TimeDelta, Utc};

use super::Condition;

/// The last alert of a matter on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// When it was raised.
    pub raised_at: DateTime<Utc>,
    /// Whether the matter was not over when it was last looked at.
    pub is_open: bool,
    /// Whether the receiver has yet to be told of it.
    pub is_owed: bool,
}

/// What is to be done about a matter on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Nothing,
    /// Say that something is wrong.
    Raise,
    /// Say that it is over.
    Recover,
    /// It would be said, but was said a short while ago: look again then.
    NotBefore(DateTime<Utc>),
}

/// Decides about a matter on a channel: whether it is so now (there is something new, or it lasts), and what was said last.
///
/// Nothing new is said while the last is still to be told: a receiver that was away gets one alert about all of it.
#[must_use]
pub fn decide(condition: Condition, is_so: bool, last: Option<&Last>, cooldown_s: u32, now: DateTime<Utc>) -> Verdict {
    let is_open = condition.lasts() && last.is_some_and(|last| last.is_open);
    match (is_so, last) {
        (false, _) if is_open => Verdict::Recover,
        (false, _) => Verdict::Nothing,
        (true, _) if is_open => Verdict::Nothing,
        (true, None) => Verdict::Raise,
        (true, Some(last)) if last.is_owed => Verdict::Nothing,
        (true, Some(last)) => {
            let again_at = last.raised_at + TimeDelta::seconds(i64::from(cooldown_s));
            if again_at > now { Verdict::NotBefore(again_at) } else { Verdict::Raise }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u32 = 3_600;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).expect("a time")
    }

    fn last(is_open: bool, is_owed: bool) -> Last {
        Last { raised_at: at(0), is_open, is_owed }
    }

    #[test]
    fn the_first_time_is_told_at_once() {
        for condition in Condition::ALL {
            assert_eq!(decide(*condition, true, None, HOUR, at(0)), Verdict::Raise, "{condition}");
            assert_eq!(decide(*condition, false, None, HOUR, at(0)), Verdict::Nothing, "{condition}");
        }
    }

    #[test]
    fn more_of_the_same_waits_for_the_end_of_the_cool_down_and_is_not_forgotten() {
        let told = last(true, false);
        let letters = |now| decide(Condition::DeadLetter, true, Some(&told), HOUR, now);
        assert_eq!(letters(at(1)), Verdict::NotBefore(at(3_600)));
        assert_eq!(letters(at(3_599)), Verdict::NotBefore(at(3_600)));
        assert_eq!(letters(at(3_600)), Verdict::Raise);
    }

    #[test]
    fn what_lasts_is_told_once_and_its_end_at_once() {
        let disk = |is_so, now| decide(Condition::Disk, is_so, Some(&last(true, false)), HOUR, now);
        assert_eq!(disk(true, at(1)), Verdict::Nothing);
        assert_eq!(disk(true, at(1_000_000)), Verdict::Nothing, "however long it lasts");
        assert_eq!(disk(false, at(1)), Verdict::Recover);
    }

    #[test]
    fn what_comes_and_goes_is_told_once_in_a_cool_down() {
        let over = last(false, false);
        let view = |is_so, now| decide(Condition::ViewParked, is_so, Some(&over), HOUR, now);
        assert_eq!(view(true, at(10)), Verdict::NotBefore(at(3_600)));
        assert_eq!(view(false, at(10)), Verdict::Nothing, "its end was told");
        assert_eq!(view(true, at(3_600)), Verdict::Raise);
    }

    #[test]
    fn what_happens_has_no_end_to_be_told() {
        for condition in [Condition::DeadLetter, Condition::BackupFailed] {
            assert_eq!(
                decide(condition, false, Some(&last(true, false)), HOUR, at(1)),
                Verdict::Nothing,
                "{condition}"
            );
        }
    }

    #[test]
    fn a_receiver_that_is_away_is_not_owed_two_alerts_of_one_matter() {
        let untold = last(true, true);
        assert_eq!(decide(Condition::DeadLetter, true, Some(&untold), HOUR, at(100_000)), Verdict::Nothing);
        // That it is over is kept beside what is still to be told.
        assert_eq!(decide(Condition::Disk, false, Some(&untold), HOUR, at(1)), Verdict::Recover);
    }
}
