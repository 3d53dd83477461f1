//! The master key. It lies in a file; the log knows that it was changed, and its fingerprints.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All data keys are under another master key now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RotatedMasterKey)]
pub struct Rotated {
    /// The fingerprint of the one before.
    pub from: String,
    /// The fingerprint of the new one.
    pub to: String,
}

impl Rotated {
    pub(super) fn subject(&self) -> String {
        "master_key".to_owned()
    }
}
