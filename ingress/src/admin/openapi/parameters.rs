//! What goes in besides the body: parts of the path, the query, headers.

use serde_json::{Value, json};

use super::{
    contract::{Content, Contract},
    nulls,
};
use crate::admin::Endpoint;

pub(super) fn of(endpoint: &Endpoint, contract: &Contract) -> Vec<Value> {
    let mut parameters: Vec<Value> = names(endpoint.path).map(in_path).collect();
    if let Some(query) = &contract.query {
        parameters.extend(in_query(query));
    }
    if contract.has_if_match {
        let what = "The `etag` of what was read: refused with 412 when it was changed since.";
        parameters.push(in_header("if-match", what));
    }
    if matches!(contract.answer, Some(Content::Events(_))) {
        parameters.push(in_header("last-event-id", "The `id` of the last frame that was read, instead of `after`."));
    }
    if matches!(contract.answer, Some(Content::Html)) && endpoint.method == "GET" {
        parameters.push(json!({ "name": "token", "in": "query", "schema": { "type": "string" } }));
    }
    parameters
}

/// What varies in a path.
pub(super) fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn in_path(name: &str) -> Value {
    let what = match name {
        "app" => "Id or slug.",
        "account" => "Id or address.",
        "domain" => "Id or host.",
        "script" => "Id or name.",
        "version" => "Id or number.",
        "collection" | "name" => "Its name.",
        "key" => "The key or its id.",
        _ => "Its id.",
    };
    json!({ "name": name, "in": "path", "required": true, "description": what, "schema": { "type": "string" } })
}

fn in_header(name: &str, what: &str) -> Value {
    json!({ "name": name, "in": "header", "description": what, "schema": { "type": "string" } })
}

fn in_query(object: &Value) -> Vec<Value> {
    let members = object["properties"].as_object();
    let required = object["required"].as_array();
    let parameter = |(name, schema): (&String, &Value)| {
        // What is not given is absent: a URL has no null.
        let mut schema = nulls::without(schema).unwrap_or_else(|| schema.clone());
        let mut parameter = json!({ "name": name, "in": "query" });
        if required.is_some_and(|required| required.iter().any(|one| one == name.as_str())) {
            parameter["required"] = true.into();
        }
        if let Some(what) = schema.as_object_mut().and_then(|schema| schema.shift_remove("description")) {
            parameter["description"] = what;
        }
        parameter["schema"] = schema;
        parameter
    };
    members.into_iter().flatten().map(parameter).collect()
}
