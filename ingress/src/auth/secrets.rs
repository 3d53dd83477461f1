//! What is secret of accounts, in `live.secret_material`: sealed under the instance's key, named by events, erased by being
//! deleted.

use picloud_core::{
    id::SecretId,
    keys::{CannotOpen, Keyring, Purpose, Sealed},
};
use sqlx::PgPool;
use tracing::warn;

/// What kind of secret it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// A password's hash.
    Password,
    /// The SHA-256 of a link's token.
    Link,
    /// An authenticator's seed.
    Totp,
    /// The hashes of recovery codes.
    Recovery,
}

impl SecretKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Link => "link",
            Self::Totp => "totp",
            Self::Recovery => "recovery",
        }
    }
}

/// Why a secret is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The database could not be asked.
    #[error("failed to look up a secret")]
    Database(#[from] sqlx::Error),
    /// It is not what was stored.
    #[error("a stored secret cannot be opened")]
    Broken(#[from] CannotOpen),
    /// It is no sealed text at all.
    #[error("a stored secret cannot be read")]
    Malformed(#[from] serde_json::Error),
}

/// Keeps them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Secrets {
    pool: PgPool,
    keyring: Keyring,
}

impl Secrets {
    pub(super) fn new(pool: PgPool, keyring: Keyring) -> Self {
        Self { pool, keyring }
    }

    /// Stores one, before the event that names it is committed.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn store(&self, kind: SecretKind, secret: &[u8]) -> Result<SecretId, SecretsError> {
        let id = SecretId::generate();
        let sealed = self.keyring.instance().seal(Purpose::Secret, id.uuid().as_bytes(), secret);
        sqlx::query!(
            "insert into live.secret_material (id, kind, material) values ($1, $2, $3)",
            id.uuid(),
            kind.as_str(),
            serde_json::to_vec(&sealed)?
        )
        .execute(&self.pool)
        .await?;
        Ok(id)
    }

    /// Reads one; none when it was erased.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub async fn read(&self, kind: SecretKind, id: SecretId) -> Result<Option<Vec<u8>>, SecretsError> {
        let row = sqlx::query_scalar!(
            "select material from live.secret_material where id = $1 and kind = $2",
            id.uuid(),
            kind.as_str()
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(material) = row else { return Ok(None) };
        let sealed: Sealed = serde_json::from_slice(&material)?;
        Ok(Some(self.keyring.instance().open(Purpose::Secret, id.uuid().as_bytes(), &sealed)?))
    }

    /// Erases some: those that an event has made worthless, or whose event was not committed.
    pub async fn erase(&self, ids: impl IntoIterator<Item = SecretId>) {
        let ids: Vec<_> = ids.into_iter().map(|id| id.uuid()).collect();
        if ids.is_empty() {
            return;
        }
        let erased = sqlx::query!(
            "delete from live.secret_material
            where id = any ($1) and kind in ('password', 'link', 'totp', 'recovery')",
            &ids
        )
        .execute(&self.pool)
        .await;
        if let Err(error) = erased {
            // Nothing names them any more: they open nothing.
            warn!(%error, "Failed to erase secrets that are not used any more");
        }
    }
}
