//! Values of scripts as they are stored: JSON that reads back as the same value.

use rhai::{Dynamic, EvalAltResult};
use serde_json::value::RawValue;

use crate::sandbox::{
    current::thrown,
    meter,
    value::{Room, WriteError, write_json_exactly},
};

/// The value as JSON; `what` names it in messages, the call first.
pub(super) fn stored(
    value: &Dynamic,
    room: Room,
    what: impl Fn() -> String,
) -> Result<Box<RawValue>, Box<EvalAltResult>> {
    let json = write_json_exactly(value, &meter::limits(), room).map_err(|error| match error {
        WriteError::Limit { name, message } => meter::over_limit(name, format!("{}: {message}", what())),
        error => thrown(format!("{}: {}", what(), error.describe())),
    })?;
    if contains_nul(&json) {
        return Err(thrown(format!("{} has the character U+0000", what())));
    }
    let json = String::from_utf8(json).expect("JSON is UTF-8");
    Ok(RawValue::from_string(json).expect("it was just written as JSON"))
}

/// Whether a text value has U+0000, which PostgreSQL refuses to store; in JSON it can only be an escape.
fn contains_nul(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        if rest[at + 1..].starts_with(b"u0000") {
            return true;
        }
        // What follows a backslash is escaped, a second backslash too.
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    false
}
