//! How long something lasts, as people write it: `30m`, `12h`, `90d`.

use chrono::TimeDelta;

/// Reads it; none, when it is no such thing.
#[must_use]
pub fn read(text: &str) -> Option<TimeDelta> {
    let split = text.len().checked_sub(1).filter(|at| text.is_char_boundary(*at))?;
    let (number, unit) = text.split_at(split);
    let number: i64 = number.parse().ok().filter(|number| *number > 0)?;
    match unit {
        "m" => TimeDelta::try_minutes(number),
        "h" => TimeDelta::try_hours(number),
        "d" => TimeDelta::try_days(number),
        _ => None,
    }
}

/// Writes it, in the largest unit that it is a whole number of.
#[must_use]
pub fn written(lasts: TimeDelta) -> String {
    let minutes = lasts.num_minutes();
    match (minutes % (24 * 60), minutes % 60) {
        (0, _) => format!("{}d", minutes / (24 * 60)),
        (_, 0) => format!("{}h", minutes / 60),
        _ => format!("{minutes}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (text, lasts) in
            [("90d", TimeDelta::days(90)), ("12h", TimeDelta::hours(12)), ("90m", TimeDelta::minutes(90))]
        {
            assert_eq!(read(text), Some(lasts));
            assert_eq!(written(lasts), text);
        }
        for bad in ["", "d", "9", "-1d", "0d", "9y", "9ä", "99999999999999d"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
