//! Appending what has to do with configuration.

use sqlx::{Connection as _, PgConnection};

use crate::log::{
    Commit, Position, Read, Rejected,
    batch::{self, Arrays, Verdict, Writer},
    config, settle,
};

/// Appends a commit that changes configuration, or depends on what only a statement of its own can tell: the append and the
/// statements that look and fold, in one transaction.
pub(super) async fn append(
    connection: &mut PgConnection,
    writer: &Writer,
    commit: &Commit,
    arrays: &Arrays<'_>,
) -> Result<Verdict, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    match append_and_fold(&mut transaction, writer, commit, arrays).await {
        Ok(verdict @ Verdict::Committed { .. }) => {
            transaction.commit().await?;
            Ok(verdict)
        }
        refused => {
            // Said now: left to the next statement, the server would end the idle transaction and the connection with it.
            transaction.rollback().await?;
            refused
        }
    }
}

async fn append_and_fold(
    connection: &mut PgConnection,
    writer: &Writer,
    commit: &Commit,
    arrays: &Arrays<'_>,
) -> Result<Verdict, sqlx::Error> {
    if !are_owed(connection, &commit.reads).await? || !are_last(connection, &commit.reads).await? {
        return Ok(Verdict::Refused(vec![(0, Rejected::Stale)]));
    }
    let verdict = batch::append(connection, writer, arrays.holds_predicates, arrays).await?;
    if let Verdict::Committed { head, at } = verdict {
        let before = Position(head.0 - commit.events.len() as i64);
        if !config::is_fresh(connection, &commit.reads, before).await? {
            return Ok(Verdict::Refused(vec![(0, Rejected::Stale)]));
        }
        for (n, event) in commit.events.iter().enumerate() {
            config::fold(connection, event, before.plus(n + 1), at).await?;
        }
    }
    Ok(verdict)
}

/// Whether the items among the reads are not over. Asked first: the append may end these very items.
async fn are_owed(connection: &mut PgConnection, reads: &[Read]) -> Result<bool, sqlx::Error> {
    let items = reads.iter().filter_map(|read| if let Read::Owed { item } = read { Some(item.uuid()) } else { None });
    let items: Vec<_> = items.collect();
    if items.is_empty() {
        return Ok(true);
    }
    // By a statement of its own: what others append until it is had is to be seen.
    settle::lock(connection).await?;
    let is_any_over = sqlx::query_scalar!(
        r#"select exists (
            select from unnest($1::uuid[]) as seen (item)
            where not exists (select from state.outbox o where o.id = seen.item)
        ) as "over!""#,
        &items
    )
    .fetch_one(connection)
    .await?;
    Ok(!is_any_over)
}

/// Whether nothing was added to the lanes among the reads.
async fn are_last(connection: &mut PgConnection, reads: &[Read]) -> Result<bool, sqlx::Error> {
    for read in reads {
        let Read::Lane { app, lane, last } = read else { continue };
        settle::lock(connection).await?;
        let found = sqlx::query_scalar!(
            "select position from state.outbox where app_id = $1 and lane = $2 order by position desc limit 1",
            app.uuid(),
            lane
        )
        .fetch_optional(&mut *connection)
        .await?;
        if found != Some(last.0) {
            return Ok(false);
        }
    }
    Ok(true)
}
