//! The database's schema and whether this binary fits it.

use sqlx::{
    PgConnection, PgPool,
    migrate::{MigrateError, Migrator},
};

use crate::id::HistoryId;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A newer PiCloud has been here.
    #[error(
        "the database is at schema version {found}, this PiCloud knows up to {known}: start a newer PiCloud, \
         or restore a backup made before the upgrade"
    )]
    Newer {
        /// The database's version.
        found: i64,
        /// The highest version this binary knows.
        known: i64,
    },
    /// A migration that was applied is not the one this binary has.
    #[error("migration {0} of the database is not the one this PiCloud was built with")]
    Altered(i64),
    /// The server is too old.
    #[error("PostgreSQL {0} is too old: PiCloud needs 14 or newer")]
    ServerTooOld(String),
    /// A migration failed. What it had done was undone.
    #[error("failed to migrate the database")]
    Failed(#[source] MigrateError),
    /// The database could not be asked.
    #[error("failed to ask the database for its version")]
    Database(#[from] sqlx::Error),
}

/// The schema version this binary brings.
#[must_use]
pub fn version() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// Brings the database up to this binary. Several nodes may do so at once: one does it, the others wait.
///
/// # Errors
/// [`SchemaError`], when the database is newer than the binary, or not its own, or refuses.
pub async fn migrate(pool: &PgPool) -> Result<(), SchemaError> {
    let server: String = sqlx::query_scalar("select current_setting('server_version_num')").fetch_one(pool).await?;
    if server.parse::<u32>().is_ok_and(|number| number < 140_000) {
        return Err(SchemaError::ServerTooOld(server));
    }
    MIGRATIONS.run(pool).await.map_err(told)
}

/// Brings a database up to some version, within the transaction of a connection.
pub(super) async fn migrate_to(connection: &mut PgConnection, version: i64) -> Result<(), SchemaError> {
    MIGRATIONS.run_to(version, connection).await.map_err(told)
}

fn told(error: MigrateError) -> SchemaError {
    match error {
        MigrateError::VersionMissing(found) => SchemaError::Newer { found, known: version() },
        MigrateError::VersionMismatch(altered) => SchemaError::Altered(altered),
        other => SchemaError::Failed(other),
    }
}

/// What the migrations say of a schema's tables and their indexes, in order: said of another, they are made there. What became
/// of tables that a later migration dropped is left out.
#[must_use]
pub fn statements_about(schema: &str) -> Vec<&'static str> {
    let named = format!("{schema}.");
    let mut about: Vec<(&str, &str)> = Vec::new();
    // In pieces that end with a line: what stands in the body of a function is none of it.
    for statement in MIGRATIONS.iter().flat_map(|migration| migration.sql.as_str().split(";\n")) {
        let said = statement.lines().find(|line| !line.starts_with("--") && !line.is_empty()).unwrap_or_default();
        let mut tables = said.split([' ', ',', ';']).filter_map(|word| word.strip_prefix(&named));
        if said.starts_with("drop table") {
            for dropped in tables {
                about.retain(|(table, _)| *table != dropped);
            }
        } else if ["create table", "create index", "create unique index", "alter table"]
            .iter()
            .any(|begin| said.starts_with(begin))
            && let Some(table) = tables.next()
        {
            about.push((table, statement));
        }
    }
    about.into_iter().map(|(_, statement)| statement).collect()
}

/// Which life of the log the database holds.
///
/// # Errors
/// When the database cannot be asked.
pub async fn history(pool: &PgPool) -> Result<HistoryId, sqlx::Error> {
    let history = sqlx::query_scalar!("select history from log.meta").fetch_one(pool).await?;
    Ok(history.into())
}
