//! `json::`: values to text and back.

use rhai::{Dynamic, EvalAltResult, ImmutableString};

use crate::sandbox::{
    current::thrown,
    meter,
    registry::Registry,
    value::{ReadError, Room, WriteError, read_json, write_json, write_json_pretty},
};

type Refused = Box<EvalAltResult>;

pub(in crate::sandbox) fn register(registry: &mut Registry) {
    registry
        .add("parse(text: string) -> ?", "The value of a JSON text. Throws when it is none.", |text: &str| {
            read_json(text.as_bytes(), &meter::limits()).map_err(|error| match error {
                ReadError::Invalid(why) => thrown(format!("json::parse: {why}")),
                ReadError::Limit { name, message } => meter::over_limit(name, message),
                // Already noted: any error ends the run now.
                ReadError::Over => thrown("json::parse: the run is over"),
            })
        })
        .add(
            "stringify(value: ?) -> string",
            "The value as JSON, the keys of maps in order. A blob is its base64; throws on functions, NaN and infinity.",
            |value: Dynamic| stringify(&value),
        )
        .add(
            "stringify_pretty(value: ?) -> string",
            "The value as JSON on several lines, indented by two spaces.",
            |value: Dynamic| text("json::stringify_pretty", write_json_pretty(&value, &meter::limits(), room())),
        );
}

/// A value as JSON, for scripts.
pub(in crate::sandbox) fn stringify(value: &Dynamic) -> Result<ImmutableString, Refused> {
    text("json::stringify", write_json(value, &meter::limits(), room()))
}

fn room() -> Room {
    Room { bytes: meter::limits().max_string_bytes, limit: "max_string_bytes" }
}

fn text(call: &str, written: Result<Vec<u8>, WriteError>) -> Result<ImmutableString, Refused> {
    match written {
        Ok(json) => Ok(String::from_utf8(json).expect("JSON is UTF-8").into()),
        Err(WriteError::Limit { name, message }) => Err(meter::over_limit(name, message)),
        Err(error) => Err(thrown(format!("{call}: {}", error.describe()))),
    }
}
