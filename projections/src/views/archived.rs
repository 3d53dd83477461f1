//! What views made of events goes when these do.
//!
//! A view forgets when it comes to the event that says so. Built anew from what is left of the log, it is the same: whatever
//! is counted says which segment it was counted from, and of a run whose beginning is gone nothing is told.

use picloud_core::{
    event::{Class, Event, partition::Archived},
    log::Recorded,
};
use sqlx::{AssertSqlSafe, PgConnection};

use super::Schema;

/// What is said to be gone.
pub(super) fn archived(events: &[Recorded]) -> impl Iterator<Item = &Archived> {
    events.iter().filter_map(|recorded| match &recorded.event.event {
        Event::PartitionArchived(archived) => Some(archived),
        _ => None,
    })
}

/// The same of runs alone.
pub(super) fn archived_runs(events: &[Recorded]) -> impl Iterator<Item = &Archived> {
    archived(events).filter(|archived| archived.class == Class::Run)
}

/// Forgets what some tables have counted from the runs that are gone.
pub(super) async fn forget_counted(
    connection: &mut PgConnection,
    schema: Schema,
    tables: &[&str],
    events: &[Recorded],
) -> Result<(), sqlx::Error> {
    for gone in archived_runs(events) {
        for table in tables {
            let forgotten = schema.sql(&format!("delete from views.{table} where segment = $1"));
            sqlx::query(forgotten).bind(gone.low).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// Drops a table's partition of a segment.
pub(super) async fn drop_partition(
    connection: &mut PgConnection,
    schema: Schema,
    table: &str,
    gone: &Archived,
) -> Result<(), sqlx::Error> {
    let dropped = format!("drop table if exists {}.{table}_{}", schema.name(), gone.low);
    sqlx::raw_sql(AssertSqlSafe(dropped)).execute(connection).await?;
    Ok(())
}
