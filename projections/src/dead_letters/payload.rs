//! What the runs of letters get.

use picloud_core::{
    id::AppId,
    keys::{ApartError, CannotOpen, Keyring, KeyringError, Purpose, Sealed},
    outbox::Plain,
};

use super::Letter;

/// What the runs of letters of an app get, in their order.
///
/// # Errors
/// When the keys are not to be had. What cannot be read, for it was erased or changed, says so one by one.
pub async fn payloads(
    keyring: &Keyring,
    app: AppId,
    letters: &[&Letter],
) -> Result<Vec<Result<Plain, ApartError>>, KeyringError> {
    let bound_to: Vec<String> = letters.iter().map(|letter| letter.created.dead_letter.to_string()).collect();
    let texts: Vec<(&[u8], &Sealed)> =
        bound_to.iter().zip(letters).map(|(to, letter)| (to.as_bytes(), &letter.created.payload)).collect();
    let opened = keyring.open_all_apart(app, Purpose::Payload, &texts).await?;
    let read = |text: Vec<u8>| serde_json::from_slice(&text).map_err(|_| ApartError::CannotOpen(CannotOpen));
    Ok(opened.into_iter().map(|opened| opened.and_then(read)).collect())
}
