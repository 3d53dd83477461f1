//! Seals of the log.

use serde::{Deserialize, Serialize};

use crate::seal::Seal;

/// A stretch of the log was sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(pub Seal);

impl Sealed {
    pub(super) fn subject(&self) -> String {
        format!("seal:{}", self.0.number)
    }
}
