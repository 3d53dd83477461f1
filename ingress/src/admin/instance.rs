//! `/api/v1/admin/instance`: where this instance is reached, what runs here and how it is.

use axum::{Json, extract::State};
use http::StatusCode;
use picloud_core::{capability::Capability, event::master_key, id::NodeEpoch};
use serde::Serialize;

use super::{
    Plane,
    access::Caller,
    write::{Decided, Shown, Written},
};
use crate::{
    health::{Readiness, Versions},
    problem::Problem,
};

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

/// Fingerprints of master keys: they tell nothing about them.
#[derive(Debug, Serialize)]
pub(super) struct RotatedForm {
    from: String,
    to: String,
}

/// Puts all data keys under a new master key. What is under the data keys stays as it is.
pub(super) async fn rotate_master_key(
    State(plane): State<Plane>,
    caller: Caller,
) -> Result<Written<Shown<RotatedForm>>, Problem> {
    let rotated = plane.keyring.rotate().await.map_err(|error| Problem::internal(&error))?;
    let event = master_key::Rotated { from: rotated.from.clone(), to: rotated.to.clone() };
    let committed = plane.append(&caller, None, vec![event.into()], Vec::new()).await?;
    let decided = Decided { app: None, position: committed.last, value: () };
    decided.answer(&plane, StatusCode::OK, Shown(RotatedForm { from: rotated.from, to: rotated.to })).await
}
