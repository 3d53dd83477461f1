//! When a `cron` trigger fires: five or six fields, in a time zone.
//!
//! A [`Schedule`] is two strings and what they mean. It names instants and nothing else: what time it is, what has fired
//! already and how many may fire at once come in as arguments; whether runs may overlap ([`OverlapPolicy`]) is for whoever
//! starts them.
//!
//! # When clocks are changed
//!
//! Of a schedule that names its hours (`30 2 * * *`, `*/10 2-4 * * 1-5`) every time comes once:
//!
//! - a time that the clock jumps over fires right after the gap; several such times fire there together, as one;
//! - a time that the clock shows twice fires when it is shown first.
//!
//! A schedule of all hours (an hour field that begins with `*`, or has all 24) fires whenever the clock shows a time that
//! it names: `*/5 * * * *` and `0 * * * *` go on evenly through a change of an hour, with nothing in the gap, and once in
//! each of the two hours that are shown alike. Where clocks are changed by half an hour, what is named is still the
//! minute that the clock shows, and one interval is half an hour longer or shorter.
//!
//! That is the rule of Debian's cron, but for `*/10 2 * * *`: there a `*` in the minutes, too, makes a schedule one that
//! loses its day when the second hour does not come.

mod due;
mod error;
mod fields;
mod policy;
mod zoned;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

pub use due::{Due, GRACE, MAX_COUNTED};
pub use error::ScheduleError;
use fields::Fields;
pub use policy::{MissedPolicy, OverlapPolicy, UnknownPolicy};

/// A schedule that can fire. Serialised as the two strings it is made from; what is stored for ever keeps those, and
/// parses them when it is read.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Schedule {
    expression: String,
    zone: Tz,
    fields: Fields,
}

/// As it stands in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    expression: String,
    zone: String,
}

impl Schedule {
    /// Reads an expression (`minute hour day-of-month month day-of-week`, seconds before them if there are six, or one of
    /// `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`) and the IANA name of the zone whose clock it goes by.
    ///
    /// Fields are those of Vixie cron: numbers and English names, lists, ranges, steps. When neither of the two fields for
    /// days begins with `*`, a day fits that fits either of them; otherwise it fits both. Beyond it there are `L`, `LW` and
    /// `15W` among the days of the month, `5#2` and `5L` among those of the week.
    ///
    /// # Errors
    /// [`ScheduleError`] names the field, the value and what is allowed; a schedule that never fires is refused.
    pub fn parse(expression: &str, zone: &str) -> Result<Self, ScheduleError> {
        let expression = expression.trim();
        let fields = Fields::parse(expression)?;
        let zone = zone.trim().parse().map_err(|_| ScheduleError::zone(zone.trim()))?;
        Ok(Self { expression: expression.to_owned(), zone, fields })
    }

    /// The expression, as it was given.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The zone's IANA name.
    #[must_use]
    pub fn zone(&self) -> &'static str {
        self.zone.name()
    }

    /// The next `n` times after an instant; fewer only at the end of the calendar.
    #[must_use]
    pub fn upcoming(&self, instant: DateTime<Utc>, n: usize) -> Vec<DateTime<Utc>> {
        self.times_after(instant).take(n).collect()
    }

    fn times_after(&self, instant: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
        std::iter::successors(self.next_after(instant), |last| self.next_after(*last))
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        (&self.expression, self.zone) == (&other.expression, other.zone)
    }
}

impl Eq for Schedule {}

impl TryFrom<Written> for Schedule {
    type Error = ScheduleError;

    fn try_from(written: Written) -> Result<Self, ScheduleError> {
        Self::parse(&written.expression, &written.zone)
    }
}

impl From<Schedule> for Written {
    fn from(schedule: Schedule) -> Self {
        Self { zone: schedule.zone().to_owned(), expression: schedule.expression }
    }
}

#[cfg(test)]
mod tests;
