//! The fields of an expression, and the times of day and calendar that fit them. Zones are for others.

use chrono::{Datelike, Months, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use croner::{
    CronComponent, CronPattern, Weekday,
    parser::{CronParser, Seconds, Year},
};

use super::error::{ScheduleError, shown};
use crate::nearest::nearest;

/// Room for lists of everything; what is longer is no schedule.
const MAX_BYTES: usize = 512;
/// After so many months the calendar repeats, weekdays included: what does not come in that time never comes.
const CYCLE: Months = Months::new(400 * 12);

const NAMES: &[(&str, &str)] = &[
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];
const KNOWN_NAMES: &str = "`@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`";

/// One of the fields.
struct Kind {
    name: &'static str,
    /// What it may say, for people.
    allowed: &'static str,
    max: u16,
    /// Words that stand for numbers.
    names: &'static [&'static str],
    /// Whether a part says something that only this field has.
    is_special: fn(&str) -> bool,
}

const SECOND: usize = 0;
const HOUR: usize = 2;
const DAY_OF_MONTH: usize = 3;
const DAY_OF_WEEK: usize = 5;

const KINDS: [Kind; 6] = [
    Kind {
        name: "second",
        allowed: "0 to 59, `*`, a range `0-30`, a step `*/10`, or a list `0,30`",
        max: 59,
        names: &[],
        is_special: |_| false,
    },
    Kind {
        name: "minute",
        allowed: "0 to 59, `*`, a range `0-30`, a step `*/5` or `10-50/5`, or a list `0,30`",
        max: 59,
        names: &[],
        is_special: |_| false,
    },
    Kind {
        name: "hour",
        allowed: "0 to 23, `*`, a range `9-17`, a step `*/2` or `8-18/2`, or a list `6,18`",
        max: 23,
        names: &[],
        is_special: |_| false,
    },
    Kind {
        name: "day of month",
        allowed: "1 to 31, `*`, a range `1-7`, a step `*/2`, a list `1,15`, `L` for the last day, `LW` for the last \
                  weekday, or `15W` for the weekday nearest to the 15th",
        max: 31,
        names: &[],
        is_special: |part| matches!(part, "L" | "LW") || part.strip_suffix('W').is_some_and(is_number),
    },
    Kind {
        name: "month",
        allowed: "1 to 12, JAN to DEC, `*`, a range `MAR-OCT`, a step `*/3`, or a list `1,7`",
        max: 12,
        names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
        is_special: |_| false,
    },
    Kind {
        name: "day of week",
        allowed: "0 to 7 (0 and 7 are Sunday), SUN to SAT, `*`, a range `MON-FRI`, a step `*/2`, a list `1,3`, `5#2` for \
                  the second Friday of the month, or `5L` for its last",
        max: 7,
        names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
        is_special: |part| part.strip_suffix('L').is_some_and(is_number),
    },
];

/// An expression that fits some times.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    /// Days and months.
    pattern: CronPattern,
    /// A bit for each second, minute and hour that fits.
    seconds: u64,
    minutes: u64,
    hours: u64,
    names_hours: bool,
}

impl Fields {
    pub(super) fn parse(expression: &str) -> Result<Self, ScheduleError> {
        if expression.len() > MAX_BYTES {
            return Err(ScheduleError::TooLong { given: expression.len(), allowed: MAX_BYTES });
        }
        let written = if expression.starts_with('@') { by_name(expression)? } else { expression };
        let texts = split(written)?;
        check(&texts)?;
        let fields = Self::of(&texts);
        let begin = NaiveDate::from_ymd_opt(2000, 1, 1).expect("the year 2000 had a first day");
        match fields.next(begin.and_time(NaiveTime::MIN)) {
            Some(_) => Ok(fields),
            None => Err(ScheduleError::Never { given: shown(expression) }),
        }
    }

    /// Of fields that were checked one by one.
    fn of(texts: &[String; 6]) -> Self {
        // Of two fields for days, a `*` at the beginning, steps or not, leaves the say to both, as in Vixie cron.
        let both = texts[DAY_OF_MONTH].starts_with('*') || texts[DAY_OF_WEEK].starts_with('*');
        let mut pattern = pattern(texts, both).expect("each part of each field was parsed by itself");
        // There is no such field, and it would take five kilobytes.
        pattern.years = CronComponent::default();
        let hours = bits(&pattern.hours);
        Self {
            seconds: bits(&pattern.seconds),
            minutes: bits(&pattern.minutes),
            hours,
            names_hours: !texts[HOUR].starts_with('*') && hours.count_ones() < 24,
            pattern,
        }
    }

    /// Whether it says at which hours, not just at every hour or every so many.
    pub(super) const fn names_hours(&self) -> bool {
        self.names_hours
    }

