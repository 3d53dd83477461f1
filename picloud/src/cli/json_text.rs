//! JSON on the command line: as it was typed, or (@file) from a file.

use serde_json::Value;

use crate::failure::Failure;

/// Reads what was said; `what` is what people call it.
pub(super) fn read(what: &str, said: &str) -> Result<Value, Failure> {
    let text = match said.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("failed to read the {what} from {file}: {error}")))?,
        None => said.to_owned(),
    };
    serde_json::from_str(&text).map_err(|error| Failure::usage(format!("the {what} is no JSON: {error}")))
}
