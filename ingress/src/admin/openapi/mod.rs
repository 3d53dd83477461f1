//! `GET /api/v1/openapi.json`: what this API takes and answers, as OpenAPI 3.1.
//!
//! Nothing is said twice: the paths, what they require and a line for each are in the table of endpoints, bodies and
//! headers in the handlers' signatures ([`contract`]), statuses follow from both (`problems`). `examples.json` has an
//! example for each body, by the name of its schema.

pub(super) mod contract;
mod nulls;
mod parameters;
mod problems;

use std::{collections::BTreeMap, sync::LazyLock};

use axum::{
    body::Bytes,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

pub(super) use contract::{Events, File, Html, Text, Told};

use self::contract::{Content, Contract};
use super::{
    ENDPOINTS, Endpoint, Requires,
    cookie::CSRF_HEADER,
    endpoints::{SAID, Said, contracts},
    write::Shown,
};
use crate::data_plane::SESSION_COOKIES;

const EXAMPLES: &str = include_str!("examples.json");

/// An OpenAPI document.
#[derive(Debug, ToSchema)]
#[schema(as = OpenApi)]
#[expect(dead_code, reason = "it is a schema only")]
pub(super) struct Document {
    openapi: String,
    info: Value,
    paths: Value,
    components: Value,
}

pub(super) async fn show() -> Told<Shown<Document>> {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());
    let mut response: Response = TEXT.clone().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.into()
}

fn document() -> Value {
    let mut paths = Map::new();
    let mut schemas = BTreeMap::new();
    for ((endpoint, said), contract) in ENDPOINTS.iter().zip(SAID).zip(contracts()) {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.to_ascii_lowercase()] = operation(endpoint, said, &contract);
        schemas.extend(contract.schemas);
    }
    schemas.insert("Problem".to_owned(), problems::schema());
    with_examples(&mut schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "PiCloud",
            "version": "v1",
            "summary": "How apps are set up, by whom, and what happened.",
            "description": "Lists are pages: `cursor` asks for what comes after, until it is null: a page with one may be \
                            empty. A write answers with `x-picloud-cursor`, \
                            the place in the log up to which it is durable. Errors are RFC 9457 problems.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": tags(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": problems::responses(),
            "headers": headers(),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key (`pic_…`), or a session's token.",
                },
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": SESSION_COOKIES[0],
                    "description": format!("A browser's session. Over plain http it is `{}`.", SESSION_COOKIES[1]),
                },
                "csrf": {
                    "type": "apiKey",
                    "in": "header",
                    "name": CSRF_HEADER,
                    "description": "Goes with the cookie where something is changed: `csrf` of `GET /api/v1/admin/session`.",
                },
            },
        },
    })
}

