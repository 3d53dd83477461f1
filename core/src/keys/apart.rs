//! Texts that can be erased one by one: each is under a key of its own, and that is under the app's.

use std::collections::HashMap;

use uuid::Uuid;

use super::{CannotOpen, DataKey, Keyring, KeyringError, Purpose, Sealed};
use crate::id::{AppId, DataKeyId};

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
        let mut opened = self.open_all_apart(app, purpose, &[(bound_to, sealed)]).await?;
        opened.pop().unwrap_or(Err(ApartError::Erased))
    }

    /// The same for many at once, in their order.
    ///
    /// # Errors
    /// When the keys are not to be had. Texts that cannot be read say so one by one.
    pub async fn open_all_apart(
        &self,
        app: AppId,
        purpose: Purpose,
        texts: &[(&[u8], &Sealed)],
    ) -> Result<Vec<Result<Vec<u8>, ApartError>>, KeyringError> {
        let ids: Vec<Uuid> = texts.iter().map(|(_, sealed)| sealed.key_id.uuid()).collect();
        let rows = sqlx::query!(
            "select id, material from live.secret_material where id = any ($1) and kind = 'letter_key' and app_id = $2",
            &ids,
            app.uuid()
        )
        .fetch_all(self.pool())
        .await?;
        let materials: HashMap<DataKeyId, Vec<u8>> =
            rows.into_iter().map(|row| (row.id.into(), row.material)).collect();
        let app_key = self.app(app).await?;
        let open = |(bound_to, sealed): &(&[u8], &Sealed)| {
            let material = materials.get(&sealed.key_id).ok_or(ApartError::Erased)?;
            let key: DataKey = app_key.open_subordinate(sealed.key_id, material)?;
            Ok(key.open(purpose, bound_to, sealed)?)
        };
        Ok(texts.iter().map(open).collect())
    }

    /// Erases the keys of texts that were sealed apart: nobody can read those again, wherever they lie. Erasing again is
    /// safe.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn erase_apart(&self, app: AppId, keys: &[DataKeyId]) -> Result<(), KeyringError> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.uuid()).collect();
        sqlx::query!(
            "delete from live.secret_material where id = any ($1) and kind = 'letter_key' and app_id = $2",
            &ids,
            app.uuid()
        )
        .execute(self.pool())
        .await?;
        Ok(())
    }
}
