//! What holds for all schedules.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, TimeDelta, TimeZone, Timelike, Utc};
use proptest::{collection::vec, prelude::*, sample::select};

use super::schedule;
use crate::schedule::{MissedPolicy, Schedule};

/// Zones, and moments up to half a day before their clocks are changed.
const CHANGES: &[(&str, &str)] = &[
    ("Europe/Berlin", "2026-03-28T13:00:00Z"),
    ("Europe/Berlin", "2026-10-24T13:00:00Z"),
    ("America/New_York", "2026-03-07T19:00:00Z"),
    ("America/New_York", "2026-10-31T18:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T03:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T03:30:00Z"),
    ("Africa/Cairo", "2026-04-23T10:00:00Z"),
    ("Africa/Cairo", "2026-10-29T09:00:00Z"),
    ("Asia/Kolkata", "2026-12-31T07:00:00Z"),
    ("UTC", "2028-02-28T12:00:00Z"),
];

/// A field and the values that it means, made together.
fn field(min: u32, max: u32) -> impl Strategy<Value = (String, BTreeSet<u32>)> {
    let range = (min..=max).prop_flat_map(move |from| (Just(from), from..=max));
    prop_oneof![
        3 => Just(("*".to_owned(), (min..=max).collect())),
        2 => (1..=max).prop_map(move |step| (format!("*/{step}"), (min..=max).step_by(step as usize).collect())),
        2 => vec(min..=max, 1..4).prop_map(|values| {
            let texts: Vec<String> = values.iter().map(u32::to_string).collect();
            (texts.join(","), values.into_iter().collect())
        }),
        2 => range.clone().prop_map(|(from, to)| (format!("{from}-{to}"), (from..=to).collect())),
        1 => (range, 1..=max).prop_map(|((from, to), step)| {
            (format!("{from}-{to}/{step}"), (from..=to).step_by(step as usize).collect())
        }),
    ]
}

/// An expression of minutes, read a second time without the code under test.
#[derive(Clone)]
struct Oracle {
    texts: [String; 5],
    values: [BTreeSet<u32>; 5],
}

fn oracle() -> impl Strategy<Value = Oracle> {
    // Days that every month has: what fires never is refused, and tested elsewhere.
    let days = field(1, 31).prop_filter("comes in every month", |(_, days)| days.first() < Some(&29));
    (field(0, 59), field(0, 23), days, field(1, 12), field(0, 6))
        .prop_map(|(a, b, c, d, e)| Oracle { texts: [a.0, b.0, c.0, d.0, e.0], values: [a.1, b.1, c.1, d.1, e.1] })
}

// The values would fill pages.
impl std::fmt::Debug for Oracle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.expression())
    }
}

impl Oracle {
    /// The same times of each day: whatever day clocks are changed on.
    fn every_day(mut self) -> Self {
        for (place, values) in [(2, 1..=31), (3, 1..=12), (4, 0..=6)] {
            self.texts[place] = "*".to_owned();
            self.values[place] = values.collect();
        }
        self
    }

    fn expression(&self) -> String {
        self.texts.join(" ")
    }

    fn names_hours(&self) -> bool {
        !self.texts[1].starts_with('*') && self.values[1].len() < 24
    }

    fn fits(&self, shown: &(impl Datelike + Timelike)) -> bool {
        let [minutes, hours, days, months, weekdays] = &self.values;
        let (day, weekday) = (days.contains(&shown.day()), weekdays.contains(&shown.weekday().num_days_from_sunday()));
        let both = self.texts[2].starts_with('*') || self.texts[4].starts_with('*');
        minutes.contains(&shown.minute())
            && hours.contains(&shown.hour())
            && months.contains(&shown.month())
            && if both { day && weekday } else { day || weekday }
    }
}

fn minutes(from: DateTime<Utc>, hours: i64) -> impl Iterator<Item = DateTime<Utc>> {
    (1..=hours * 60).map(move |minute| from + TimeDelta::minutes(minute))
}

fn change() -> impl Strategy<Value = (&'static str, DateTime<Utc>)> {
    (select(CHANGES), 0..720_i64)
        .prop_map(|((zone, moment), minute)| (zone, super::at(moment) + TimeDelta::minutes(minute)))
}

