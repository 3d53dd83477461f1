//! What expressions mean, and what is said of those that mean nothing.

use super::{schedule, upcoming};
use crate::schedule::{MissedPolicy, OverlapPolicy, Schedule};

/// The next times in UTC after the beginning of 2026, a Thursday.
#[track_caller]
fn fires(expression: &str, times: &[&str]) {
    let shown = upcoming(expression, "UTC", "2026-01-01T00:00:00Z", times.len());
    let shown: Vec<_> = shown.iter().map(|time| time.trim_end_matches("+00:00")).collect();
    assert_eq!(shown, times, "{expression}");
}

#[test]
fn five_fields_are_minutes_and_six_are_seconds() {
    fires("*/20 * * * *", &["Thu 2026-01-01 00:20:00", "Thu 2026-01-01 00:40:00", "Thu 2026-01-01 01:00:00"]);
    fires("*/30 59 23 * * *", &["Thu 2026-01-01 23:59:00", "Thu 2026-01-01 23:59:30", "Fri 2026-01-02 23:59:00"]);
    fires("  5  4 *\t* *  ", &["Thu 2026-01-01 04:05:00", "Fri 2026-01-02 04:05:00"]);
}

#[test]
fn lists_ranges_steps_and_names_are_as_in_vixie_cron() {
    fires(
        "0 8-18/5,23 * * *",
        &["Thu 2026-01-01 08:00:00", "Thu 2026-01-01 13:00:00", "Thu 2026-01-01 18:00:00", "Thu 2026-01-01 23:00:00"],
    );
    fires(
        "0 0 1 feb,OCT-dec *",
        &["Sun 2026-02-01 00:00:00", "Thu 2026-10-01 00:00:00", "Sun 2026-11-01 00:00:00", "Tue 2026-12-01 00:00:00"],
    );
    fires("0 0 * * Mon-Tue", &["Mon 2026-01-05 00:00:00", "Tue 2026-01-06 00:00:00", "Mon 2026-01-12 00:00:00"]);
    fires("0 0 * * fri-sun", &["Fri 2026-01-02 00:00:00", "Sat 2026-01-03 00:00:00", "Sun 2026-01-04 00:00:00"]);
    for sunday in ["0", "7", "SUN"] {
        fires(&format!("0 0 * * {sunday}"), &["Sun 2026-01-04 00:00:00", "Sun 2026-01-11 00:00:00"]);
    }
}

#[test]
fn a_day_fits_either_of_two_fields_unless_one_begins_with_a_star() {
    fires("0 0 13 * FRI", &["Fri 2026-01-02 00:00:00", "Fri 2026-01-09 00:00:00", "Tue 2026-01-13 00:00:00"]);
    fires("0 0 * * FRI", &["Fri 2026-01-02 00:00:00", "Fri 2026-01-09 00:00:00"]);
    fires("0 0 13 * *", &["Tue 2026-01-13 00:00:00", "Fri 2026-02-13 00:00:00"]);
    fires("0 0 13 * ?", &["Tue 2026-01-13 00:00:00", "Fri 2026-02-13 00:00:00"]);
    // Days 1, 3, 5 and so on that are a Friday.
    fires("0 0 */2 * FRI", &["Fri 2026-01-09 00:00:00", "Fri 2026-01-23 00:00:00", "Fri 2026-02-13 00:00:00"]);
    fires("0 0 13 * */5", &["Fri 2026-02-13 00:00:00", "Fri 2026-03-13 00:00:00", "Sun 2026-09-13 00:00:00"]);
}

#[test]
fn last_days_nearest_weekdays_and_nth_weekdays_are_known() {
    fires("0 0 L * *", &["Sat 2026-01-31 00:00:00", "Sat 2026-02-28 00:00:00", "Tue 2026-03-31 00:00:00"]);
    fires("0 0 LW * *", &["Fri 2026-01-30 00:00:00", "Fri 2026-02-27 00:00:00", "Tue 2026-03-31 00:00:00"]);
    fires("0 0 15W * *", &["Thu 2026-01-15 00:00:00", "Mon 2026-02-16 00:00:00"]);
    fires("0 0 * * FRI#2", &["Fri 2026-01-09 00:00:00", "Fri 2026-02-13 00:00:00"]);
    fires("0 0 * * 5L", &["Fri 2026-01-30 00:00:00", "Fri 2026-02-27 00:00:00"]);
}

