//! `/healthz`, `/readyz`, `/version` and `/metrics`: how the node is that answers.

use axum::{extract::State, response::IntoResponse as _};

use super::{
    Plane,
    openapi::{Text, Told},
    write::Shown,
};
use crate::health::{self, Readiness, Versions};

pub(super) async fn healthz() -> Told<Text> {
    health::healthz().into()
}

pub(super) async fn readyz(State(plane): State<Plane>) -> Told<Shown<Readiness>> {
    health::readyz(&*plane.health).into()
}

pub(super) async fn version(State(plane): State<Plane>) -> Told<Shown<Versions>> {
    health::version(&plane.versions).into()
}

pub(super) async fn metrics(State(plane): State<Plane>) -> Told<Text> {
    plane.telemetry.text().await.into_response().into()
}
