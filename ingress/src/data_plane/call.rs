//! A request on its way to becoming a call.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
};

use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::{Method, header, request::Parts};
use picloud_core::{
    event::{Actor, route::Mode},
    id::{AppId, RequestId, RouteId},
    policy::{Principal, rights_in},
    retry::RetryPolicy,
    routing::{decode, normalise_host},
    run::{Call, InvocationType, Program, Record, Request},
};

use super::{headers, traced::Place};
use crate::problem::{Kind, Problem};

/// What came in, before its body is read.
pub(crate) struct Incoming {
    pub(crate) id: RequestId,
    pub(crate) parts: Parts,
    /// The client's, from the socket: what proxies say of it is not believed.
    pub(crate) address: Option<IpAddr>,
    /// Where it led, once that is found.
    pub(super) place: OnceLock<Place>,
}

/// What is to be run for it.
pub(super) struct Target {
    pub(super) app: AppId,
    pub(super) program: Arc<Program>,
    pub(super) route: Option<RouteId>,
    /// Whether the caller waits for the run.
    pub(super) mode: Mode,
    /// How patiently, when nobody does.
    pub(super) retry: RetryPolicy,
    pub(super) record: Record,
    pub(super) principal: Principal,
    pub(super) host: String,
    pub(super) params: Vec<(String, String)>,
    pub(super) rest: Option<String>,
}

impl Incoming {
    pub(crate) fn new(id: RequestId, parts: Parts) -> Self {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
        Self { id, parts, address, place: OnceLock::new() }
    }

    /// The host asked for, normalised. A request that names two is refused: others may have looked at the other one.
    pub(crate) fn host(&self) -> Result<Cow<'_, str>, Problem> {
        let refuse = |detail: String| Problem::new(Kind::BadRequest, detail).field("host");
        let mut named = self.parts.headers.get_all(header::HOST).iter();
        let first = named.next();
        if named.next().is_some() {
            return Err(refuse("there is more than one Host header; send one".to_owned()));
        }
        let text = match (self.parts.uri.authority(), first) {
            (Some(authority), _) => Cow::Borrowed(authority.as_str()),
            (None, Some(header)) => String::from_utf8_lossy(header.as_bytes()),
            (None, None) => return Err(refuse("there is no Host header; it says which app is meant".to_owned())),
        };
        let host = match text {
            Cow::Borrowed(text) => normalise_host(text),
            Cow::Owned(_) => None,
        };
        host.ok_or_else(|| refuse("the Host header is not a host name or an address".to_owned()))
    }

    pub(super) fn is_head(&self) -> bool {
        self.parts.method == Method::HEAD
    }
}

/// The call of a target for a request and its body.
pub(super) fn call(incoming: &Incoming, target: Target, body: Bytes) -> Call {
    let Parts { method, uri, headers, .. } = &incoming.parts;
    let address = incoming.address.map(|address| address.to_string());
    let rights = rights_in(&target.principal, target.app);
    let actor = match target.principal {
        Principal::Account { account, .. } => Actor::account(account, incoming.id, address),
        Principal::ApiKey { key, .. } => Actor::api_key(key, incoming.id, address),
        Principal::Public => Actor::public(incoming.id, address),
    };
    let query =
        uri.query().map_or_else(Vec::new, |query| form_urlencoded::parse(query.as_bytes()).into_owned().collect());
    Call {
        // One request begins one run, or one item, under its own ULID: who knows one of them knows the others, and the trace.
        invocation: incoming.id.ulid().into(),
        request_id: Some(incoming.id),
        program: target.program,
        kind: InvocationType::Http,
        route: target.route,
        actor,
        rights,
        request: Request {
            method: method.as_str().to_owned(),
            path: decode(uri.path()).into_owned(),
            host: target.host,
            headers: headers::for_script(headers),
            query,
            params: target.params,
            rest: target.rest,
            body,
        },
        event: None,
        record: target.record,
        item: None,
        idempotency: None,
    }
}
