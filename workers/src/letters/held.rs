//! What a dead letter holds.

use picloud_core::{
    event::dead_letter::Created,
    id::AppId,
    keys::{ApartError, CannotOpen, Keyring, Purpose},
    outbox::Plain,
};

/// What the run of a letter gets; none when it was erased.
pub(crate) async fn held(keyring: &Keyring, app: AppId, created: &Created) -> Result<Option<Plain>, ApartError> {
    let name = created.dead_letter.to_string();
    match keyring.open_apart(app, Purpose::Payload, name.as_bytes(), &created.payload).await {
        Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|_| ApartError::CannotOpen(CannotOpen)),
        Err(ApartError::Erased) => Ok(None),
        Err(error) => Err(error),
    }
}
