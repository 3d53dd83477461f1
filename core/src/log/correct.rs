//! Puts state right: while nobody appends, and with an event that says so, from which every node learns that what it read before
//! may not have been so.

use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::{
    Authority, Commit, NewEvent, Position,
    batch::{self, Arrays, Verdict, Writer},
    settle,
};
use crate::{
    event::{Actor, projection::Rebuilt},
    id::{EventId, NodeEpoch},
};

/// So long it is waited for whoever appends: they wait as long for this, and then say that the log cannot be written.
const LOCK_WITHIN: &str = "1500ms";

/// Why rows were not put right.
#[derive(Debug, thiserror::Error)]
pub enum CorrectError {
    /// The database would not.
    #[error("failed to put state right")]
    Database(#[from] sqlx::Error),
    /// The event that says so was refused.
    #[error("the log refused the event that says what was put right: {0}")]
    Refused(String),
}

/// A transaction in which rows of state are put right. Nobody appends before it is over: it must not take longer than a commit
/// may wait.
pub struct Correction<'c> {
    transaction: Transaction<'c, Postgres>,
    head: Position,
}

impl<'c> Correction<'c> {
    /// Waits until nobody appends.
    ///
    /// # Errors
    /// When the lock is not to be had, or the database cannot be asked.
    pub async fn begin(connection: &'c mut PgConnection) -> Result<Self, sqlx::Error> {
        let mut transaction = connection.begin().await?;
        sqlx::query("select set_config('lock_timeout', $1, true)").bind(LOCK_WITHIN).execute(&mut *transaction).await?;
        settle::lock(&mut transaction).await?;
        // By a statement of its own: it sees what was committed before the lock was had.
        let head = sqlx::query_scalar!(r#"select log.find_head() as "head!""#).fetch_one(&mut *transaction).await?;
        Ok(Self { transaction, head: Position(head) })
    }

    /// The last event of the log; none comes behind it before this is over.
    #[must_use]
    pub const fn head(&self) -> Position {
        self.head
    }

    /// For the statements that put rows right.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Says in the log what was done, and commits both.
    ///
    /// # Errors
    /// [`CorrectError`]: then nothing was done.
    pub async fn commit(mut self, done: Rebuilt) -> Result<(), CorrectError> {
        let position = self.append(NewEvent::new(None, &Actor::SYSTEM, done)).await?;
        // Whoever matches commits against triggers that were put right looks them up again.
        sqlx::query!("update log.writer set triggers = $1", position.0).execute(&mut *self.transaction).await?;
        Ok(self.transaction.commit().await?)
    }

    /// Leaves everything as it was.
    ///
    /// # Errors
    /// When the connection is lost; the server leaves it as it was, too.
    pub async fn give_up(self) -> Result<(), sqlx::Error> {
        self.transaction.rollback().await
    }

    /// As a node would that is there for this event only.
    async fn append(&mut self, event: NewEvent) -> Result<Position, CorrectError> {
        let connection: &mut PgConnection = &mut self.transaction;
        let epoch = NodeEpoch::generate();
        sqlx::query!(
            "insert into live.nodes (epoch, name, version) values ($1, 'replay', $2)",
            epoch.uuid(),
            env!("CARGO_PKG_VERSION")
        )
        .execute(&mut *connection)
        .await?;
        let triggers =
            sqlx::query_scalar!("select triggers from log.writer").fetch_one(&mut *connection).await.map(Position)?;
        let commit = Commit::new(Authority { epoch, lease: None }, vec![event]);
        let token = Uuid::from_u128(EventId::generate().ulid().0);
        let writer = Writer { token, known: None, epoch, triggers: Some(triggers) };
        let arrays = Arrays::build([&commit].into_iter())
            .map_err(|_| CorrectError::Refused("it cannot be folded".to_owned()))?;
        let head = match batch::append(connection, &writer, false, &arrays).await? {
            Verdict::Committed { head, .. } => head,
            other => return Err(CorrectError::Refused(format!("{other:?}"))),
        };
        sqlx::query!("delete from live.nodes where epoch = $1", epoch.uuid()).execute(connection).await?;
        Ok(head)
    }
}

impl std::fmt::Debug for Correction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Correction").field("head", &self.head).finish_non_exhaustive()
    }
}
