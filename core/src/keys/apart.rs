//! Texts that can be erased one by one: each is under a key of its own, and that is under the app's.

use super::{CannotOpen, DataKey, Keyring, KeyringError, Purpose, Sealed};
use crate::id::AppId;

/// Why a text that is kept apart cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ApartError {
    /// Its key is not to be had.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// It was erased.
    #[error("the text was erased")]
    Erased,
    /// It is none of the app's, or was changed.
    #[error(transparent)]
    CannotOpen(#[from] CannotOpen),
}

impl Keyring {
    /// Encrypts a text of an app under a new key of its own.
    ///
    /// # Errors
    /// When the key cannot be stored: nothing should refer to the text then.
    pub async fn seal_apart(
        &self,
        app: AppId,
        purpose: Purpose,
        bound_to: &[u8],
        plain: &[u8],
    ) -> Result<Sealed, KeyringError> {
        let (key, material) = self.app(app).await?.subordinate();
        sqlx::query!(
            "insert into live.secret_material (id, kind, app_id, material) values ($1, 'letter_key', $2, $3)",
            key.id().uuid(),
            app.uuid(),
            material
        )
        .execute(self.pool())
        .await?;
        Ok(key.seal(purpose, bound_to, plain))
    }

    /// Reads what [`Keyring::seal_apart`] made.
    ///
    /// # Errors
    /// [`ApartError::Erased`], when its key is gone; others when it cannot be read.
    pub async fn open_apart(
        &self,
        app: AppId,
        purpose: Purpose,
        bound_to: &[u8],
        sealed: &Sealed,
    ) -> Result<Vec<u8>, ApartError> {
        let material = sqlx::query_scalar!(
            "select material from live.secret_material where id = $1 and kind = 'letter_key' and app_id = $2",
            sealed.key_id.uuid(),
            app.uuid()
        )
        .fetch_optional(self.pool())
        .await
        .map_err(KeyringError::from)?;
        let key: DataKey =
            self.app(app).await?.open_subordinate(sealed.key_id, &material.ok_or(ApartError::Erased)?)?;
        Ok(key.open(purpose, bound_to, sealed)?)
    }
}