#[test]
fn names_stand_for_expressions() {
    fires("@hourly", &["Thu 2026-01-01 01:00:00", "Thu 2026-01-01 02:00:00"]);
    fires("@daily", &["Fri 2026-01-02 00:00:00", "Sat 2026-01-03 00:00:00"]);
    fires("@Weekly", &["Sun 2026-01-04 00:00:00", "Sun 2026-01-11 00:00:00"]);
    fires("@monthly", &["Sun 2026-02-01 00:00:00", "Sun 2026-03-01 00:00:00"]);
    fires("@yearly", &["Fri 2027-01-01 00:00:00", "Sat 2028-01-01 00:00:00"]);
}

#[test]
fn what_comes_rarely_comes_all_the_same() {
    fires("0 0 29 2 *", &["Tue 2028-02-29 00:00:00", "Sun 2032-02-29 00:00:00"]);
    // On a weekend, beyond a year that is no leap year for ending a century.
    let shown = upcoming("0 0 29 2 */6", "UTC", "2092-03-01T00:00:00Z", 2);
    assert_eq!(shown, ["Sat 2116-02-29 00:00:00+00:00", "Sun 2128-02-29 00:00:00+00:00"]);
}

#[test]
fn times_go_by_the_clock_of_the_zone() {
    let shown = upcoming("30 9 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", 2);
    assert_eq!(shown, ["Thu 2026-01-01 09:30:00+05:30", "Fri 2026-01-02 09:30:00+05:30"]);
}

#[test]
fn an_instant_between_two_seconds_is_before_the_second() {
    let every_second = schedule("* * * * * *", "UTC");
    let shown = every_second.next_after(super::at("2026-01-01T00:00:00.999Z"));
    assert_eq!(shown, Some(super::at("2026-01-01T00:00:01Z")));
    assert_eq!(every_second.next_after(super::at("2026-01-01T00:00:01Z")), Some(super::at("2026-01-01T00:00:02Z")));
}

#[test]
fn at_the_ends_of_the_calendar_nothing_panics() {
    for zone in ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"] {
        for expression in ["* * * * * *", "0 0 29 2 *", "30 2 * * *"] {
            let schedule = schedule(expression, zone);
            assert_eq!(schedule.next_after(chrono::DateTime::<chrono::Utc>::MAX_UTC), None);
            let _ = schedule.next_after(chrono::DateTime::<chrono::Utc>::MIN_UTC);
        }
    }
}

#[track_caller]
fn refused(expression: &str, says: &str) {
    let said = Schedule::parse(expression, "UTC").expect_err(expression).to_string();
    assert!(said.contains(says), "{expression}: {said}");
}

#[test]
fn an_error_names_the_field_the_value_and_what_is_allowed() {
    refused("60 * * * *", "`60` is no minute: allowed is 0 to 59");
    refused("* 24 * * *", "`24` is no hour: allowed is 0 to 23");
    refused("* * 0 * *", "`0` is no day of month: allowed is 1 to 31");
    refused("* * * 13 *", "`13` is no month: allowed is 1 to 12, JAN to DEC");
    refused("* * * * 8", "`8` is no day of week: allowed is 0 to 7 (0 and 7 are Sunday)");
    refused("60 * * * * *", "`60` is no second");
    refused("0 9,12,25,26 * * *", "`25` is no hour");
    refused("0 9,,12 * * *", "`9,,12` is no hour");
    refused("99999999999999999999 * * * *", "is no minute");
}

