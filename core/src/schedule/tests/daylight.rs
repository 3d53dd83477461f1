//! Around the changes of clocks. Berlin and New York change by an hour, Lord Howe by half of one.

use super::upcoming;

const BERLIN: &str = "Europe/Berlin";
const NEW_YORK: &str = "America/New_York";
const LORD_HOWE: &str = "Australia/Lord_Howe";

#[track_caller]
fn fires(expression: &str, zone: &str, after: &str, times: &[&str]) {
    assert_eq!(upcoming(expression, zone, after, times.len()), times, "{expression} in {zone}");
}

#[test]
fn a_time_that_the_clock_jumps_over_fires_right_after_the_gap() {
    fires(
        "30 2 * * *",
        BERLIN,
        "2026-03-28T00:00:00Z",
        &["Sat 2026-03-28 02:30:00+01:00", "Sun 2026-03-29 03:00:00+02:00", "Mon 2026-03-30 02:30:00+02:00"],
    );
    fires(
        "30 2 * * *",
        NEW_YORK,
        "2026-03-07T06:00:00Z",
        &["Sat 2026-03-07 02:30:00-05:00", "Sun 2026-03-08 03:00:00-04:00", "Mon 2026-03-09 02:30:00-04:00"],
    );
    fires(
        "15 2 * * *",
        LORD_HOWE,
        "2026-10-03T00:00:00Z",
        &["Sun 2026-10-04 02:30:00+11:00", "Mon 2026-10-05 02:15:00+11:00"],
    );
    // Outside the half hour nothing is moved.
    fires("45 2 * * *", LORD_HOWE, "2026-10-03T00:00:00Z", &["Sun 2026-10-04 02:45:00+11:00"]);
}

#[test]
fn all_that_one_gap_swallows_fires_once() {
    fires(
        "*/15 1-2 * * *",
        BERLIN,
        "2026-03-29T00:29:00Z",
        &[
            "Sun 2026-03-29 01:30:00+01:00",
            "Sun 2026-03-29 01:45:00+01:00",
            "Sun 2026-03-29 03:00:00+02:00",
            "Mon 2026-03-30 01:00:00+02:00",
        ],
    );
    // The end of the gap is one of its times, too.
    fires(
        "0 2,3,4 * * *",
        BERLIN,
        "2026-03-28T04:00:00Z",
        &["Sun 2026-03-29 03:00:00+02:00", "Sun 2026-03-29 04:00:00+02:00", "Mon 2026-03-30 02:00:00+02:00"],
    );
    fires(
        "* * 2 * * *",
        NEW_YORK,
        "2026-03-08T05:00:00Z",
        &["Sun 2026-03-08 03:00:00-04:00", "Mon 2026-03-09 02:00:00-04:00"],
    );
}

#[test]
fn a_time_that_is_shown_twice_fires_the_first_time() {
    fires(
        "30 2 * * *",
        BERLIN,
        "2026-10-24T00:00:00Z",
        &["Sat 2026-10-24 02:30:00+02:00", "Sun 2026-10-25 02:30:00+02:00", "Mon 2026-10-26 02:30:00+01:00"],
    );
    fires(
        "0,30 1 * * *",
        NEW_YORK,
        "2026-11-01T00:00:00Z",
        &["Sun 2026-11-01 01:00:00-04:00", "Sun 2026-11-01 01:30:00-04:00", "Mon 2026-11-02 01:00:00-05:00"],
    );
    fires(
        "45 1 * * *",
        LORD_HOWE,
        "2026-04-04T12:00:00Z",
        &["Sun 2026-04-05 01:45:00+11:00", "Mon 2026-04-06 01:45:00+10:30"],
    );
    // Asked while it is shown again.
    fires("30 2 * * *", BERLIN, "2026-10-25T01:10:00Z", &["Mon 2026-10-26 02:30:00+01:00"]);
    fires("30 2,4 * * *", BERLIN, "2026-10-25T01:10:00Z", &["Sun 2026-10-25 04:30:00+01:00"]);
}

