mod daylight;
mod due;
mod fields;
mod properties;

use chrono::{DateTime, Utc};

use super::Schedule;

#[track_caller]
fn schedule(expression: &str, zone: &str) -> Schedule {
    Schedule::parse(expression, zone).unwrap_or_else(|error| panic!("{expression}: {error}"))
}

#[track_caller]
fn at(time: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(time).unwrap_or_else(|error| panic!("{time}: {error}")).to_utc()
}

/// The next times, as the zone's clock shows them.
#[track_caller]
fn upcoming(expression: &str, zone: &str, after: &str, n: usize) -> Vec<String> {
    let schedule = schedule(expression, zone);
    let shown = |time: DateTime<Utc>| time.with_timezone(&schedule.zone).format("%a %F %T%:z").to_string();
    schedule.upcoming(at(after), n).into_iter().map(shown).collect()
}
