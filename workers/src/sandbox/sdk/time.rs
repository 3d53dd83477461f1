//! `time::`: instants as RFC 3339 text in UTC. The run's clock stands still: a repeated run sees the same.

use chrono::format::StrftimeItems;
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, SecondsFormat, TimeDelta, Utc, format::Item};
use chrono_tz::Tz;
use rhai::{EvalAltResult, INT, Map};

use crate::sandbox::{
    current::{thrown, with},
    registry::Registry,
    value::kind_name,
};

type Refused = Box<EvalAltResult>;

const UNITS: &[&str] = &["years", "months", "weeks", "days", "hours", "minutes", "seconds", "ms"];
const MAX_FORMAT: usize = 256;

pub(in crate::sandbox) fn register(registry: &mut Registry) {
    registry
        .add("now() -> string", "When the run began, like `2026-01-31T12:00:00.000Z`.", || now().map(rfc3339))
        .add("now_ms() -> int", "When the run began, in milliseconds since 1970.", || {
            now().map(|now| now.timestamp_millis())
        })
        .add(
            "parse(text: string) -> int",
            "Milliseconds since 1970 of an RFC 3339 time, a date (midnight in UTC) or a date and time (in UTC).",
            |text: &str| parse("time::parse", text).map(|time| time.timestamp_millis()),
        )
        .add("format(ms: int) -> string", "Milliseconds since 1970 as RFC 3339 in UTC.", |ms: INT| {
            from_ms("time::format", ms).map(rfc3339)
        })
        .add(
            "format(ms: int, format: string) -> string",
            "Milliseconds since 1970 by a strftime format such as `%Y-%m-%d %H:%M`, in UTC.",
            |ms: INT, format: &str| formatted(ms, format, "UTC"),
        )
        .add(
            "format(ms: int, format: string, zone: string) -> string",
            "Milliseconds since 1970 by a strftime format, in a time zone such as `Europe/Berlin`.",
            formatted,
        )
        .add(
            "add(ms: int, amounts: map) -> int",
            "Milliseconds since 1970 with `#{years, months, weeks, days, hours, minutes, seconds, ms}` added.",
            |ms: INT, amounts: Map| add(ms, &amounts),
        );
}

fn now() -> Result<DateTime<Utc>, Refused> {
    with(|run| run.input.now)
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn from_ms(call: &str, ms: INT) -> Result<DateTime<Utc>, Refused> {
    DateTime::from_timestamp_millis(ms)
        .filter(|time| (-9999..=9999).contains(&time.year()))
        .ok_or_else(|| thrown(format!("{call}: {ms} ms is outside the years -9999 to 9999")))
}

fn parse(call: &str, text: &str) -> Result<DateTime<Utc>, Refused> {
    let text: &str = if text.len() > 64 { "" } else { text };
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .or_else(|_| text.parse::<NaiveDateTime>().map(|time| time.and_utc()))
        .or_else(|_| text.parse::<NaiveDate>().map(|date| date.and_time(chrono::NaiveTime::MIN).and_utc()))
        .map_err(|_| thrown(format!("{call}: `{text}` is no time: write it like 2026-01-31T12:00:00Z or 2026-01-31")))
}

fn formatted(ms: INT, format: &str, zone: &str) -> Result<String, Refused> {
    let time = from_ms("time::format", ms)?;
    let zone: Tz = zone.parse().map_err(|_| {
        let zone: String = zone.chars().take(64).collect();
        thrown(format!("time::format: `{zone}` is no time zone: use names like Europe/Berlin or UTC"))
    })?;
    if format.len() > MAX_FORMAT {
        return Err(thrown(format!("time::format: the format is longer than {MAX_FORMAT} bytes")));
    }
    let items: Vec<Item<'_>> = StrftimeItems::new(format).collect();
    if items.contains(&Item::Error) {
        return Err(thrown(format!("time::format: `{format}` is no strftime format")));
    }
    Ok(time.with_timezone(&zone).format_with_items(items.iter()).to_string())
}

fn add(ms: INT, amounts: &Map) -> Result<INT, Refused> {
    let mut time = from_ms("time::add", ms)?;
    if let Some(unknown) = amounts.keys().find(|unit| !UNITS.contains(&unit.as_str())) {
        return Err(thrown(format!("time::add: there is no `{unknown}`; there is {}", UNITS.join(", "))));
    }
    // From the largest to the smallest, whatever the order they are written in.
    for unit in UNITS {
        let Some(amount) = amounts.get(*unit) else { continue };
        let amount =
            amount.as_int().map_err(|_| thrown(format!("time::add: `{unit}` is {}, not an int", kind_name(amount))))?;
        time = step(time, unit, amount)
            .ok_or_else(|| thrown(format!("time::add: {amount} {unit} leads out of the calendar")))?;
    }
    from_ms("time::add", time.timestamp_millis()).map(|time| time.timestamp_millis())
}

fn step(time: DateTime<Utc>, unit: &str, amount: INT) -> Option<DateTime<Utc>> {
    let months = |time: DateTime<Utc>, months: INT| {
        let count = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
        if months < 0 { time.checked_sub_months(count) } else { time.checked_add_months(count) }
    };
    let days = |time: DateTime<Utc>, days: INT| {
        let count = Days::new(days.unsigned_abs());
        if days < 0 { time.checked_sub_days(count) } else { time.checked_add_days(count) }
    };
    match unit {
        "years" => months(time, amount.checked_mul(12)?),
        "months" => months(time, amount),
        "weeks" => days(time, amount.checked_mul(7)?),
        "days" => days(time, amount),
        "hours" => time.checked_add_signed(TimeDelta::try_hours(amount)?),
        "minutes" => time.checked_add_signed(TimeDelta::try_minutes(amount)?),
        "seconds" => time.checked_add_signed(TimeDelta::try_seconds(amount)?),
        _ => time.checked_add_signed(TimeDelta::try_milliseconds(amount)?),
    }
}
