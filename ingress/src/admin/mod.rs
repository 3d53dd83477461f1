//! The control plane's API, `/api/v1/admin/*`: how apps are set up, by whom, and what happened.
//!
//! - `endpoints` is the table of what there is and which capability each needs; `access` enforces it, once, for all.
//! - A file a resource answers them. Whoever changes something decides on a picture of the app, and `write` appends the
//!   decision if that picture still holds, or lets it be decided anew.
//! - `openapi` documents it, read off that table and its handlers.
//! - [`first_start`] makes the first app and the first key.
//!
//! Scripts never answer here: they are on the data plane's origin.

mod access;
mod account;
mod accounts;
mod activity;
mod alerts;
mod api_keys;
mod apps;
mod backup;
mod body;
mod certificates;
mod cookie;
mod cursors;
mod dead_letters;
mod deploy;
mod domains;
mod endpoints;
mod env;
mod errors;
mod etag;
mod events;
mod first;
mod fresh;
mod http_exceptions;
mod instance;
mod invocations;
mod jobs;
mod kv;
mod link;
mod logs;
mod members;
mod metrics;
mod moment;
mod names;
mod near;
mod node;
mod openapi;
mod outbox;
mod outbox_pause;
mod page;
mod pages;
mod params;
mod queues;
mod routes;
mod scripts;
mod seals;
mod searched;
mod session;
mod span;
mod stream;
mod subscribers;
mod time;
mod topics;
mod triggers;
mod views;
mod write;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    middleware::{from_fn, from_fn_with_state},
    response::Response,
};
use http::{HeaderName, HeaderValue, Method, Uri, header};
use picloud_core::{
    alert::Courier,
    id::HistoryId,
    keys::Keyring,
    limits::Limits,
    log::{
        Committer, Node, Tail,
        read::{Bound, Reader},
    },
    replay::Replayer,
    run::Invoker,
};
use picloud_projections::{setup::LiveSetup, travel::PastEntries, views::Views};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

pub use endpoints::{ENDPOINTS, Endpoint, Requires};
pub use first::{FirstKey, FirstStartError, first_owner_link, first_start};

use crate::{
    auth::Auth,
    health::{Health, Telemetry, Versions},
    problem::{Kind, Problem},
    request_id,
};

/// All that the control plane leans on.
#[derive(Clone)]
pub struct AdminPlane {
    /// How apps are set up.
    pub setup: LiveSetup,
    /// Appends what is changed.
    pub committer: Committer,
    /// By what right.
    pub node: Node,
    /// The log as it grows.
    pub tail: Tail,
    /// The log as it was.
    pub reader: Reader,
    /// For how long a page of a list is searched for.
    pub searching: Bound,
    /// What collections held.
    pub past_entries: PastEntries,
    /// What lists are read from, as it follows the log.
    pub views: Views,
    /// The database, for what is not kept in memory.
    pub pool: PgPool,
    /// Who people are.
    pub auth: Auth,
    /// The keys that cursors and recordings are under.
    pub keyring: Keyring,
    /// Which life of the log this is.
    pub history: HistoryId,
    /// Validates and runs scripts.
    pub invoker: Arc<dyn Invoker>,
    /// Runs recorded runs again.
    pub replayer: Arc<dyn Replayer>,
    /// Tells alert channels.
    pub courier: Arc<dyn Courier>,
    /// The most that a script's limits may be.
    pub ceiling: Limits,
    /// Where the planes are reached.
    pub urls: Urls,
    /// What runs here.
    pub versions: Versions,
    /// How the node is.
    pub health: Arc<dyn Health>,
    /// Its figures.
    pub telemetry: Arc<dyn Telemetry>,
    /// Cancelled when the node stops: streams say goodbye instead of being cut.
    pub stop: CancellationToken,
}

/// Where the planes are reached, as links to them begin: no slash at the end.
#[derive(Clone, Debug)]
pub struct Urls {
    /// The data plane.
    pub public: String,
    /// The control plane.
    pub admin: String,
}

impl Urls {
    /// What keeps browsers from asking over plain http again (RFC 6797). It holds for all ports of a host: only where both
    /// planes are behind https does it close nothing that is open.
    fn transport_security(&self) -> Option<HeaderValue> {
        let is_https = |url: &str| url.starts_with("https://");
        (is_https(&self.admin) && is_https(&self.public)).then(|| HeaderValue::from_static("max-age=31536000"))
    }
}

type Plane = Arc<AdminPlane>;

/// The control plane as a router.
pub fn router(plane: AdminPlane) -> Router {
    let plane = Arc::new(plane);
    endpoints::router(&plane)
        .fallback(nothing_here)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(plane.urls.transport_security(), guarded_headers))
        .layer(from_fn(request_id::name))
        .with_state(plane)
}

/// What every answer here says to browsers: for who asked, now; taken for what it says it is; framed by nobody; and where
/// it leads elsewhere learns nothing of where it was. A page says itself what it may load, anything else loads nothing.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
];

async fn guarded_headers(
    State(transport_security): State<Option<HeaderValue>>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    let mut response = next.run(request).await;
    let transport_security = transport_security.map(|value| (header::STRICT_TRANSPORT_SECURITY, value));
    for (name, value) in HEADERS.into_iter().chain(transport_security) {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

async fn nothing_here(uri: Uri) -> Problem {
    let path = uri.path();
    let hint = match path.strip_suffix('/') {
        Some(without) if !without.is_empty() => "; paths here have no slash at the end",
        _ => "",
    };
    Problem::new(Kind::NotFound, format!("there is nothing at {}{hint}", &path[..path.floor_char_boundary(200)]))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let path = uri.path();
    let path = &path[..path.floor_char_boundary(200)];
    Problem::new(
        Kind::MethodNotAllowed,
        format!("{method} is not answered at {path}; the header `allow` names what is"),
    )
}
