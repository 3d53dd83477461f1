//! What differs, for people.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, PgConnection};

use super::{compare::Found, tables::Table};

/// A row that is not as the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its primary key: names of columns, and values.
    pub key: String,
    /// In which way.
    pub what: What,
}

/// In which way a row is not as the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The table has it, and the log says that there is none.
    OnlyTable {
        /// The row, as JSON.
        row: String,
    },
    /// The log says that it is there, and the table does not have it.
    OnlyLog {
        /// The row, as JSON.
        row: String,
    },
    /// Some of its columns have other values.
    Columns(Vec<Column>),
}

/// A column with another value than follows from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What the log says, as JSON.
    pub log: String,
    /// What the table has, as JSON.
    pub table: String,
}

/// Rows by their keys, as JSON.
async fn rows(
    connection: &mut PgConnection,
    table: &Table,
    keys: &[&str],
) -> Result<BTreeMap<String, String>, sqlx::Error> {
    // The text of a JSON column stays as it is: it is the text that is compared.
    let sql = format!(
        "select k.key, to_json(t)::text from unnest($1::text[]) k (key) join state.{} t on {}",
        table.name,
        table.has_key()
    );
    let found: Vec<(String, String)> = sqlx::query_as(AssertSqlSafe(sql)).bind(keys).fetch_all(connection).await?;
    Ok(found.into_iter().collect())
}

/// Tells how some rows differ.
pub(super) async fn tell(
    live: &mut PgConnection,
    built: &mut PgConnection,
    table: &Table,
    found: &[(Found, String)],
) -> Result<Vec<Difference>, sqlx::Error> {
    let keys: Vec<&str> = found.iter().map(|(_, key)| key.as_str()).collect();
    let (live, built) = (rows(live, table, &keys).await?, rows(built, table, &keys).await?);
    let told = found.iter().map(|(found, key)| {
        let (here, there) = (live.get(key), built.get(key));
        let columns = match (here, there) {
            (Some(here), Some(there)) => columns(here, there),
            _ => Vec::new(),
        };
        let row = |row: Option<&String>| row.cloned().unwrap_or_default();
        let what = match found {
            // Also a row that would be swept by what one of the two says.
            _ if !columns.is_empty() => What::Columns(columns),
            Found::OnlyLive => What::OnlyTable { row: row(here) },
            Found::OnlyBuilt | Found::Changed => What::OnlyLog { row: row(there) },
        };
        Difference { key: table.told(key), what }
    });
    Ok(told.collect())
}

fn columns(table: &str, log: &str) -> Vec<Column> {
    let read = |row| serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(row).unwrap_or_default();
    let (table, log) = (read(table), read(log));
    let named = log.iter().map(|(name, log)| {
        let table = table.get(name).map_or("", |value| value.get());
        Column { name: name.clone(), log: log.get().to_owned(), table: table.to_owned() }
    });
    named.filter(|column| column.log != column.table).collect()
}
