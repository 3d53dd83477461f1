//! What became of an append whose answer was lost with its connection.

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection, PgPool};

use super::Position;
use crate::id::EventId;

/// The lock that everybody who appends holds; `migrations/0004_append.sql` names the same number.
const LOG_LOCK: i64 = 7_305_804_402;

/// Looks a batch up by its first event: the place and time of its last one when it was committed, `None` when it never will
/// be. Batches are all or nothing, so one event speaks for all.
///
/// # Errors
/// When the database cannot be asked, or the lock is not to be had.
pub(super) async fn settle(
    connection: &mut PgConnection,
    first: EventId,
    events: usize,
    above: Position,
) -> Result<Option<(Position, DateTime<Utc>)>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    // The old backend may still be committing: it holds the lock until it is done, so nothing can follow an answer of no.
    lock(&mut transaction).await?;
    let found =
        sqlx::query!("select position, at from log.events where id = $1 and position > $2", first.uuid(), above.0)
            .fetch_optional(&mut *transaction)
            .await?;
    transaction.commit().await?;
    Ok(found.map(|row| (Position(row.position - 1).plus(events), row.at)))
}

/// Waits until whatever is being appended now is done.
///
/// # Errors
/// When the database cannot be asked, or the lock is not to be had within two seconds.
pub(super) async fn settled(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query!("set local lock_timeout = '2s'").execute(&mut *transaction).await?;
    lock(&mut transaction).await?;
    transaction.commit().await
}

/// Waits until nobody appends; holds the lock to the end of the transaction, if there is one.
///
/// # Errors
/// When the database cannot be asked, or the lock is not to be had.
pub(super) async fn lock(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("select pg_advisory_xact_lock($1)", LOG_LOCK).execute(connection).await?;
    Ok(())
}
