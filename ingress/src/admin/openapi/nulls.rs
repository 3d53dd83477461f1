//! What may be null. The schemas of forms say it of every `Option`; serde and URLs are more exact.

use serde_json::{Value, json};

/// Makes the schema of an answer say what serde does: a member that may be left out is so instead of being null, and an
/// object that is flattened into another adds nothing instead.
pub(super) fn settle(schema: &mut Value) {
    for part in schema.get_mut("allOf").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(object) = without(part) {
            *part = json!({ "anyOf": [object, { "type": "object" }] });
        } else {
            settle(part);
        }
    }
    for choice in schema.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten() {
        settle(choice);
    }
    let required = schema["required"].clone();
    let is_required = |name: &str| required.as_array().is_some_and(|required| required.iter().any(|one| one == name));
    for (name, member) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        if !is_required(name)
            && let Some(settled) = without(member)
        {
            *member = settled;
        }
    }
}

/// A schema without its null; none when it has none.
pub(super) fn without(schema: &Value) -> Option<Value> {
    let is_null = |one: &Value| one == "null" || one["type"] == "null";
    if let Some(types) = schema["type"].as_array() {
        let mut settled = schema.clone();
        settled["type"] = types.iter().find(|one| !is_null(one))?.clone();
        return Some(settled);
    }
    let choices = schema["oneOf"].as_array()?;
    if !choices.iter().any(is_null) {
        return None;
    }
    choices.iter().find(|one| !is_null(one)).cloned()
}
