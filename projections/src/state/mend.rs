//! Puts rows right, while nobody appends: those that differed when both were compared are made what follows from the log by
//! now.

use std::collections::BTreeMap;

use picloud_core::{event::projection::Corrected, log::correct::Correction};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use super::tables::Table;

/// Rows that are written in one transaction: a moment's work, also when they are large. Whoever appends waits for it.
pub(super) const AT_ONCE: usize = 500;

/// What is to be written to a table at once.
#[derive(Debug)]
struct Work<'t> {
    table: &'t Table,
    kind: Kind,
    /// The keys of what is to go; the rows that are to be there, as text.
    what: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Delete,
    Update,
    Insert,
}

/// What was done, and what was in the way of the rest.
#[derive(Debug, Default)]
pub(super) struct Mended {
    pub tables: Vec<Corrected>,
    /// A table, and the constraint that its rows would break.
    pub in_the_way: Option<(String, String)>,
}

/// Makes rows what they are in the database beside, by their keys.
pub(super) async fn mend(
    correction: &mut Correction<'_>,
    beside: &PgPool,
    rows: &[(&Table, &[String])],
) -> Result<Mended, sqlx::Error> {
    let mut built = beside.acquire().await?;
    // Children go before their parents, and come after them.
    let (mut deletes, mut updates, mut inserts) = (Vec::new(), Vec::new(), Vec::new());
    for (table, keys) in rows {
        let is_there = by_key(correction.connection(), table, keys, "true::text").await?;
        let (mut gone, mut changed, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for (key, row) in by_key(&mut built, table, keys, "t::text").await? {
            let here = is_there.get(&key).is_some_and(Option::is_some);
            match row {
                Some(row) if here => changed.push(row),
                Some(row) => missing.push(row),
                None if here => gone.push(key),
                None => {}
            }
        }
        deletes.push(Work { table, kind: Kind::Delete, what: gone });
        updates.push(Work { table, kind: Kind::Update, what: changed });
        inserts.push(Work { table, kind: Kind::Insert, what: missing });
    }
    deletes.reverse();
    let work = deletes.into_iter().chain(updates).chain(inserts).filter(|work| !work.what.is_empty());
    do_all(correction.connection(), work.collect()).await
}

/// Something about the rows of some keys, or nothing of those that are not there.
async fn by_key(
    connection: &mut PgConnection,
    table: &Table,
    keys: &[String],
    what: &str,
) -> Result<BTreeMap<String, Option<String>>, sqlx::Error> {
    let sql = format!(
        "select k.key, (select {what} from state.{} t where {}) from unnest($1::text[]) k (key)",
        table.name,
        table.has_key()
    );
    let rows: Vec<(String, Option<String>)> =
        sqlx::query_as(AssertSqlSafe(sql)).bind(keys).fetch_all(connection).await?;
    Ok(rows.into_iter().collect())
}

/// What refers to something that is not there yet, or takes a name that another row still has, is tried again after all else, in
/// smaller parts, for as long as that gets anywhere.
async fn do_all(connection: &mut PgConnection, mut work: Vec<Work<'_>>) -> Result<Mended, sqlx::Error> {
    let mut done: BTreeMap<&str, u64> = BTreeMap::new();
    let mut in_the_way = None;
    while !work.is_empty() {
        let (mut later, mut is_further) = (Vec::new(), false);
        for Work { table, kind, mut what } in work {
            let mut savepoint = connection.begin().await?;
            match write(&mut savepoint, table, kind, &what).await {
                Ok(rows) => {
                    savepoint.commit().await?;
                    *done.entry(&table.name).or_default() += rows;
                    is_further = true;
                }
                Err(error) if constraint(&error).is_some() => {
                    savepoint.rollback().await?;
                    in_the_way = constraint(&error).map(|constraint| (table.name.clone(), constraint));
                    is_further |= what.len() > 1;
                    let second = what.split_off(what.len() / 2);
                    let parts = [what, second].into_iter().filter(|part| !part.is_empty());
                    later.extend(parts.map(|what| Work { table, kind, what }));
                }
                Err(error) => return Err(error),
            }
        }
        if !is_further {
            break;
        }
        work = later;
        if work.is_empty() {
            in_the_way = None;
        }
    }
    let tables = done.into_iter().map(|(table, rows)| Corrected { table: table.to_owned(), rows });
    Ok(Mended { tables: tables.filter(|corrected| corrected.rows > 0).collect(), in_the_way })
}

async fn write(connection: &mut PgConnection, table: &Table, kind: Kind, what: &[String]) -> Result<u64, sqlx::Error> {
    let name = &table.name;
    // A row as text, and out of it again: the columns are the same in both databases, and stand in the same order.
    let rows = format!("(select (w.row::state.{name}).* from unnest($1::text[]) w (row)) r");
    let sql = match kind {
        Kind::Delete => {
            format!("delete from state.{name} t using unnest($1::text[]) k (key) where {}", table.has_key())
        }
        Kind::Update => format!(
            "update state.{name} t set ({}) = row ({}) from {rows} where {} and t::text is distinct from r::text",
            table.columns(""),
            table.columns("r."),
            table.have_same_key()
        ),
        Kind::Insert => {
            format!("insert into state.{name} ({}) select {} from {rows}", table.columns(""), table.columns("r."))
        }
    };
    let done = sqlx::query(AssertSqlSafe(sql)).bind(what).execute(connection).await?;
    Ok(done.rows_affected())
}

/// The constraint between rows that an error is about.
fn constraint(error: &sqlx::Error) -> Option<String> {
    let error = error.as_database_error()?;
    let is_between_rows = error.code().is_some_and(|code| ["23503", "23505"].contains(&&*code));
    is_between_rows.then(|| error.constraint().unwrap_or("unnamed").to_owned())
}
