//! `/api/v1/admin/instance`: where this instance is reached, what runs here and how it is.

use axum::{Json, extract::State};
use picloud_core::{capability::Capability, id::NodeEpoch};
use serde::Serialize;

use super::{Plane, access::Caller};
use crate::health::{Readiness, Versions};

#[derive(Debug, Serialize)]
pub(super) struct Instance {
    public_url: String,
    admin_url: String,
    versions: Versions,
    /// Which start of which node answers.
    node: NodeEpoch,
    /// How many apps the caller may see.
    apps: usize,
    #[serde(flatten)]
    readiness: Readiness,
}

pub(super) async fn show(State(plane): State<Plane>, caller: Caller) -> Json<Instance> {
    let setup = plane.setup.get();
    let visible = setup.apps.keys().filter(|app| caller.may(Capability::AppRead, Some(**app)));
    Json(Instance {
        public_url: plane.urls.public.clone(),
        admin_url: plane.urls.admin.clone(),
        versions: plane.versions,
        node: plane.node.epoch(),
        apps: visible.count(),
        readiness: plane.health.readiness(),
    })
}
