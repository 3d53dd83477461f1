//! What goes over the wire: server-sent events (WHATWG HTML §9.2).

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use picloud_core::id::RequestId;
use serde::Serialize;
use serde_json::value::RawValue;

#[derive(Serialize)]
struct Message<'a> {
    topic: &'a str,
    message: &'a RawValue,
    published_at: String,
}

/// A message. What is not kept has no place to come back to, and no id.
pub(super) fn message(topic: &str, message: &RawValue, published_at: DateTime<Utc>, id: Option<&str>) -> Bytes {
    let published_at = published_at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let data = serde_json::to_string(&Message { topic, message, published_at }).expect("messages are plain data");
    frame(id, "message", &data)
}

/// Why a stream ends, or begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// The cursor is none of this log as it is now.
    Gone,
    /// The reader was so slow that what it had not read was given up; it is all in the log.
    Slow,
    /// Too many streams are open.
    Overloaded,
    /// The token's time is up.
    TokenExpired,
    /// What was asked for cannot be listened to any more, or not with this token.
    Unauthorized,
    /// The app is paused.
    AppPaused,
    /// The database is away.
    Unavailable,
    /// The node goes.
    ShuttingDown,
}

/// What is said about the stream itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// All that there was has been told, up to the cursor.
    UpToDate,
    /// The stream begins at its end: what was asked for is gone.
    Reset,
    /// It ends: come back with the cursor.
    Lagged,
    /// It ends.
    Closed(Reason),
}

#[derive(Serialize)]
struct Said<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
}

/// A control frame. With a cursor it is where the reader goes on after it.
pub(crate) fn control(control: Control, cursor: Option<&str>) -> Bytes {
    let (event, reason) = match control {
        Control::UpToDate => ("up-to-date", None),
        Control::Reset => ("reset", Some(Reason::Gone)),
        Control::Lagged => ("lagged", Some(Reason::Slow)),
        Control::Closed(reason) => ("closed", Some(reason)),
    };
    let data = serde_json::to_string(&Said { reason, cursor }).expect("control frames are plain data");
    frame(cursor, event, &data)
}

/// Any frame, with JSON as its data.
pub(crate) fn frame(id: Option<&str>, event: &str, data: &str) -> Bytes {
    let mut text = String::with_capacity(48 + event.len() + data.len());
    if let Some(id) = id {
        text.extend(["id: ", id, "\n"]);
    }
    text.extend(["event: ", event, "\n"]);
    // JSON may have line ends between its parts: a client joins lines with such again.
    for line in data.split(['\n', '\r']) {
        text.extend(["data: ", line, "\n"]);
    }
    text.push('\n');
    text.into()
}

/// That the stream lives: a line alone. With an empty one behind it some clients take it for an event without data.
pub(crate) const HEARTBEAT: Bytes = Bytes::from_static(b":\n");

/// After how long to come back, when it ends: between one and three seconds, for everybody another. A line alone, as
/// [`HEARTBEAT`] is.
pub(crate) fn retry() -> Bytes {
    let random = RequestId::generate().ulid().random();
    format!("retry: {}\n", 1_000 + random % 2_000).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
    }

    #[test]
    fn a_message_is_one_event() {
        let value = RawValue::from_string(r#"{"n":1}"#.to_owned()).expect("JSON");
        let frame = message("room.7", &value, at(), Some("AbC"));
        assert_eq!(
            frame,
            "id: AbC\nevent: message\ndata: {\"topic\":\"room.7\",\"message\":{\"n\":1},\"published_at\":\"2027-01-15T08:00:00.000000Z\"}\n\n"
        );
        assert!(message("room.7", &value, at(), None).starts_with(b"event: message\n"));
    }

    #[test]
    fn a_line_end_within_json_breaks_no_frame() {
        let value = RawValue::from_string("{\n \"n\":\r\n1\r}".to_owned()).expect("JSON");
        let frame = message("a", &value, at(), None);
        let text = std::str::from_utf8(&frame).expect("UTF-8");
        let data: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let read: serde_json::Value = serde_json::from_str(&data.join("\n")).expect("JSON again");
        assert_eq!(read["message"]["n"], 1);
        assert_eq!(text.matches("\n\n").count(), 1, "{text}");
        assert!(!text.contains('\r'));
    }

    #[test]
    fn a_control_frame_says_why_and_where_to_go_on() {
        assert_eq!(
            control(Control::Closed(Reason::TokenExpired), Some("AbC")),
            "id: AbC\nevent: closed\ndata: {\"reason\":\"token_expired\",\"cursor\":\"AbC\"}\n\n"
        );
        assert_eq!(
            control(Control::UpToDate, Some("AbC")),
            "id: AbC\nevent: up-to-date\ndata: {\"cursor\":\"AbC\"}\n\n"
        );
        assert_eq!(
            control(Control::Closed(Reason::Overloaded), None),
            "event: closed\ndata: {\"reason\":\"overloaded\"}\n\n"
        );
    }
}
