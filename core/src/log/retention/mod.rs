//! What was kept for long enough goes, a class and a segment of the log at a time.
//!
//! First whatever is still owed is said again ([`carry()`]), so that nothing points to what goes, and what entries were at its end
//! ([`snapshot()`]), so that their past from there on can be told. When nothing holds it any more
//! ([`holds`]), an event says that the events are none of the log's from there on ([`archive`]): every reader of the log leaves them
//! out, and views forget what they made of them when they come to that event. What is left then is a table that nobody
//! reads, and it is dropped beside the log ([`drop_archived`]): whoever appends waits for none of it.

mod carry;
mod dropping;
mod export;
mod snapshot;

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::{
    Commit, CommitError, Committed, Committer, NewEvent, Node, Position,
    read::{ReadError, Reader},
};
use crate::event::{
    Actor, Class,
    partition::{Archived, Export},
};

pub use carry::{Carried, carry};
pub use dropping::{drop_archived, is_any_archived};
pub use export::{ExportError, export};
pub use snapshot::snapshot;

/// The events of a class in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Of which class.
    pub class: Class,
    /// The first position of the segment,
    pub low: Position,
    /// and the first behind it.
    pub high: Position,
}

impl Leaf {
    /// The table's name in the schema `log`.
    fn table(&self) -> String {
        format!("{}_{}", self.class, self.low)
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the events of class `{}` from position {} to {}", self.class, self.low, self.high.0 - 1)
    }
}

/// Why a part of the log could not be looked at, or not be let go.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The database would not.
    #[error("failed to look at what is kept of the log")]
    Database(#[from] sqlx::Error),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// Nothing could be said.
    #[error("failed to say what becomes of a part of the log")]
    Commit(#[from] CommitError),
    /// It could not be written to a file.
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// Why a part of the log has to stay for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Runs that began in it have not ended.
    Running,
    /// Work is owed by events in it.
    Owed,
    /// Somebody may still ask what became of work that was owed by events in it.
    Asked,
    /// Its last events are not sealed: nobody could prove later what was in it.
    Unsealed,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "runs that began in it go on",
            Self::Owed => "work is owed by it",
            Self::Asked => "what became of work that it owed may be asked for until a day after",
            Self::Unsealed => "it is not sealed",
        })
    }
}

/// The oldest part of a class, when all in it has been kept for long enough.
///
/// # Errors
/// When the log cannot be read.
pub async fn due(
    pool: &PgPool,
    reader: &Reader,
    class: Class,
    keep: TimeDelta,
    now: DateTime<Utc>,
) -> Result<Option<Leaf>, RetentionError> {
    let head = reader.head().await?;
    let oldest = sqlx::query!(
        "select low, high from log.segments where $1 = any (classes) and high <= $2 order by low limit 1",
        class.as_str(),
        head.0
    )
    .fetch_optional(pool)
    .await?;
    let Some(leaf) = oldest.map(|row| Leaf { class, low: Position(row.low), high: Position(row.high) }) else {
        return Ok(None);
    };
    // Times never go backwards along the log: all in it happened before whatever comes behind it.
    let next = reader.range(Position(leaf.high.0 - 1), head, 1).await?.pop();
    let is_old = next.is_some_and(|next| now.signed_duration_since(next.at) > keep);
    Ok(is_old.then_some(leaf))
}

/// Why a part of the log has to stay for now, if it does. Once there is no reason there will be none again: nothing new can refer
/// to what is that far back.
///
/// # Errors
/// When the database cannot be asked.
pub async fn holds(connection: &mut PgConnection, leaf: Leaf) -> Result<Option<Hold>, sqlx::Error> {
    let found = sqlx::query!(
        r#"select
            exists (select from state.running where position < $1) as "is_running!",
            exists (select from state.outbox where position < $1)
                or exists (select from state.cron where position < $1) as "is_owed!",
            exists (select from state.outbox_ended where position < $1) as "is_asked!",
            coalesce((
                select (data ->> 'up_to')::bigint from log.config where kind = 'seal.sealed' order by position desc limit 1
            ), 0) as "sealed!""#,
        leaf.high.0
    )
    .fetch_one(connection)
    .await?;
    let of_runs = [(found.is_running, Hold::Running), (found.is_owed, Hold::Owed), (found.is_asked, Hold::Asked)];
    let hold = of_runs.into_iter().find(|(holds, _)| *holds && leaf.class == Class::Run);
    let is_unsealed = found.sealed < leaf.high.0 - 1;
    Ok(hold.map(|(_, hold)| hold).or(is_unsealed.then_some(Hold::Unsealed)))
}

/// Says that a part of the log is none of it any more, and in which file it still is. Nothing may hold it, and every view must have
/// taken in all that its runs came to.
///
/// # Errors
/// When it cannot be counted, or nothing can be said.
pub async fn archive(
    pool: &PgPool,
    committer: &Committer,
    node: &Node,
    leaf: Leaf,
    export: Option<Export>,
) -> Result<Committed, RetentionError> {
    let counted = format!("select count(*), min(at), max(at) from log.{}", leaf.table());
    let (events, first_at, last_at): (i64, Option<DateTime<Utc>>, Option<DateTime<Utc>>) =
        sqlx::query_as(AssertSqlSafe(counted)).fetch_one(pool).await?;
    let archived = Archived {
        class: leaf.class,
        low: leaf.low.0,
        high: leaf.high.0,
        events: events.unsigned_abs(),
        first_at,
        last_at,
        export,
    };
    let event = NewEvent::new(None, &Actor::SYSTEM, archived);
    Ok(committer.commit(Commit::new(node.authority(), vec![event])).await?)
}
