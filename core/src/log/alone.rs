//! Work that one node of all does: the one that holds a lock, for as long as its connection lasts.

use sqlx::PgConnection;

/// Takes the lock of some work for this connection, if no other has it. It goes with the connection: when the node does, another
/// takes over.
///
/// # Errors
/// When the database cannot be asked.
pub async fn alone(connection: &mut PgConnection, work: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select pg_try_advisory_lock(hashtextextended('picloud ' || $1, 0)) as "locked!""#, work)
        .fetch_one(connection)
        .await
}
