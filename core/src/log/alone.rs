//! Work that one node of all does: the one that holds a lock, for as long as its connection lasts.

use sqlx::{Connection as _, PgConnection};

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

/// Gives up what a connection holds, and the connection. At once: the server takes note of a closed connection a little later,
/// and whoever asks next is not to be refused for that.
///
/// # Errors
/// When the connection is lost, and the locks with it.
pub async fn no_longer_alone(mut connection: PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("select pg_advisory_unlock_all()").execute(&mut connection).await?;
    connection.close().await
}