fn operation(endpoint: &Endpoint, said: &Said, contract: &Contract) -> Value {
    let (summary, more) = said.lines.split_first().expect("every row has a line");
    let mut operation = json!({
        "operationId": operation_id(said.handler),
        "tags": [tag(said.handler)],
        "summary": summary.trim().trim_end_matches('.'),
    });
    let mut add = |member: &str, value: Value| {
        operation[member] = value;
    };
    if !more.is_empty() {
        add("description", more.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ").into());
    }
    match endpoint.requires {
        Requires::Instance(capability) | Requires::App(capability) => {
            add("x-picloud-capability", json!(capability));
        }
        Requires::Deploy => add("x-picloud-capability", json!("AppWriteScript")),
        Requires::Nothing | Requires::Principal => {}
    }
    add("security", security(endpoint));
    let parameters = parameters::of(endpoint, contract);
    if !parameters.is_empty() {
        add("parameters", parameters.into());
    }
    if let Some(body) = &contract.body {
        add("requestBody", json!({ "required": true, "content": content(body) }));
    }
    add("responses", responses(endpoint, said, contract));
    operation
}

/// `scripts::versions::list` is `scriptsVersionsList`.
fn operation_id(handler: &str) -> String {
    let mut words: Vec<&str> = handler.split([':', '_', ' ']).filter(|word| !word.is_empty()).collect();
    words.dedup();
    let capitalised = |word: &&str| format!("{}{}", word[..1].to_ascii_uppercase(), &word[1..]);
    words.iter().take(1).map(|first| (*first).to_owned()).chain(words.iter().skip(1).map(capitalised)).collect()
}

fn tag(handler: &str) -> &str {
    handler.split(':').next().unwrap_or(handler).trim()
}

fn tags() -> Value {
    let mut tags: Vec<&str> = Vec::new();
    for said in SAID {
        if !tags.contains(&tag(said.handler)) {
            tags.push(tag(said.handler));
        }
    }
    tags.into_iter().map(|tag| json!({ "name": tag })).collect()
}

fn security(endpoint: &Endpoint) -> Value {
    match endpoint.requires {
        Requires::Nothing => json!([]),
        _ if is_read(endpoint) => json!([{ "bearer": [] }, { "cookie": [] }]),
        _ => json!([{ "bearer": [] }, { "cookie": [], "csrf": [] }]),
    }
}

fn is_read(endpoint: &Endpoint) -> bool {
    endpoint.method == Method::GET
}

fn content(content: &Content) -> Value {
    match content {
        Content::Json(schema) => json!({ "application/json": { "schema": schema } }),
        Content::Events(data) => json!({ "text/event-stream": {
            "schema": { "type": "string" },
            // OpenAPI 3.1 knows no streams: this is the schema of the data of each `message`.
            "x-picloud-data": data,
        }}),
        Content::Form => {
            let text = json!({ "type": "string" });
            json!({ "application/x-www-form-urlencoded": { "schema": {
                "type": "object",
                "properties": { "token": text, "email": text, "name": text, "password": text },
                "required": ["token", "password"],
            }}})
        }
        Content::Html => json!({ "text/html": { "schema": { "type": "string" } } }),
        Content::File => json!({ "application/octet-stream": {} }),
        Content::Text => json!({ "text/plain": { "schema": { "type": "string" } } }),
    }
}

fn responses(endpoint: &Endpoint, said: &Said, contract: &Contract) -> Value {
    let mut responses = Map::new();
    let usual: &[u16] = if contract.answer.is_some() { &[200] } else { &[204] };
    for status in if said.succeeds.is_empty() { usual } else { said.succeeds } {
        responses.insert(status.to_string(), success(*status, contract));
    }
    let is_page = matches!(contract.answer, Some(Content::Html));
    for status in problems::statuses(endpoint, said, contract) {
        let answer = match status {
            308 => json!({ "$ref": "#/components/responses/Renamed" }),
            413 if is_page => json!({ "description": reason(status), "content": content(&Content::Text) }),
            401.. if is_page => json!({ "description": reason(status), "content": content(&Content::Html) }),
            _ => json!({ "$ref": format!("#/components/responses/Problem{status}") }),
        };
        // What an endpoint answers with a status that refuses elsewhere is its answer all the same.
        responses.entry(status.to_string()).or_insert(answer);
    }
    responses.sort_keys();
    responses.into()
}

fn success(status: u16, contract: &Contract) -> Value {
    let mut names = vec!["x-request-id"];
    names.extend(contract.has_cursor.then_some("x-picloud-cursor"));
    names.extend(contract.has_etag.then_some("etag"));
    let headers: Map<String, Value> = names.into_iter().map(refer_header).collect();
    let mut answer = json!({ "description": reason(status), "headers": headers });
    if let Some(body) = &contract.answer {
        answer["content"] = content(body);
    }
    answer
}

fn refer_header(name: &str) -> (String, Value) {
    (name.to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }))
}

fn headers() -> Value {
    let text = |what: &str| json!({ "description": what, "schema": { "type": "string" } });
    json!({
        "x-request-id": {
            "description": "The request, as events and problems name it.",
            "schema": { "type": "string", "pattern": "^req_" },
        },
        "x-picloud-cursor": text("The place in the log up to which the write is durable."),
        "etag": text("The version that is shown, for `if-match`."),
        "location": text("Where it is now."),
        "www-authenticate": text("How to sign in."),
        "retry-after": { "description": "In how many seconds to try again.", "schema": { "type": "integer" } },
    })
}

fn reason(status: u16) -> String {
    let known = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    known.map_or_else(|| status.to_string(), str::to_owned)
}

fn with_examples(schemas: &mut BTreeMap<String, Value>) {
    let examples: Map<String, Value> = serde_json::from_str(EXAMPLES).expect("the examples are JSON");
    for (name, example) in examples {
        let page = format!("{name}Page");
        if let Some(page) = schemas.get_mut(&page) {
            let mut shown = json!({ "items": [&example], "cursor": null });
            if page["properties"].get("searched_to").is_some() {
                shown["searched_to"] = Value::Null;
            }
            page["examples"] = json!([shown]);
        }
        let schema = schemas.get_mut(&name).expect("examples are named after their schemas");
        schema["examples"] = json!([example]);
    }
}
