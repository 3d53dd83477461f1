//! Appending what has to do with configuration.

use sqlx::{Connection as _, PgConnection};

use crate::log::{
    Commit, Position, Rejected,
    batch::{self, Arrays, Verdict, Writer},
    config,
};

/// Appends a commit that changes configuration or depends on it: the append and the statements that fold it, in one
/// transaction.
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
