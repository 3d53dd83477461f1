//! The log.

/// The right to write the outcome of an idempotent request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyClaim {
    /// What names the request: a hash of app, route or script, credentials and key.
    pub scope: [u8; 32],
    /// Which attempt at it holds the claim.
    pub claim: uuid::Uuid,
}
