//! The addresses of alert channels: under the instance's key, named by events, erased by being deleted.

use sqlx::PgPool;
use tracing::warn;

use super::{CannotOpen, Destination, Keyring, KeyringError, Purpose};
use crate::id::SecretId;

impl Keyring {
    /// Stores an address, before the event that names it is committed.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn store_destination(&self, destination: &Destination) -> Result<SecretId, KeyringError> {
        let id = SecretId::generate();
        let material = self.instance().seal_bytes(Purpose::Secret, id.uuid().as_bytes(), &destination.to_bytes());
        sqlx::query!(
            "insert into live.secret_material (id, kind, material) values ($1, 'alert_channel', $2)",
            id.uuid(),
            material
        )
        .execute(self.pool())
        .await?;
        Ok(id)
    }

    /// Reads one; none when it was erased.
    ///
    /// # Errors
    /// When the database cannot be asked, or what it has cannot be read.
    pub async fn destination(&self, id: SecretId) -> Result<Option<Destination>, KeyringError> {
        let material = sqlx::query_scalar!(
            "select material from live.secret_material where id = $1 and kind = 'alert_channel'",
            id.uuid()
        )
        .fetch_optional(self.pool())
        .await?;
        let Some(material) = material else { return Ok(None) };
        let stored = self.instance().open_bytes(Purpose::Secret, id.uuid().as_bytes(), &material)?;
        Ok(Some(Destination::from_bytes(&stored).ok_or(CannotOpen)?))
    }

    /// Erases one that an event has put another in place of, or whose event was not committed.
    pub async fn erase_destination(&self, id: SecretId) {
        let erased =
            sqlx::query!("delete from live.secret_material where id = $1 and kind = 'alert_channel'", id.uuid())
                .execute(self.pool())
                .await;
        if let Err(error) = erased {
            // Nothing names it any more: the sweep deletes it.
            warn!(%error, "Failed to erase the address of an alert channel that is not used any more");
        }
    }
}

/// Deletes addresses that no channel names: of those that were not committed, or not erased. To be called now and then, by one
/// node.
///
/// # Errors
/// When the database cannot be asked.
pub async fn sweep_destinations(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from live.secret_material m
        where kind = 'alert_channel' and created_at < now() - interval '1 day'
            and not exists (select from state.alert_channel c where c.secret = m.id)"
    )
    .execute(pool)
    .await?;
    Ok(())
}
