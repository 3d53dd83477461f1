//! Which instants a schedule means where clocks are changed. The rule stands in the module's own documentation.

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _, Timelike as _, Utc};
use chrono_tz::GapInfo;

use super::Schedule;

const SECOND: TimeDelta = TimeDelta::seconds(1);

impl Schedule {
    /// The first time after an instant at which it fires; none only at the end of the calendar.
    #[must_use]
    pub fn next_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let offset = self.zone.offset_from_utc_datetime(&instant.naive_utc()).fix();
        let shown = instant.naive_utc().checked_add_offset(offset)?.with_nanosecond(0)?;
        if self.fields.names_hours() { self.next_named(instant, shown) } else { self.next_shown(instant, shown) }
    }

    /// Every time that is named, once, though the clock may jump over it or show it twice.
    fn next_named(&self, instant: DateTime<Utc>, shown: NaiveDateTime) -> Option<DateTime<Utc>> {
        let mut time = shown;
        loop {
            time = self.fields.next(time.checked_add_signed(SECOND)?)?;
            let first = match self.zone.from_local_datetime(&time) {
                MappedLocalTime::Single(at) | MappedLocalTime::Ambiguous(at, _) => at,
                MappedLocalTime::None => self.end_of_gap(time)?,
            };
            // Not later: it was shown before already, or all that the clock jumped over has come.
            if first > instant {
                return Some(first.to_utc());
            }
        }
    }

    /// Whenever the clock shows a time that is named.
    fn next_shown(&self, instant: DateTime<Utc>, shown: NaiveDateTime) -> Option<DateTime<Utc>> {
        let ahead = self.next_ahead(instant, shown);
        let MappedLocalTime::Ambiguous(first, again) = self.zone.from_local_datetime(&shown) else { return ahead };
        if instant >= again || ahead.is_some_and(|at| at < again) {
            return ahead;
        }
        // The clock will be put back, to what it may have shown before; what it shows after that comes later.
        let mut time = shown.checked_sub_signed(again - first)?;
        while let Some(next) = self.fields.next(time).filter(|next| *next <= shown) {
            if let MappedLocalTime::Ambiguous(_, again) = self.zone.from_local_datetime(&next) {
                return Some(again.to_utc());
            }
            time = next.checked_add_signed(SECOND)?;
        }
        ahead
    }

    /// The first time of those that the clock shows further ahead.
    fn next_ahead(&self, instant: DateTime<Utc>, shown: NaiveDateTime) -> Option<DateTime<Utc>> {
        let mut time = shown.checked_add_signed(SECOND)?;
        loop {
            time = self.fields.next(time)?;
            match self.zone.from_local_datetime(&time) {
                MappedLocalTime::Single(at) => return Some(at.to_utc()),
                MappedLocalTime::Ambiguous(first, again) => {
                    return Some(if first > instant { first } else { again }.to_utc());
                }
                MappedLocalTime::None => time = self.end_of_gap(time)?.naive_local(),
            }
        }
    }

    /// The first instant after the gap that a time lies in.
    fn end_of_gap(&self, time: NaiveDateTime) -> Option<DateTime<chrono_tz::Tz>> {
        GapInfo::new(&time, &self.zone)?.end
    }
}
