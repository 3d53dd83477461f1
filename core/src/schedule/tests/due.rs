//! What is fired at a look.

use chrono::TimeDelta;

use super::{at, schedule};
use crate::schedule::{Due, GRACE, MAX_COUNTED, MissedPolicy};

const MANY: usize = 1000;

#[track_caller]
fn due(expression: &str, settled: &str, now: &str, missed: MissedPolicy, max: usize) -> Due {
    schedule(expression, "UTC").due(at(settled), at(now), missed, max)
}

#[test]
fn a_time_that_has_just_come_is_fired_whatever_the_policy() {
    for missed in MissedPolicy::ALL {
        let due = due("0 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T01:00:02Z", *missed, MANY);
        let one = at("2026-01-01T01:00:00Z");
        assert_eq!(due, Due { fire: vec![one], skipped: 0, settled: one }, "{missed}");
    }
}

#[test]
fn before_the_time_nothing_is_fired() {
    for missed in MissedPolicy::ALL {
        let due = due("0 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:59:59.999Z", *missed, MANY);
        assert_eq!(due, Due { fire: vec![], skipped: 0, settled: at("2026-01-01T00:00:00Z") }, "{missed}");
    }
}

#[test]
fn after_an_outage_each_policy_has_its_way() {
    let after = |missed| due("0 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T04:30:00Z", missed, MANY);
    let hour = |hour| at("2026-01-01T00:00:00Z") + TimeDelta::hours(hour);
    assert_eq!(after(MissedPolicy::Skip), Due { fire: vec![], skipped: 4, settled: hour(4) });
    assert_eq!(after(MissedPolicy::Once), Due { fire: vec![hour(4)], skipped: 3, settled: hour(4) });
    let all = Due { fire: vec![hour(1), hour(2), hour(3), hour(4)], skipped: 0, settled: hour(4) };
    assert_eq!(after(MissedPolicy::All), all);
}

#[test]
fn what_is_missed_and_what_is_only_late_is_a_matter_of_the_grace() {
    let due = |late| {
        let settled = at("2026-01-01T00:00:00Z");
        let due =
            schedule("0 * * * *", "UTC").due(settled, at("2026-01-01T02:00:00Z") + late, MissedPolicy::Skip, MANY);
        (due.fire.len(), due.skipped)
    };
    assert_eq!(due(GRACE - TimeDelta::seconds(1)), (1, 1));
    assert_eq!(due(GRACE), (0, 2));
}

#[test]
fn no_more_are_fired_than_asked_for_and_the_rest_is_told_of() {
    let due = due("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T10:00:00Z", MissedPolicy::All, 3);
    let minute = |minute| at("2026-01-01T10:00:00Z") - TimeDelta::minutes(minute);
    assert_eq!(due, Due { fire: vec![minute(2), minute(1), minute(0)], skipped: 597, settled: minute(0) });
}

#[test]
fn nothing_is_fired_when_nothing_may_be() {
    for missed in MissedPolicy::ALL {
        let due = due("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:02:30Z", *missed, 0);
        assert_eq!(due, Due { fire: vec![], skipped: 2, settled: at("2026-01-01T00:02:00Z") }, "{missed}");
    }
}

#[test]
fn a_clock_that_goes_back_fires_nothing_twice() {
    for missed in MissedPolicy::ALL {
        let first = due("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:05:10Z", *missed, MANY);
        let every_minute = schedule("* * * * *", "UTC");
        let again = every_minute.due(first.settled, at("2026-01-01T00:03:10Z"), *missed, MANY);
        assert_eq!(again, Due { fire: vec![], skipped: 0, settled: first.settled });
        let later = every_minute.due(again.settled, at("2026-01-01T00:06:10Z"), *missed, MANY);
        assert_eq!(later.fire, [at("2026-01-01T00:06:00Z")]);
    }
}

#[test]
fn a_year_of_seconds_is_looked_over_at_once() {
    let due = due("* * * * * *", "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z", MissedPolicy::All, 5);
    let second = |second| at("2026-01-01T00:00:00Z") - TimeDelta::seconds(second);
    let fire = vec![second(4), second(3), second(2), second(1), second(0)];
    assert_eq!(due, Due { fire, skipped: MAX_COUNTED, settled: second(0) });
}

#[test]
fn the_latest_is_found_behind_a_long_silence() {
    let due = due("* * 1 1 *", "2020-06-01T00:00:00Z", "2025-12-31T23:00:00Z", MissedPolicy::Once, MANY);
    assert_eq!((due.fire, due.skipped), (vec![at("2025-01-01T23:59:00Z")], 5 * 1440 - 1));
}
