//! Which pages of other origins may call a route.

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use picloud_core::{event::route::Cors, routing::Allow};

/// The method a browser asks leave for, when an `OPTIONS` request is such a question.
pub(super) fn preflight(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ORIGIN)?;
    headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?.to_str().ok()
}

/// The answer to a preflight: bare when the origin is none of the route's.
pub(super) fn permit(cors: Option<&Cors>, headers: &HeaderMap, allow: &Allow) -> Response {
    let mut response = nothing(allow);
    let Some(cors) = cors else { return response };
    share(cors, headers.get(header::ORIGIN), &mut response);
    let to = response.headers_mut();
    if !to.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        return response;
    }
    let methods = to.get(header::ALLOW).cloned();
    to.extend(methods.map(|methods| (header::ACCESS_CONTROL_ALLOW_METHODS, methods)));
    let named = if cors.headers.iter().any(|name| name == "*") {
        to.append(header::VARY, HeaderValue::from_static("access-control-request-headers"));
        headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned()
    } else {
        HeaderValue::try_from(cors.headers.join(", ")).ok().filter(|names| !names.is_empty())
    };
    to.extend(named.map(|names| (header::ACCESS_CONTROL_ALLOW_HEADERS, names)));
    if cors.max_age_s > 0 {
        to.insert(header::ACCESS_CONTROL_MAX_AGE, cors.max_age_s.into());
    }
    response
}

/// 204 and what there is.
pub(super) fn nothing(allow: &Allow) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    if let Ok(allow) = HeaderValue::try_from(allow.to_string()) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// Lets the page of an origin read an answer, problems too, when it is one of the route's.
pub(super) fn share(cors: &Cors, origin: Option<&HeaderValue>, response: &mut Response) {
    const EXPOSED: HeaderValue = HeaderValue::from_static("x-request-id, x-picloud-invocation, retry-after");
    let headers = response.headers_mut();
    let any = cors.origins.iter().any(|known| known == "*");
    // With credentials a browser takes no `*`, and a route that says both means nobody.
    let allowed = match origin {
        _ if any && !cors.credentials => Some(HeaderValue::from_static("*")),
        Some(origin) if cors.origins.iter().any(|known| known.as_bytes() == origin.as_bytes()) => Some(origin.clone()),
        _ => None,
    };
    if !any || cors.credentials {
        // What is answered depends on who asks, even when the answer is no: caches must know.
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    let Some(allowed) = allowed else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    if cors.credentials {
        const CREDENTIALS: HeaderName = header::ACCESS_CONTROL_ALLOW_CREDENTIALS;
        headers.insert(CREDENTIALS, HeaderValue::from_static("true"));
    }
}
