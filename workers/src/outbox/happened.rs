//! What happened, as the run that follows from it sees it.

use picloud_core::{
    keys::{ApartError, Keyring, KeyringError},
    outbox::{Item, Plain, seen_within},
};
use picloud_projections::dead_letters;
use serde_json::value::{RawValue, to_raw_value};
use sqlx::PgPool;

use crate::letters::held;

/// Why it cannot be told now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HappenedError {
    #[error("failed to ask for a dead letter")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

/// `ctx.event` of an attempt at an item; none, when a request is what it gets. Who takes care of a letter sees what that holds,
/// unless it was purged meanwhile.
pub(crate) async fn happened(
    database: &PgPool,
    keyring: &Keyring,
    item: &Item,
    attempt: u16,
) -> Result<Option<Box<RawValue>>, HappenedError> {
    let attempt = to_raw_value(&attempt).expect("a number is plain data");
    let Some(event) = item.event(&[("attempt", &attempt)]) else { return Ok(None) };
    let Some(letter) = item.enqueued.handles else { return Ok(Some(event)) };
    let Some(letter) = dead_letters::find(database, item.app, letter).await? else { return Ok(Some(event)) };
    let original = match held(keyring, item.app, &letter.created).await {
        Ok(None) | Err(ApartError::Erased | ApartError::CannotOpen(_)) => return Ok(Some(event)),
        Ok(Some(Plain::Event(original))) => original,
        Ok(Some(request @ Plain::Request(_))) => to_raw_value(&request).expect("requests are plain data"),
        Err(ApartError::Keyring(error)) => return Err(error.into()),
    };
    Ok(Some(seen_within(&event, "dead_letter", &[("original", &original)])))
}
