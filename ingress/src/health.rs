//! `/healthz`, `/readyz` and `/version`, the same on both planes.

use axum::response::{IntoResponse, Json, Response};
use futures::future::BoxFuture;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

/// Whether the node can serve, and what serves less well than it should.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Readiness {
    /// Why it cannot serve: the database is away, the schema is another, the committer is stuck. Empty: it can.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unready: Vec<String>,
    /// What works, but not as it should: polling instead of LISTEN, a parked view, a disk nearly full.
    pub degraded: Vec<String>,
}

/// Who knows how the node is.
pub trait Health: Send + Sync + 'static {
    /// How it is now. Answers from memory: it is asked often.
    fn readiness(&self) -> Readiness;
}

/// Who knows the node's figures.
pub trait Telemetry: Send + Sync + 'static {
    /// All of them, in Prometheus' text format.
    fn text(&self) -> BoxFuture<'_, String>;
}

/// What runs here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Versions {
    /// Of PiCloud.
    pub product: &'static str,
    /// Of the functions scripts call.
    pub sdk: &'static str,
    /// Of the admin API.
    pub api: &'static str,
    /// Of the database: its newest migration.
    pub schema: i64,
}

/// Liveness.
#[must_use]
pub fn healthz() -> Response {
    "ok".into_response()
}

/// Readiness: 503 only when the node cannot serve.
#[must_use]
pub fn readyz(health: &dyn Health) -> Response {
    let readiness = health.readiness();
    let status = if readiness.unready.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

/// Versions.
#[must_use]
pub fn version(versions: &Versions) -> Response {
    Json(versions).into_response()
}
