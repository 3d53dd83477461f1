//! Which parts of the log there are.

use sqlx::PgConnection;

use crate::event::partition::Archived;

/// The events of a class in a segment are none of the log's any more; their leaf goes once nobody reads it.
pub(super) async fn archived(connection: &mut PgConnection, event: &Archived) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update log.segments set classes = array_remove(classes, $2) where low = $1",
        event.low,
        event.class.as_str()
    )
    .execute(&mut *connection)
    .await?;
    // An idle log must not give its positions out again, whatever else of the segment goes.
    sqlx::query!("update log.meta set floor = greatest(floor, $1)", event.high - 1).execute(connection).await?;
    Ok(())
}
