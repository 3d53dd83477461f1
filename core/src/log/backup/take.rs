//! Reads a whole instance as of one moment.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    prepare,
    tables::{self, Source},
};
use crate::{
    backup::{Manifest, SealSeen, Table, Writer},
    keys::{Keyring, KeyringError},
    log::{Position, schema},
    seal::Seal,
};

/// How often progress is told, in rows.
const TOLD_EVERY: u64 = 20_000;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// So many rows are done,
    pub rows: u64,
    /// of so many.
    pub of: u64,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database would not.
    #[error("failed to read the database")]
    Database(#[from] sqlx::Error),
    /// The master key that it needs cannot be named.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// A newer PiCloud has been here, and may keep what this one does not know.
    #[error("the database is at schema version {found}, this PiCloud knows up to {known}: back it up with a newer one")]
    Newer {
        /// The database's version.
        found: i64,
        /// The highest that this binary knows.
        known: i64,
    },
    /// A table is not what the same snapshot has said of it.
    #[error(
        "`{table}` was counted to have {counted} rows, and {copied} were copied: look after the database, this should not be"
    )]
    Miscounted {
        /// Which.
        table: String,
        /// So many there should be.
        counted: u64,
        /// So many there were.
        copied: u64,
    },
    /// One at a time: each keeps what it reads from being cleaned up.
    #[error("a backup is being taken already: try again when it is done")]
    UnderWay,
    /// Nobody takes what comes.
    #[error("whoever wanted the backup went away")]
    Gone,
}

/// Reads everything in one snapshot and sends the file of it in pieces. Returns what the file says of itself, and its length.
///
/// # Errors
/// [`BackupError`]; then what was sent has no end, and a restore refuses it.
pub async fn take(
    connection: &mut PgConnection,
    keyring: &Keyring,
    product: &str,
    out: &mpsc::Sender<Bytes>,
    mut told: impl FnMut(Progress),
) -> Result<(Manifest, u64), BackupError> {
    let mut snapshot = connection.begin_with("begin isolation level repeatable read read only").await?;
    prepare(&mut snapshot).await?;
    let is_first =
        sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(hashtextextended('picloud backup', 0)) as "locked!""#)
            .fetch_one(&mut *snapshot)
            .await?;
    if !is_first {
        return Err(BackupError::UnderWay);
    }
    let (manifest, sources) = describe(&mut snapshot, keyring, product).await?;
    let mut writer = Writer::begin(&manifest);
    let (mut done, of) = (0, manifest.rows());
    told(Progress { rows: 0, of });
    for (number, (source, table)) in sources.iter().zip(&manifest.tables).enumerate() {
        writer.table(number);
        let mut copied = 0;
        let mut pieces = snapshot.copy_out_raw(&source.copy_out()).await?;
        while let Some(piece) = pieces.try_next().await? {
            // Within a row the end of a line is written as two letters.
            copied += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
            writer.rows(&piece);
            if let Some(ready) = writer.take() {
                out.send(ready).await.map_err(|_| BackupError::Gone)?;
            }
            if (done + copied).is_multiple_of(TOLD_EVERY) {
                told(Progress { rows: done + copied, of });
            }
        }
        drop(pieces);
        if copied != table.rows {
            return Err(BackupError::Miscounted { table: table.name.clone(), counted: table.rows, copied });
        }
        done += copied;
    }
    told(Progress { rows: done, of });
    writer.end();
    if let Some(ready) = writer.take() {
        out.send(ready).await.map_err(|_| BackupError::Gone)?;
    }
    snapshot.rollback().await?;
    Ok((manifest, writer.bytes()))
}

async fn describe(
    connection: &mut PgConnection,
    keyring: &Keyring,
    product: &str,
) -> Result<(Manifest, Vec<Source>), BackupError> {
    let schema: i64 =
        sqlx::query_scalar("select max(version) from _sqlx_migrations").fetch_one(&mut *connection).await?;
    if schema > schema::version() {
        return Err(BackupError::Newer { found: schema, known: schema::version() });
    }
    let row = sqlx::query(
        "select now() as taken_at, m.history, m.floor, w.triggers, log.find_head() as head from log.meta m, log.writer w",
    )
    .fetch_one(&mut *connection)
    .await?;
    let (taken_at, history): (DateTime<Utc>, Uuid) = (row.try_get("taken_at")?, row.try_get("history")?);
    let position = |column: &str| row.try_get(column).map(Position);
    let segments = tables::segments(connection).await?;
    let sources = tables::sources(connection, &segments).await?;
    let mut described = Vec::with_capacity(sources.len());
    for source in &sources {
        let rows = source.count(connection).await?;
        described.push(Table { name: source.name.clone(), columns: source.columns.clone(), rows });
    }
    let manifest = Manifest {
        product: product.to_owned(),
        schema,
        taken_at,
        history: history.into(),
        head: position("head")?,
        floor: position("floor")?,
        triggers: position("triggers")?,
        last_seal: last_seal(connection).await?,
        master_key: keyring.needed(connection).await?,
        segments,
        tables: described,
    };
    Ok((manifest, sources))
}

/// None, too, when the newest cannot be read: the proof of the restored log says more about it.
async fn last_seal(connection: &mut PgConnection) -> Result<Option<SealSeen>, sqlx::Error> {
    let data: Option<String> = sqlx::query_scalar(
        "select data::text from log.config where kind = 'seal.sealed' order by position desc limit 1",
    )
    .fetch_optional(connection)
    .await?;
    let seal: Option<Seal> = data.and_then(|data| serde_json::from_str(&data).ok());
    Ok(seal.map(|seal| SealSeen { number: seal.number, up_to: seal.up_to, hash: seal.hash() }))
}
