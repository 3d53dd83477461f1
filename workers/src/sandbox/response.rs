//! What a script's value means as an HTTP answer.
//!
//! A map with `statusCode` is `{statusCode, headers?, body?}`; a blob is 200 as it is, and anything else is 200 with that
//! value as JSON. In such a map a blob goes out as it is (`application/octet-stream` unless a header says otherwise), a string goes out as it
//! is under the `content-type` it is given, `text/plain` without one, and everything else is JSON.

use bytes::Bytes;
use picloud_core::{
    event::FailureReason,
    limits::Limits,
    run::{Answer, Failure},
};
use rhai::{Array, Blob, Dynamic, ImmutableString, Map};

use super::value::{Kind, Room, WriteError, kind_name, write_json};

const JSON: &str = "application/json";
/// What would break the framing of an answer if a script could set it; the server sets these itself.
const OURS: &[&str] = &["connection", "content-length", "keep-alive", "trailer", "transfer-encoding", "upgrade"];

/// Turns a script's value into an answer.
pub(super) fn answer(value: &Dynamic, limits: &Limits) -> Result<Answer, Failure> {
    if let Some(map) = value.read_lock::<Map>()
        && let Some(status) = map.get("statusCode")
    {
        return structured(&map, status, limits);
    }
    if Kind::of(value) == Kind::Blob {
        let mut headers = Vec::new();
        let body = body(value, &mut headers, limits)?;
        return Ok(Answer { status: 200, headers, body });
    }
    let body = json(value, limits)?;
    Ok(Answer { status: 200, headers: vec![("content-type".to_owned(), JSON.to_owned())], body })
}

fn structured(map: &Map, status: &Dynamic, limits: &Limits) -> Result<Answer, Failure> {
    if let Some(unknown) = map.keys().find(|key| !matches!(key.as_str(), "statusCode" | "headers" | "body")) {
        return Err(bad(format!("a response has `statusCode`, `headers` and `body`, not `{unknown}`")));
    }
    let status = self::status(status)?;
    let mut fields = map.get("headers").map_or_else(|| Ok(Vec::new()), headers)?;
    let body = match map.get("body") {
        None => Bytes::new(),
        Some(body) => self::body(body, &mut fields, limits)?,
    };
    if matches!(status, 204 | 304) {
        return Ok(Answer { status, headers: fields, body: Bytes::new() });
    }
    Ok(Answer { status, headers: fields, body })
}

fn status(value: &Dynamic) -> Result<u16, Failure> {
    match value.as_int() {
        // Below 200 is what comes before an answer.
        Ok(status @ 200..=599) => Ok(u16::try_from(status).expect("it is between 200 and 599")),
        Ok(status) => Err(bad(format!("`statusCode` is {status}: it must be between 200 and 599"))),
        Err(_) => Err(bad(format!("`statusCode` is {}: it must be an int between 200 and 599", shown(value)))),
    }
}

fn body(body: &Dynamic, headers: &mut Vec<(String, String)>, limits: &Limits) -> Result<Bytes, Failure> {
    let mut typed = |default: &str| {
        if !headers.iter().any(|(name, _)| name == "content-type") {
            headers.push(("content-type".to_owned(), default.to_owned()));
        }
    };
    match Kind::of(body) {
        Kind::Unit => Ok(Bytes::new()),
        Kind::Text => {
            typed("text/plain; charset=utf-8");
            let text = body.read_lock::<ImmutableString>().map(|text| text.clone()).unwrap_or_default();
            fits(text.len(), limits)?;
            Ok(Bytes::copy_from_slice(text.as_bytes()))
        }
        Kind::Blob => {
            typed("application/octet-stream");
            let blob = body.read_lock::<Blob>();
            let bytes = blob.as_deref().map_or(&[][..], Vec::as_slice);
            fits(bytes.len(), limits)?;
            Ok(Bytes::copy_from_slice(bytes))
        }
        _ => {
            typed(JSON);
            json(body, limits)
        }
    }
}

fn headers(value: &Dynamic) -> Result<Vec<(String, String)>, Failure> {
    let Some(map) = value.read_lock::<Map>() else {
        return Err(bad(format!("`headers` is {}: it must be a map", kind_name(value))));
    };
    let mut headers = Vec::with_capacity(map.len());
    for (name, value) in map.iter() {
        let lower = header_name(name)?;
        if let Some(values) = value.read_lock::<Array>() {
            for value in values.iter() {
                headers.push((lower.clone(), header_value(name, value)?));
            }
        } else {
            headers.push((lower, header_value(name, value)?));
        }
    }
    Ok(headers)
}

fn header_name(name: &str) -> Result<String, Failure> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(bad(format!("`{}` is no valid header name", cut(name))));
    }
    let lower = name.to_ascii_lowercase();
    if OURS.contains(&lower.as_str()) {
        return Err(bad(format!("the header `{lower}` is set by the server")));
    }
    Ok(lower)
}

fn header_value(name: &str, value: &Dynamic) -> Result<String, Failure> {
    let text = match Kind::of(value) {
        Kind::Text | Kind::Int | Kind::Float | Kind::Bool | Kind::Char => value.to_string(),
        _ => return Err(bad(format!("the header `{name}` is {}: it must be a string", kind_name(value)))),
    };
    let allowed = |character: char| character == '\t' || !character.is_control();
    if text.chars().all(allowed) { Ok(text) } else { Err(bad(format!("the header `{name}` has a control character"))) }
}

fn json(value: &Dynamic, limits: &Limits) -> Result<Bytes, Failure> {
    let room = Room { bytes: limits.max_response_bytes, limit: "max_response_bytes" };
    match write_json(value, limits, room) {
        Ok(text) => Ok(text.into()),
        Err(error @ WriteError::NoForm { .. }) => Err(bad(format!("the response: {}", error.describe()))),
        Err(WriteError::Limit { name: "max_response_bytes", .. }) => Err(too_long(limits)),
        Err(WriteError::Limit { name, message }) => Err(over(name, format!("the response: {message}"))),
        // Whoever ended the run has said why; this text is not shown.
        Err(WriteError::Over) => Err(bad("the run is over".to_owned())),
    }
}

fn fits(bytes: usize, limits: &Limits) -> Result<(), Failure> {
    if bytes <= limits.max_response_bytes { Ok(()) } else { Err(too_long(limits)) }
}

fn too_long(limits: &Limits) -> Failure {
    over("max_response_bytes", format!("the response is longer than {} bytes", limits.max_response_bytes))
}

fn over(limit: &'static str, message: String) -> Failure {
    Failure { reason: FailureReason::OverLimit, message, line: None, column: None, limit: Some(limit), retry: None }
}

fn bad(message: String) -> Failure {
    Failure { reason: FailureReason::BadResponse, message, line: None, column: None, limit: None, retry: None }
}

fn shown(value: &Dynamic) -> String {
    match Kind::of(value) {
        Kind::Text | Kind::Float | Kind::Bool | Kind::Char => {
            format!("{} `{}`", kind_name(value), cut(&value.to_string()))
        }
        _ => kind_name(value).to_owned(),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}
