//! A request as traces show it: the span that all else of it lies in.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use http::{Method, StatusCode, Version};
use picloud_core::trace::{Context, HEADER, Kind, Span, SpanId, TraceId, Tracer};

use super::{call::Incoming, lookup::Route};

/// The longest part of a path that is shown.
const MAX_PATH_BYTES: usize = 1_024;

/// Where a request led.
#[derive(Debug)]
pub(super) struct Place {
    /// The app's name.
    pub(super) app: Arc<str>,
    /// None for a script that was asked for by its id.
    pub(super) route: Option<Arc<Route>>,
}

/// Pages of the platform's own, which others ask for every few seconds.
fn is_told(path: &str) -> bool {
    !matches!(path, "/healthz" | "/readyz" | "/version")
}

/// A request that is being answered and whose way is told: in any case, also when its client does not wait for the answer.
pub(super) struct Answering<'a> {
    tracer: &'a Tracer,
    incoming: &'a Incoming,
    scheme: &'static str,
    began_at: DateTime<Utc>,
    /// None, until it is answered.
    pub(super) status: Option<StatusCode>,
}

impl<'a> Answering<'a> {
    /// None, when nobody wants to know of it.
    pub(super) fn begin(tracer: &'a Tracer, incoming: &'a Incoming, public_url: &str) -> Option<Self> {
        if !tracer.wants(TraceId::of_request(incoming.id)) || !is_told(incoming.parts.uri.path()) {
            return None;
        }
        // As clients speak to this plane, as far as it was told.
        let scheme = if public_url.starts_with("https:") { "https" } else { "http" };
        Some(Self { tracer, incoming, scheme, began_at: Utc::now(), status: None })
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.tracer.tell(span(self.incoming, self.scheme, self.began_at, self.status));
    }
}

fn span(incoming: &Incoming, scheme: &'static str, began_at: DateTime<Utc>, status: Option<StatusCode>) -> Span {
    let parts = &incoming.parts;
    let method = method(&parts.method);
    let route = incoming.place.get().map(|place| match &place.route {
        Some(route) => route.definition.path.as_str(),
        None => "/api/v1/execute/:script",
    });
    // Conventions want few different names: a method that nobody knows, or a path that leads nowhere, is none.
    let verb = method.unwrap_or("HTTP");
    let name = route.map_or_else(|| verb.to_owned(), |route| format!("{verb} {route}"));
    let path = parts.uri.path();
    let mut span =
        Span::new(TraceId::of_request(incoming.id), SpanId::of_request(incoming.id), Kind::Server, name, began_at)
            .ended(Utc::now())
            .with("http.request.method", method.unwrap_or("_OTHER"))
            .with("url.scheme", scheme)
            .with("url.path", path[..path.floor_char_boundary(MAX_PATH_BYTES)].to_owned())
            .with("picloud.request_id", incoming.id.to_string());
    if let Some(version) = version(parts.version) {
        span = span.with("network.protocol.version", version);
    }
    if let Some(route) = route {
        span = span.with("http.route", route.to_owned());
    }
    if let Some(place) = incoming.place.get() {
        span = span.with("picloud.app", &place.app);
    }
    if let Ok(host) = incoming.host() {
        span = span.with("server.address", host.into_owned());
    }
    span = match status {
        Some(status) => {
            let span = span.with("http.response.status_code", status.as_u16());
            if status.is_server_error() { span.failed(status.as_u16().to_string()) } else { span }
        }
        None => span.failed("client_gone"),
    };
    // Not joined: whoever calls would name our traces, and the node that does what is owed could not know the name.
    Span { link: parts.headers.get(HEADER).and_then(|sent| Context::parse(sent.to_str().ok()?)), ..span }
}

fn method(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

const fn version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}