#[test]
fn what_the_parser_would_take_for_something_else_is_refused() {
    for (expression, says) in [
        ("MON * * * *", "`MON` is no minute"),
        ("* * * JANUARY *", "`JANUARY` is no month"),
        ("* * * JANFEB *", "`JANFEB` is no month"),
        ("* * * 1MAR *", "`1MAR` is no month"),
        ("* * * * MONDAY", "`MONDAY` is no day of week"),
        ("* * * * +MON", "`+MON` is no day of week"),
        ("* * ?/2 * *", "`?/2` is no day of month"),
        ("*/90 * * * *", "`*/90` is no minute"),
        ("*/0 * * * *", "`*/0` is no minute"),
        ("5/10 * * * *", "`5/10` is no minute"),
        ("50-10 * * * *", "`50-10` is no minute"),
        ("*,5 * * * *", "`*` is no minute"),
        ("L * * * *", "`L` is no minute"),
        ("* * * * L", "`L` is no day of week"),
        ("* * 15#2 * *", "`15#2` is no day of month"),
        ("* * * * 5#6", "`5#6` is no day of week"),
        ("- * * * *", "`-` is no minute"),
        ("٣ * * * *", "`٣` is no minute"),
    ] {
        refused(expression, says);
    }
}

#[test]
fn another_number_of_fields_is_refused_with_the_number() {
    refused("", "has 0 fields: a schedule has 5");
    refused("* * * *", "has 4 fields");
    refused("0 0 0 1 1 * 2027", "has 7 fields");
    refused(&"0,".repeat(300), "has 600 bytes: at most 512");
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest() {
    refused("@dayly", "there is no schedule `@dayly` (did you mean `@daily`?): there is `@hourly`");
    refused("@reboot", "there is no schedule `@reboot`: there is");
}

#[test]
fn a_schedule_that_never_fires_is_refused() {
    refused("0 0 30 2 *", "`0 0 30 2 *` never fires");
    refused("0 0 31 4,6,9,11 *", "never fires");
    // The 30th of February is on no Monday either; one of both would be enough.
    assert!(Schedule::parse("0 0 30 2 MON", "UTC").is_ok());
    refused("0 0 30 2 */2", "never fires");
}

#[test]
fn an_unknown_zone_is_refused_with_the_nearest() {
    let error = Schedule::parse("@daily", "Europe/Berln").expect_err("no zone");
    assert!(error.is_about_zone());
    assert!(
        error.to_string().starts_with("there is no time zone `Europe/Berln` (did you mean `Europe/Berlin`?)"),
        "{error}"
    );
    for zone in ["", "Mars", "+02:00"] {
        let error = Schedule::parse("@daily", zone).expect_err(zone);
        assert!(error.to_string().contains("IANA name such as `UTC`"), "{error}");
    }
}

#[test]
fn in_json_it_is_its_two_strings() {
    let schedule = schedule("*/5 9-17 * * MON-FRI", "Europe/Berlin");
    let json = serde_json::to_string(&schedule).expect("plain data");
    assert_eq!(json, r#"{"expression":"*/5 9-17 * * MON-FRI","zone":"Europe/Berlin"}"#);
    assert_eq!(serde_json::from_str::<Schedule>(&json).expect("what was just written"), schedule);
    let error = serde_json::from_str::<Schedule>(r#"{"expression":"* 24 * * *","zone":"UTC"}"#).expect_err("no hour");
    assert!(error.to_string().contains("`24` is no hour"), "{error}");
}

#[test]
fn policies_are_written_as_they_are_read() {
    for policy in MissedPolicy::ALL {
        assert_eq!(policy.as_str().parse(), Ok(*policy));
        assert_eq!(serde_json::to_string(policy).expect("a name"), format!("\"{policy}\""));
    }
    for policy in OverlapPolicy::ALL {
        assert_eq!(policy.as_str().parse(), Ok(*policy));
        assert_eq!(serde_json::to_string(policy).expect("a name"), format!("\"{policy}\""));
    }
    let error = "never".parse::<OverlapPolicy>().expect_err("no policy");
    assert_eq!(
        error.to_string(),
        "`never` is not a policy for overlapping runs: it is one of `skip`, `queue`, `allow`"
    );
}