/// A schedule, and when to ask it.
fn any_schedule() -> impl Strategy<Value = (Schedule, DateTime<Utc>)> {
    let seconds = prop_oneof![3 => Just(None), 1 => field(0, 59).prop_map(|(text, _)| Some(text))];
    (oracle(), seconds, change()).prop_map(|(oracle, seconds, (zone, from))| {
        let expression = oracle.expression();
        let expression = seconds.map_or(expression.clone(), |seconds| format!("{seconds} {expression}"));
        (schedule(&expression, zone), from)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_utc_it_fires_at_every_minute_that_fits_and_at_no_other(oracle in oracle(), (_, from) in change()) {
        let schedule = schedule(&oracle.expression(), "UTC");
        let naive: Vec<_> = minutes(from, 50).filter(|minute| oracle.fits(minute)).collect();
        let until = from + TimeDelta::hours(50);
        let fired: Vec<_> = schedule.times_after(from).take_while(|at| *at <= until).collect();
        prop_assert_eq!(fired, naive, "{}", oracle.expression());
    }

    #[test]
    fn where_clocks_change_it_fires_as_the_rule_says(oracle in oracle().prop_map(Oracle::every_day), (zone, from) in change()) {
        let schedule = schedule(&oracle.expression(), zone);
        let shown = |at: &DateTime<Utc>| at.with_timezone(&schedule.zone);
        let naive: Vec<_> = minutes(from, 30)
            .filter(|minute| {
                let now = shown(minute);
                if !oracle.names_hours() {
                    return oracle.fits(&now);
                }
                let local = now.naive_local();
                let first = schedule.zone.from_local_datetime(&local).earliest();
                // All that was not shown since a minute ago has come together.
                let mut jumped = shown(&(*minute - TimeDelta::minutes(1))).naive_local() + TimeDelta::minutes(1);
                let mut swallowed = false;
                while jumped < local {
                    swallowed |= oracle.fits(&jumped);
                    jumped += TimeDelta::minutes(1);
                }
                swallowed || (oracle.fits(&now) && first == Some(now))
            })
            .collect();
        let until = from + TimeDelta::hours(30);
        let fired: Vec<_> = schedule.times_after(from).take_while(|at| *at <= until).collect();
        prop_assert_eq!(fired, naive, "{}", oracle.expression());
    }

    #[test]
    fn the_next_time_is_later_and_nothing_lies_between((schedule, from) in any_schedule(), ms in 0..86_400_000_i64) {
        let next = schedule.next_after(from).expect("it fires");
        prop_assert!(next > from);
        // Asked anywhere on the way, the answer is the same.
        let between = from + TimeDelta::milliseconds(ms);
        if between < next {
            prop_assert_eq!(schedule.next_after(between), Some(next));
        }
        let times = schedule.upcoming(from, 20);
        prop_assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", times);
    }

    #[test]
    fn however_time_is_cut_into_looks_no_time_is_fired_twice(
        (schedule, from) in any_schedule(),
        // Some looks back: clocks do that.
        steps in vec(-7_200..28_800_i64, 1..12),
        max in 0..20_usize,
    ) {
        for missed in MissedPolicy::ALL {
            let (mut now, mut settled) = (from, from);
            let mut fired = Vec::new();
            for step in &steps {
                now += TimeDelta::seconds(*step);
                let due = schedule.due(settled, now, *missed, max);
                prop_assert!(due.fire.len() <= max);
                prop_assert!(due.settled >= settled);
                prop_assert!(due.fire.iter().all(|at| *at > settled && *at <= now && *at <= due.settled));
                prop_assert!(schedule.next_after(due.settled).is_none_or(|next| next > now));
                fired.extend(due.fire);
                settled = due.settled;
            }
            prop_assert!(fired.windows(2).all(|pair| pair[0] < pair[1]), "{missed}: {:?}", fired);
        }
    }

    #[test]
    fn all_that_is_missed_is_fired_once_however_time_is_cut(oracle in oracle(), (_, from) in change(), steps in vec(1..7_200_i64, 1..8)) {
        let schedule = schedule(&oracle.expression(), "Europe/Berlin");
        let (mut now, mut settled, mut fired) = (from, from, Vec::new());
        for step in &steps {
            now += TimeDelta::seconds(*step);
            let due = schedule.due(settled, now, MissedPolicy::All, 1000);
            prop_assert_eq!(due.skipped, 0);
            fired.extend(due.fire);
            settled = due.settled;
        }
        let whole: Vec<_> = schedule.times_after(from).take_while(|at| *at <= now).collect();
        prop_assert_eq!(fired, whole);
    }

    #[test]
    fn nothing_that_is_written_panics(text in "[0-9*/,\\-#LWa-zA-Z?@+ ]{0,40}", zone in "[A-Za-z/_]{0,20}") {
        let _ = Schedule::parse(&text, &zone);
        let _ = Schedule::parse(&text, "UTC");
    }

    #[test]
    fn nothing_that_almost_is_one_panics(parts in vec("(\\*|[0-9]{1,2}|L|LW|[0-9]W|MON|FEB|[0-9]#[0-9L]|[0-9]L|\\*/[0-9]|[0-9]-[0-9])(,[0-9]|,L|,1W|,2#1)?", 5..7)) {
        let _ = Schedule::parse(&parts.join(" "), "UTC");
    }
}