#[test]
fn every_hour_goes_on_evenly() {
    fires(
        "0 * * * *",
        BERLIN,
        "2026-03-28T23:30:00Z",
        &["Sun 2026-03-29 01:00:00+01:00", "Sun 2026-03-29 03:00:00+02:00", "Sun 2026-03-29 04:00:00+02:00"],
    );
    fires(
        "30 * * * *",
        BERLIN,
        "2026-10-24T23:45:00Z",
        &["Sun 2026-10-25 02:30:00+02:00", "Sun 2026-10-25 02:30:00+01:00", "Sun 2026-10-25 03:30:00+01:00"],
    );
    fires(
        "@hourly",
        NEW_YORK,
        "2026-11-01T04:30:00Z",
        &["Sun 2026-11-01 01:00:00-04:00", "Sun 2026-11-01 01:00:00-05:00", "Sun 2026-11-01 02:00:00-05:00"],
    );
    fires(
        "0 0-23 * * *",
        NEW_YORK,
        "2026-11-01T04:30:00Z",
        &["Sun 2026-11-01 01:00:00-04:00", "Sun 2026-11-01 01:00:00-05:00", "Sun 2026-11-01 02:00:00-05:00"],
    );
}

#[test]
fn short_intervals_go_on_without_a_gap_or_a_double() {
    let minutes = |zone: &str, from: &str, every: i64| {
        let schedule = super::schedule(&format!("*/{every} * * * *"), zone);
        let times = schedule.upcoming(super::at(from), 60);
        let first = super::at(from) + chrono::TimeDelta::minutes(every);
        let even: Vec<_> = (0..60).map(|n| first + chrono::TimeDelta::minutes(every * n)).collect();
        assert_eq!(times, even, "{zone} {from}");
    };
    for (zone, from) in [
        (BERLIN, "2026-03-29T00:00:00Z"),
        (BERLIN, "2026-10-24T23:00:00Z"),
        (NEW_YORK, "2026-03-08T06:00:00Z"),
        (NEW_YORK, "2026-11-01T04:00:00Z"),
        (LORD_HOWE, "2026-04-04T14:00:00Z"),
        (LORD_HOWE, "2026-10-03T14:30:00Z"),
    ] {
        minutes(zone, from, 5);
        minutes(zone, from, 1);
    }
}

#[test]
fn where_half_an_hour_is_changed_the_clock_s_minute_is_what_is_named() {
    fires(
        "0 * * * *",
        LORD_HOWE,
        "2026-10-03T13:30:00Z",
        &["Sun 2026-10-04 01:00:00+10:30", "Sun 2026-10-04 03:00:00+11:00", "Sun 2026-10-04 04:00:00+11:00"],
    );
    fires(
        "45 * * * *",
        LORD_HOWE,
        "2026-04-04T14:00:00Z",
        &["Sun 2026-04-05 01:45:00+11:00", "Sun 2026-04-05 01:45:00+10:30", "Sun 2026-04-05 02:45:00+10:30"],
    );
    fires(
        "15 * * * *",
        LORD_HOWE,
        "2026-04-04T14:00:00Z",
        &["Sun 2026-04-05 01:15:00+11:00", "Sun 2026-04-05 02:15:00+10:30"],
    );
}

#[test]
fn the_second_half_of_a_repeated_hour_is_not_forgotten_for_a_later_day() {
    // Asked in the first half, after the only minute of the day that fits.
    fires(
        "10 * 25 10 *",
        BERLIN,
        "2026-10-25T00:10:00Z",
        &["Sun 2026-10-25 02:10:00+01:00", "Sun 2026-10-25 03:10:00+01:00"],
    );
    fires(
        "10 */2 25 10 *",
        BERLIN,
        "2026-10-25T00:10:30Z",
        &["Sun 2026-10-25 02:10:00+01:00", "Sun 2026-10-25 04:10:00+01:00"],
    );
}

#[test]
fn a_gap_at_midnight_is_a_gap() {
    fires(
        "30 0 * * *",
        "Africa/Cairo",
        "2026-04-23T12:00:00Z",
        &["Fri 2026-04-24 01:00:00+03:00", "Sat 2026-04-25 00:30:00+03:00"],
    );
    fires("@daily", "Africa/Cairo", "2026-04-23T12:00:00Z", &["Fri 2026-04-24 01:00:00+03:00"]);
}

#[test]
fn a_day_that_never_was_fires_when_the_next_begins() {
    fires(
        "0 12 * * *",
        "Pacific/Apia",
        "2011-12-29T12:00:00Z",
        &["Thu 2011-12-29 12:00:00-10:00", "Sat 2011-12-31 00:00:00+14:00", "Sat 2011-12-31 12:00:00+14:00"],
    );
}

#[test]
fn utc_has_no_changes() {
    for day in ["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"] {
        let date = &day[..10];
        let sunday = |time: &str| format!("Sun {date} {time}+00:00");
        assert_eq!(upcoming("30 * * * *", "UTC", day, 2), [sunday("01:30:00"), sunday("02:30:00")]);
        assert_eq!(upcoming("30 2 * * *", "UTC", day, 1), [sunday("02:30:00")]);
    }
}
