//! What a view is: a fold of the log into tables of its own.

use futures::future::BoxFuture;
use picloud_core::{
    event::Class,
    log::{Recorded, read::ReadError},
};
use sqlx::PgConnection;

use super::Schema;

/// A read model that follows the log. The same events give the same rows, however they are cut into stretches; what it keeps
/// in memory is only what the log, or its own tables, would tell it again.
pub trait View: Send + Sync {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// Of its fold, noted beside its checkpoint. Whoever changes what rows come of the same events counts it up.
    fn version(&self) -> i32;

    /// The tables it writes, and nobody else.
    fn tables(&self) -> &'static [&'static str];

    /// Of which classes events are that anything follows from. It may be given others.
    fn classes(&self) -> &'static [Class];

    /// Forgets what it had in memory, and reads what it has to remember of what lies before its checkpoint.
    fn load<'a>(
        &'a mut self,
        connection: &'a mut PgConnection,
        schema: Schema,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>>;

    /// Takes in what comes next and writes what follows from it. When that fails, or what it wrote is not committed, it is
    /// to be loaded again.
    fn take<'a>(
        &'a mut self,
        events: &'a [Recorded],
        connection: &'a mut PgConnection,
        schema: Schema,
    ) -> BoxFuture<'a, Result<(), FoldError>>;
}

/// Why a view could not take in some events.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// The database would not.
    #[error("failed to write what follows from the log")]
    Database(#[from] sqlx::Error),
    /// What lies further back could not be read.
    #[error("failed to look something up in the log")]
    Log(#[from] ReadError),
    /// Somebody else has taken them in.
    #[error("another node folds this view")]
    Overtaken,
}

impl FoldError {
    /// Whether it would be the same the next time: then it is about what the events say, or what the tables are like.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Database(error) | Self::Log(ReadError::Database(error)) => is_lasting(error),
            Self::Log(ReadError::Undecodable { .. }) => true,
            Self::Overtaken => false,
        }
    }
}

/// Data that does not fit (22), broken constraints (23), tables that are not as they should be (42), limits passed (54).
pub(super) fn is_lasting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| ["22", "23", "42", "54"].iter().any(|class| code.starts_with(class)))
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_) => true,
        _ => false,
    }
}
