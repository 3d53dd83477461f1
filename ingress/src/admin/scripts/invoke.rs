//! Runs a script to try it out: the same run as over HTTP, with its logs, and a failure as part of the answer.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Uri};
use picloud_core::{
    event::script::ScriptKind,
    id::InvocationId,
    limits::Limits,
    policy::rights_in,
    routing::{decode, normalise_host},
    run::{self, Call, Finished, InvocationType, LogLine, Record, Request},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use utoipa::ToSchema;

use crate::{
    admin::{
        Plane, Urls,
        access::{Caller, InApp, short},
        body::Json,
    },
    data_plane::outcome,
    problem::{Kind, Problem},
};

/// The request that the script is to see.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = TestRequest)]
pub(in crate::admin) struct Input {
    method: Option<String>,
    path: Option<String>,
    query: BTreeMap<String, OneOrMany>,
    headers: BTreeMap<String, OneOrMany>,
    /// JSON; `content-type` is set unless given.
    #[schema(value_type = serde_json::Value)]
    body: Option<Box<RawValue>>,
    /// Text as it is.
    body_text: Option<String>,
    /// Bytes.
    body_base64: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// What the run came to: `answer` or `error`, never both.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TestRun)]
pub(in crate::admin) struct Outcome {
    invocation: InvocationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<AnswerForm>,
    /// The problem that a caller over HTTP would have got.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = serde_json::Value)]
    error: Option<Value>,
    logs: Vec<LogLine>,
    duration_us: u64,
    operations: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TestAnswer)]
struct AnswerForm {
    status: u16,
    headers: Vec<(String, String)>,
    /// What the script answered, where it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = serde_json::Value)]
    body: Option<Box<RawValue>>,
    /// Where it is other text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_text: Option<String>,
    /// Where it is neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

pub(in crate::admin) async fn invoke(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    Json(input): Json<Input>,
) -> Result<Answer<Outcome>, Problem> {
    let script = super::find(&app, &named)?;
    if script.kind == ScriptKind::Module {
        let detail = format!("the script `{}` is a module: it is imported by others and cannot be run", script.name);
        return Err(Problem::new(Kind::Conflict, detail));
    }
    let active = script.active.as_ref().ok_or_else(|| {
        Problem::new(Kind::NoActiveVersion, format!("the script `{}` has no active version; activate one", script.name))
    })?;
    let request = request(input, &active.limits, &plane.urls)?;
    let invocation = InvocationId::generate();
    let call = Call {
        invocation,
        request_id: Some(caller.request()),
        program: Arc::clone(&active.program),
        kind: InvocationType::Test,
        route: None,
        actor: caller.actor(),
        rights: rights_in(&caller.principal, app.id),
        request,
        event: None,
        record: Record::Full,
        item: None,
        idempotency: None,
    };
    match plane.invoker.invoke(call).await {
        Ok(finished) => Ok(Answer(Outcome::of(invocation, finished))),
        Err(unavailable) => Err(outcome::not_run(invocation, &unavailable)),
    }
}

impl Outcome {
    fn of(invocation: InvocationId, finished: Finished) -> Self {
        let Finished { result, logs, duration_us, operations } = finished;
        let (answer, error) = match result {
            Ok(answer) => (Some(AnswerForm::of(answer)), None),
            Err(failure) => (None, Some(outcome::failed(failure).invocation(invocation).to_json())),
        };
        Self { invocation, answer, error, logs, duration_us, operations }
    }
}

impl AnswerForm {
    fn of(answer: run::Answer) -> Self {
        let run::Answer { status, headers, body } = answer;
        let is_json = headers.iter().any(|(name, value)| {
            let essence = value.split(';').next().unwrap_or_default().trim();
            name == "content-type" && (essence == "application/json" || essence.ends_with("+json"))
        });
        let mut form = Self { status, headers, body: None, body_text: None, body_base64: None };
        match std::str::from_utf8(&body) {
            Ok(text) => match serde_json::from_str(text) {
                Ok(json) if is_json => form.body = Some(json),
                _ => form.body_text = Some(text.to_owned()),
            },
            Err(_) => form.body_base64 = Some(BASE64_STANDARD.encode(&body)),
        }
        form
    }
}

/// The request as the script sees it.
fn request(input: Input, limits: &Limits, urls: &Urls) -> Result<Request, Problem> {
    let invalid = |field: &'static str, detail: String| Problem::new(Kind::InvalidInput, detail).field(field);
    let (body, content_type) = body(input.body, input.body_text, input.body_base64)?;
    if body.len() > limits.max_request_bytes {
        let allowed = limits.max_request_bytes;
        let detail = format!("the body is larger than this script's limit `max_request_bytes` of {allowed} bytes");
        return Err(Problem::new(Kind::BodyTooLarge, detail).limit("max_request_bytes").with("allowed", allowed));
    }
    let method = match input.method {
        Some(method) => Method::from_bytes(method.to_ascii_uppercase().as_bytes())
            .map_err(|_| invalid("method", format!("`{}` is not an HTTP method", short(&method))))?,
        None if content_type.is_some() => Method::POST,
        None => Method::GET,
    };
    // As it would stand in a URL: the data plane decodes it too.
    let path = input.path.unwrap_or_else(|| "/".to_owned());
    if !path.starts_with('/') {
        return Err(invalid("path", format!("path `{}` does not begin with /", short(&path))));
    }
    let mut headers = headers(input.headers)?;
    if let Some(content_type) = content_type
        && !headers.iter().any(|(name, _)| name == "content-type")
    {
        headers.push(("content-type".to_owned(), content_type.to_owned()));
    }
    let query = input.query.into_iter();
    let query = query.flat_map(|(name, values)| values.into_vec().into_iter().map(move |value| (name.clone(), value)));
    Ok(Request {
        method: method.to_string(),
        path: decode(&path).into_owned(),
        host: public_host(urls),
        headers,
        query: query.collect(),
        params: Vec::new(),
        rest: None,
        body,
    })
}

fn headers(given: BTreeMap<String, OneOrMany>) -> Result<Vec<(String, String)>, Problem> {
    let mut headers = Vec::new();
    for (name, values) in given {
        let invalid = |what: &str| {
            let detail = format!("the header `{}` has {what} that cannot be sent", short(&name).escape_debug());
            Problem::new(Kind::InvalidInput, detail).field("headers")
        };
        let valid = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("a name"))?;
        for value in values.into_vec() {
            HeaderValue::from_str(&value).map_err(|_| invalid("a value"))?;
            headers.push((valid.to_string(), value));
        }
    }
    Ok(headers)
}

/// The body and the content type that it has by itself.
fn body(
    json: Option<Box<RawValue>>,
    text: Option<String>,
    base64: Option<String>,
) -> Result<(Bytes, Option<&'static str>), Problem> {
    match (json, text, base64) {
        (None, None, None) => Ok((Bytes::new(), None)),
        (Some(json), None, None) => Ok((json.get().to_owned().into(), Some("application/json"))),
        (None, Some(text), None) => Ok((text.into(), Some("text/plain; charset=utf-8"))),
        (None, None, Some(base64)) => match BASE64_STANDARD.decode(&base64) {
            Ok(bytes) => Ok((bytes.into(), Some("application/octet-stream"))),
            Err(error) => {
                let detail = format!("`body_base64` is not base64: {error}");
                Err(Problem::new(Kind::InvalidInput, detail).field("body_base64"))
            }
        },
        _ => {
            let detail = "give one of `body`, `body_text` and `body_base64`, not several";
            Err(Problem::new(Kind::InvalidInput, detail).field("body"))
        }
    }
}

fn public_host(urls: &Urls) -> String {
    let uri = urls.public.parse::<Uri>().ok();
    let authority = uri.as_ref().and_then(Uri::authority);
    authority
        .and_then(|authority| normalise_host(authority.as_str()))
        .map_or_else(|| "localhost".to_owned(), |host| host.into_owned())
}
