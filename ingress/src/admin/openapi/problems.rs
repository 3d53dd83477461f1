//! How an endpoint may refuse: with which statuses follows from what it requires, takes and answers.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{
    contract::{Content, Contract},
    is_read, parameters, reason, refer_header,
};
use crate::{
    admin::{Endpoint, Requires, endpoints::Said},
    problem::Kind,
};

pub(super) fn statuses(endpoint: &Endpoint, said: &Said, contract: &Contract) -> BTreeSet<u16> {
    let mut statuses = BTreeSet::from([500, 503]);
    statuses.extend(said.refused);
    match endpoint.requires {
        Requires::Nothing => {}
        // A cookie without its proof changes nothing.
        Requires::Principal if is_read(endpoint) => statuses.extend([401]),
        Requires::Principal | Requires::Instance(_) => statuses.extend([401, 403]),
        // An app that has another name now.
        Requires::App(_) => statuses.extend([308, 401, 403, 404]),
        Requires::Deploy => statuses.extend([401, 403, 404]),
    }
    if parameters::names(endpoint.path).next().is_some() {
        statuses.extend([400, 404]);
    }
    // A name that is another path: that one need not have this method.
    if parameters::names(endpoint.path).any(|name| parameters::taken(endpoint.path, name).next().is_some()) {
        statuses.insert(405);
    }
    match contract.body {
        Some(Content::Json(_)) => statuses.extend([400, 408, 413, 415, 422]),
        Some(Content::Form) => statuses.extend([413]),
        Some(Content::Events(_) | Content::Html | Content::Text | Content::File) | None => {}
    }
    if contract.query.is_some() {
        statuses.insert(422);
    }
    if contract.has_if_match {
        statuses.extend([400, 412]);
    }
    // Others may keep changing what it decides on.
    if contract.has_cursor {
        statuses.insert(409);
    }
    statuses
}

/// RFC 9457, with what is said besides.
pub(super) fn schema() -> Value {
    let text = |what: &str| json!({ "type": "string", "description": what });
    let id = |prefix: &str, what: &str| json!({ "type": "string", "pattern": format!("^{prefix}[0-7][0-9A-HJKMNP-TV-Z]{{25}}$"), "description": what });
    let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.reference()).collect();
    json!({
        "type": "object",
        "description": "What went wrong (RFC 9457). Some kinds have members of their own, such as `diagnostics`.",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": { "type": "string", "enum": kinds, "description": "What kind of problem it is, stable for ever." },
            "title": text("The same for all problems of the kind."),
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "detail": text("What was wrong, with which value, and what to do."),
            "request_id": id("req_", "The request that met it, as `x-request-id`."),
            "invocation_id": id("inv_", "The run that met it."),
            "field": text("Which part of the input is wrong."),
            "limit": text("Which limit was passed."),
        },
    })
}

/// One answer a status, told apart by their `type`.
pub(super) fn responses() -> Value {
    let statuses: BTreeSet<u16> = Kind::ALL.iter().map(|kind| kind.status().as_u16()).collect();
    let mut responses: Map<String, Value> =
        statuses.into_iter().map(|status| (format!("Problem{status}"), response(status))).collect();
    let headers: Map<String, Value> = ["location", "x-request-id"].into_iter().map(refer_header).collect();
    let what = "The app has another name now: the same path under that.";
    responses.insert("Renamed".to_owned(), json!({ "description": what, "headers": headers }));
    responses.into()
}

fn response(status: u16) -> Value {
    let mut headers = vec!["x-request-id"];
    match status {
        401 => headers.push("www-authenticate"),
        409 | 429 | 503 => headers.push("retry-after"),
        _ => {}
    }
    let headers: Map<String, Value> = headers.into_iter().map(refer_header).collect();
    json!({
        "description": reason(status),
        "headers": headers,
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
    })
}
