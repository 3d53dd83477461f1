//! Cuts credentials out of what is kept of a run: what is in the log is there for ever, encrypted or not.

use std::borrow::Cow;

use picloud_core::run::LogLine;
use serde_json::value::RawValue;

/// What stands in a credential's place.
pub(crate) const CUT: &str = "[redacted]";

/// A text without them.
pub(crate) fn text<'t>(text: &'t str, secrets: &[String]) -> Cow<'t, str> {
    secrets.iter().fold(Cow::Borrowed(text), |text, secret| match text.contains(secret) {
        true => Cow::Owned(text.replace(secret, CUT)),
        false => text,
    })
}

/// Log lines without them.
pub(crate) fn lines(mut lines: Vec<LogLine>, secrets: &[String]) -> Vec<LogLine> {
    if secrets.is_empty() {
        return lines;
    }
    for line in &mut lines {
        line.message = text(&line.message, secrets).into_owned();
        if let Some(data) = &mut line.data
            && let Cow::Owned(cut) = text(data.get(), secrets)
        {
            // A token has no character that JSON would write otherwise, nor has what stands in its place.
            *data = RawValue::from_string(cut).expect("it is JSON as before");
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use picloud_core::run::LogLevel;

    use super::*;

    #[test]
    fn credentials_are_cut_wherever_they_stand() {
        let secrets = ["aaa.bbb".to_owned(), "ccc".to_owned()];
        assert_eq!(text("x aaa.bbb y aaa.bbb ccc", &secrets), "x [redacted] y [redacted] [redacted]");
        assert!(matches!(text("aaa", &secrets), Cow::Borrowed("aaa")));
    }

    #[test]
    fn log_lines_stay_what_they_are_but_for_them() {
        let data = RawValue::from_string("{\"token\":\"ccc\"}".to_owned()).expect("JSON");
        let line = LogLine { level: LogLevel::Info, after_us: 1, message: "made ccc".to_owned(), data: Some(data) };
        let [line] = &lines(vec![line], &["ccc".to_owned()])[..] else { panic!("one line") };
        assert_eq!(line.message, "made [redacted]");
        assert_eq!(line.data.as_ref().map(|data| data.get()), Some("{\"token\":\"[redacted]\"}"));
    }
}
