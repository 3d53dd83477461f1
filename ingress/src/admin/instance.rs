//! `/api/v1/admin/instance`: where this instance is reached, what runs here and how it is.

use axum::{Json, extract::State};
use http::StatusCode;
use picloud_core::{capability::Capability, event::master_key, id::NodeEpoch, keys::KeyringError};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Plane,
    access::Caller,
    write::{Decided, Shown, Written, database},
};
use crate::{
    health::{Readiness, Versions},
    problem::{Kind, Problem},
};

#[derive(Debug, Serialize, ToSchema)]
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

/// Puts all data keys under a new master key; answers the fingerprints of the old one and the new. What is under the data
/// keys stays as it is.
pub(super) async fn rotate_master_key(
    State(plane): State<Plane>,
    caller: Caller,
) -> Result<Written<Shown<master_key::Rotated>>, Problem> {
    let rotated = plane.keyring.rotate().await.map_err(|error| not_rotated(&error))?;
    let committed = plane.append(&caller, None, vec![rotated.clone().into()], Vec::new()).await?;
    let decided = Decided { app: None, position: committed.last, value: () };
    decided.answer(&plane, StatusCode::OK, Shown(rotated)).await
}

/// Who may rotate the key is who looks after its file: what is wrong with that is theirs to know.
fn not_rotated(error: &KeyringError) -> Problem {
    match error {
        KeyringError::Database(error) => database(error),
        KeyringError::MasterKey(_) | KeyringError::WrongMasterKey { .. } => {
            Problem::new(Kind::Conflict, error.to_string())
        }
        KeyringError::CannotOpen(_) => Problem::internal(error),
    }
}
