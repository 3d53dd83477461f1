//! The name of a request, `x-request-id` on every answer.
//!
//! Ours alone: what a client sends under that name is a header like any other.

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderName, HeaderValue};
use picloud_core::id::RequestId;

/// The header.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The request this task answers, inside of [`name`].
#[must_use]
pub fn current() -> Option<RequestId> {
    CURRENT.try_with(|id| *id).ok()
}

/// Middleware for routers of many handlers: names the request, as an extension and for [`current`].
pub async fn name(mut request: Request, next: Next) -> Response {
    let id = RequestId::generate();
    request.extensions_mut().insert(id);
    let mut response = CURRENT.scope(id, next.run(request)).await;
    response.headers_mut().insert(HEADER, value(id));
    response
}

/// As a header's value.
#[must_use]
pub fn value(id: impl std::fmt::Display) -> HeaderValue {
    HeaderValue::try_from(id.to_string()).expect("ids are letters, digits and underscores")
}
