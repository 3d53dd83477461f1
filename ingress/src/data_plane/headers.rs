//! Headers on their way to a script and back.

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{cookies, credentials};

/// About one connection, not about the request: never passed on.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// What a script sees of a request's headers. Bytes that are no UTF-8 become the replacement character.
pub(super) fn for_script(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut seen = Vec::with_capacity(headers.len());
    let connection = headers.contains_key(header::CONNECTION);
    for (name, value) in headers {
        if is_hop_by_hop(name.as_str()) || (connection && is_named_by_connection(headers, name)) {
            continue;
        }
        let text = String::from_utf8_lossy(value.as_bytes());
        if *name == header::COOKIE {
            if let Some(cookies) = cookies::without_session(&text) {
                seen.push((name.as_str().to_owned(), cookies.into_owned()));
            }
        } else if *name != header::AUTHORIZATION || credentials::platform_key(value).is_none() {
            seen.push((name.as_str().to_owned(), text.into_owned()));
        }
    }
    seen
}

fn is_named_by_connection(headers: &HeaderMap, name: &HeaderName) -> bool {
    let listed = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    listed.flat_map(|list| list.split(',')).any(|listed| listed.trim().eq_ignore_ascii_case(name.as_str()))
}

/// Puts a script's headers on an answer, but for what is the platform's to say. None when one is no header at all.
pub(super) fn from_script(answer: Vec<(String, String)>, response: &mut Response, has_cors: bool) -> Option<()> {
    let headers = response.headers_mut();
    for (name, value) in answer {
        let name = HeaderName::try_from(name).ok()?;
        let value = HeaderValue::try_from(value).ok()?;
        if is_ours(&name, has_cors) || (name == header::SET_COOKIE && is_session(&value)) {
            continue;
        }
        headers.append(name, value);
    }
    Some(())
}

fn is_ours(name: &HeaderName, has_cors: bool) -> bool {
    let name = name.as_str();
    is_hop_by_hop(name)
        || name == "content-length"
        || name == "x-request-id"
        || name.starts_with("x-picloud-")
        || (has_cors && name.starts_with("access-control-"))
}

fn is_session(value: &HeaderValue) -> bool {
    cookies::is_session(&String::from_utf8_lossy(value.as_bytes()))
}
