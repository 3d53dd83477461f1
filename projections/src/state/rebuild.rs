//! What is asked for, what is answered, and what has to be so before it is begun.

use picloud_core::{
    event::Class,
    log::{
        Position, alone,
        beside::{Beside, BesideError},
        correct::CorrectError,
        no_longer_alone,
        read::{ReadError, Reader},
    },
};
use sqlx::{PgPool, postgres::PgPoolOptions};

use super::{
    builder::Builder,
    difference::Difference,
    tables::{self, Table},
};
use crate::views::rebuild::Progress;

/// Of connections that may take long.
const WORKING: [(&str, &str); 4] =
    [("jit", "off"), ("statement_timeout", "0"), ("idle_in_transaction_session_timeout", "0"), ("lock_timeout", "0")];

/// What became of a table.
#[derive(Clone, Debug)]
pub struct Rebuilt {
    /// Which, without its schema.
    pub table: String,
    /// How it differed from what the log says.
    pub compared: Compared,
    /// Rows that were written or deleted; then it is what the log says.
    pub put_right: Option<u64>,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// At the same place in the log, the same rows.
    Same {
        /// How many.
        rows: u64,
    },
    /// Some rows are not as the log says.
    Different {
        /// So many are there, and the log says that they are not;
        only_table: u64,
        /// so many are missing;
        only_log: u64,
        /// so many have other values.
        changed: u64,
        /// Some of them.
        examples: Vec<Difference>,
    },
}

/// Why state was not compared, or not put right.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The database would not.
    #[error("failed to compare state with the log")]
    Database(#[from] sqlx::Error),
    /// What is beside could not be made.
    #[error(transparent)]
    Beside(#[from] BesideError),
    /// Nothing could be put right.
    #[error(transparent)]
    Correct(#[from] CorrectError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// What was set up first is gone, which is kept for ever.
    #[error(
        "the events of class `config` up to position {up_to} are gone from the log: state cannot be made anew from what is left of it"
    )]
    Gone {
        /// The last of them.
        up_to: Position,
    },
    /// There is no such table.
    #[error("there is no table `{name}` in state: there are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Rows cannot be written for what other rows say.
    #[error(
        "rows of `{table}` cannot be put right: `{constraint}`, which holds between rows, is in the way. If only some tables were \
         named, try again with all"
    )]
    InTheWay {
        /// The table.
        table: String,
        /// The constraint between rows that would be broken.
        constraint: String,
    },
    /// What was put right differs again.
    #[error("rows of `{table}` were put right and differ again: somebody else writes to it")]
    DiffersAgain {
        /// The table.
        table: String,
    },
    /// One at a time: it has one place to build in.
    #[error("a replay is under way, or a part of the log is being let go of: try again when that is done")]
    UnderWay,
}

/// Makes state anew from the log beside the one that is read from, and compares these tables, or all when none is named. Rows that
/// are not as the log says are put right if that is wanted. Whoever reads or appends goes on meanwhile.
///
/// # Errors
/// When it cannot be done; rows that were put right before that stay so.
pub async fn rebuild(
    pool: &PgPool,
    names: &[String],
    swaps: bool,
    mut told: impl FnMut(Progress),
) -> Result<Vec<Rebuilt>, RebuildError> {
    let working = PgPoolOptions::new()
        .max_connections(6)
        .connect_lazy_with(pool.connect_options().as_ref().clone().options(WORKING));
    let mut lock = working.acquire().await?.detach();
    if !alone(&mut lock, "replay").await? {
        return Err(RebuildError::UnderWay);
    }
    let rebuilt = rebuild_alone(&working, names, swaps, &mut told).await;
    no_longer_alone(lock).await?;
    working.close().await;
    rebuilt
}

async fn rebuild_alone(
    pool: &PgPool,
    names: &[String],
    swaps: bool,
    told: &mut impl FnMut(Progress),
) -> Result<Vec<Rebuilt>, RebuildError> {
    let tables = chosen(pool, names).await?;
    let reader = Reader::new(pool.clone());
    begins_with_the_first(&reader).await?;
    // By the database's clock, which says what has expired.
    let began = sqlx::query_scalar("select now()").fetch_one(pool).await?;
    let beside = Beside::make(pool).await?;
    let mut builder = Builder::new(pool.clone(), reader, beside, tables, began);
    let rebuilt = builder.rebuild(swaps, told).await;
    // Also when it went wrong: what is half made is of no use.
    let dropped = builder.drop().await;
    let rebuilt = rebuilt?;
    dropped?;
    Ok(rebuilt)
}

async fn chosen(pool: &PgPool, names: &[String]) -> Result<Vec<Table>, RebuildError> {
    let mut connection = pool.acquire().await?;
    let mut tables = tables::all(&mut connection).await?;
    if let Some(name) = names.iter().find(|name| tables.iter().all(|table| table.name != **name)) {
        let known: Vec<String> = tables.iter().map(|table| format!("`{}`", table.name)).collect();
        return Err(RebuildError::Unknown { name: name.clone(), known: known.join(", ") });
    }
    tables.retain(|table| names.is_empty() || names.contains(&table.name));
    Ok(tables)
}

/// Of what is not kept for ever, what still matters is said again.
async fn begins_with_the_first(reader: &Reader) -> Result<(), RebuildError> {
    let up_to = reader.floor(Class::Config).await?;
    if up_to > Position::ZERO { Err(RebuildError::Gone { up_to }) } else { Ok(()) }
}