    /// The first date and time, `from` included, that fits. `from` is a whole second.
    pub(super) fn next(&self, from: NaiveDateTime) -> Option<NaiveDateTime> {
        let (mut date, mut time) = (from.date(), from.time());
        let last = date.checked_add_months(CYCLE).unwrap_or(NaiveDate::MAX);
        while date <= last {
            if !self.has_month(date) {
                date = date.with_day(1)?.checked_add_months(Months::new(1))?;
            } else if self.has_day(date)
                && let Some(time) = self.next_time(time)
            {
                return Some(date.and_time(time));
            } else {
                date = date.succ_opt()?;
            }
            time = NaiveTime::MIN;
        }
        None
    }

    fn has_month(&self, date: NaiveDate) -> bool {
        self.pattern.month_match(date.month()).is_ok_and(|fits| fits)
    }

    fn has_day(&self, date: NaiveDate) -> bool {
        let weekday = Weekday::from_days_from_sunday(date.weekday().num_days_from_sunday());
        self.pattern.day_match(date.year(), date.month(), date.day(), weekday).is_ok_and(|fits| fits)
    }

    fn next_time(&self, from: NaiveTime) -> Option<NaiveTime> {
        let (hour, minute, second) = (from.hour(), from.minute(), from.second());
        if has(self.hours, hour) {
            if has(self.minutes, minute)
                && let Some(second) = at_least(self.seconds, second)
            {
                return NaiveTime::from_hms_opt(hour, minute, second);
            }
            if let Some(minute) = at_least(self.minutes, minute + 1) {
                return NaiveTime::from_hms_opt(hour, minute, self.seconds.trailing_zeros());
            }
        }
        let hour = at_least(self.hours, hour + 1)?;
        NaiveTime::from_hms_opt(hour, self.minutes.trailing_zeros(), self.seconds.trailing_zeros())
    }
}

fn by_name(given: &str) -> Result<&'static str, ScheduleError> {
    let known = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(given));
    known.map(|(_, expression)| *expression).ok_or_else(|| ScheduleError::Name {
        given: shown(given),
        nearest: nearest(given, NAMES.iter().map(|(name, _)| *name)).map(str::to_owned),
        known: KNOWN_NAMES,
    })
}

/// The six fields, in upper case.
fn split(expression: &str) -> Result<[String; 6], ScheduleError> {
    let mut texts: Vec<String> = expression.split_whitespace().map(str::to_ascii_uppercase).collect();
    let count = texts.len();
    if count == 5 {
        texts.insert(SECOND, "0".to_owned());
    }
    for day in [DAY_OF_MONTH, DAY_OF_WEEK] {
        // Quartz's word for "the other field says it".
        if texts.get(day).is_some_and(|text| text == "?") {
            texts[day] = "*".to_owned();
        }
    }
    texts.try_into().map_err(|_| ScheduleError::Count { given: shown(expression), count })
}

/// Looks at each part of each field by itself, so that the one that is wrong can be named.
fn check(texts: &[String; 6]) -> Result<(), ScheduleError> {
    for (place, (kind, text)) in KINDS.iter().zip(texts).enumerate() {
        for part in text.split(',') {
            let alone = std::array::from_fn(|other| if other == place { part } else { "*" }.to_owned());
            // A `*` among others would be all of them, and the others a slip.
            let is_good = (part != "*" || text == "*") && kind.can_say(part) && pattern(&alone, false).is_some();
            if !is_good {
                let given = if part.is_empty() { text } else { part };
                return Err(ScheduleError::Field { field: kind.name, given: shown(given), allowed: kind.allowed });
            }
        }
    }
    Ok(())
}

impl Kind {
    /// Refuses what the parser would take for something else: it replaces names in the middle of words and in fields that
    /// have none, and has signs of its own.
    fn can_say(&self, part: &str) -> bool {
        if (self.is_special)(part) {
            return true;
        }
        let is_known = |word: &str| word.is_empty() || is_number(word) || self.names.contains(&word);
        // `*/90` would be the same as `0`, which is not what it looks like.
        let is_sound = |step: &str| step.parse().is_ok_and(|step: u16| step <= self.max);
        part.split(['*', '/', '-', '#']).all(is_known) && part.split_once('/').is_none_or(|(_, step)| is_sound(step))
    }
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn pattern(texts: &[String; 6], both: bool) -> Option<CronPattern> {
    let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Optional).dom_and_dow(both).build();
    parser.parse(&texts.join(" ")).ok().map(|cron| cron.pattern)
}

fn bits(field: &CronComponent) -> u64 {
    field.values().iter().fold(0, |bits, value| bits | 1 << value)
}

const fn has(bits: u64, value: u32) -> bool {
    bits >> value & 1 == 1
}

/// The least value, from one on, that is there.
fn at_least(bits: u64, value: u32) -> Option<u32> {
    let rest = bits >> value;
    (rest != 0).then(|| value + rest.trailing_zeros())
}
