//! What goes in besides the body: parts of the path, the query, headers.

use std::collections::BTreeSet;

use picloud_core::id::{DeadLetterId, InvocationId, JobId, OutboxId, RouteId, SessionId, TriggerId};
use serde_json::{Value, json};

use super::{
    contract::{Content, Contract},
    nulls,
};
use crate::admin::{ENDPOINTS, Endpoint};

pub(super) fn of(endpoint: &Endpoint, contract: &Contract) -> Vec<Value> {
    let mut parameters: Vec<Value> = names(endpoint.path).map(|name| in_path(endpoint.path, name)).collect();
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

/// What else stands in the place of a name that varies: those paths are others.
pub(super) fn taken<'a>(path: &'a str, name: &str) -> impl Iterator<Item = &'static Endpoint> + use<'a> {
    let place = path.split('/').position(|part| part == format!("{{{name}}}"));
    ENDPOINTS.iter().filter(move |other| {
        let (mine, theirs) = (path.split('/'), other.path.split('/'));
        let is_as_long = mine.clone().count() == theirs.clone().count();
        is_as_long
            && mine.zip(theirs).enumerate().all(|(n, (mine, theirs))| match Some(n) == place {
                true => !theirs.starts_with('{'),
                false => mine == theirs,
            })
    })
}

/// The prefix of what is named by its id alone.
fn prefix(name: &str) -> Option<&'static str> {
    Some(match name {
        "route" => RouteId::PREFIX,
        "invocation" => InvocationId::PREFIX,
        "letter" => DeadLetterId::PREFIX,
        "item" => OutboxId::PREFIX,
        "trigger" => TriggerId::PREFIX,
        "job" => JobId::PREFIX,
        "session" => SessionId::PREFIX,
        _ => return None,
    })
}

fn in_path(path: &str, name: &str) -> Value {
    let place = path.split('/').position(|part| part == format!("{{{name}}}")).unwrap_or_default();
    let others: BTreeSet<&str> = taken(path, name).filter_map(|other| other.path.split('/').nth(place)).collect();
    let mut schema = json!({ "type": "string" });
    if let Some(prefix) = prefix(name) {
        schema["pattern"] = format!("^{prefix}[0-7][0-9A-HJKMNP-TV-Z]{{25}}$").into();
    } else if !others.is_empty() {
        schema["not"] = json!({ "enum": others });
    }
    let what = match name {
        "app" => "Id or slug.",
        "account" => "Id or address.",
        "domain" => "Id or host.",
        "exception" => "The host or network, with the port if there is one.",
        "script" => "Id or name.",
        "version" => "Id or number.",
        "collection" | "name" | "queue" => "Its name.",
        "topic" => "A topic, `prefix.*` or `*`.",
        "key" => "The key or its id.",
        _ => "Its id.",
    };
    json!({ "name": name, "in": "path", "required": true, "description": what, "schema": schema })
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
