//! Values of scripts as they are stored: JSON that reads back as the same value.

use picloud_core::json::has_null_character;
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
    if has_null_character(&json) {
        return Err(thrown(format!("{} has the character U+0000", what())));
    }
    let json = String::from_utf8(json).expect("JSON is UTF-8");
    Ok(RawValue::from_string(json).expect("it was just written as JSON"))
}
