//! What is in a backup: the log, all state, and of `live` what nothing else tells.

use std::collections::HashSet;

use sqlx::{PgConnection, Row as _};

use crate::{
    backup::{Segment, Table},
    event::Class,
};

/// Tables of `live` that are in backups, and what of them: secrets, what points at the places that were sealed, and what people
/// and clients hold on to.
pub const LIVE_KEPT: [(&str, Option<&str>); 6] = [
    ("secret_material", None),
    ("seal_marks", None),
    // What was under way in the life before never ends in this one: its key is free.
    ("idempotency", Some("outcome is not null")),
    ("status_token", None),
    ("totp_step", None),
    ("api_key_use", None),
];

/// Those that are not: which nodes there are and what they do at the moment, and who is signed in.
pub const LIVE_LEFT_OUT: [&str; 6] = ["nodes", "ready", "delayed", "lease", "job_lease", "session"];

/// A table to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// With its schema.
    pub name: String,
    pub columns: Vec<String>,
    /// Only rows of which this is so.
    only: Option<&'static str>,
}

impl Source {
    /// Hands its rows out.
    pub fn copy_out(&self) -> String {
        let (name, columns) = (&self.name, self.columns());
        match self.only {
            None => format!("copy {name} ({columns}) to stdout"),
            Some(only) => format!("copy (select {columns} from {name} where {only}) to stdout"),
        }
    }

    /// Takes rows in; `is_new` when this transaction made the table, which saves a second pass over them later.
    pub fn copy_in(&self, is_new: bool) -> String {
        let options = if is_new { " with (freeze)" } else { "" };
        format!("copy {} ({}) from stdin{options}", self.name, self.columns())
    }

    pub async fn count(&self, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        let only = self.only.unwrap_or("true");
        let sql = format!("select count(*) from {} where {only}", self.name);
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(connection).await?;
        Ok(count.unsigned_abs())
    }

    pub fn is(&self, table: &Table) -> bool {
        self.name == table.name && self.columns == table.columns
    }

    fn columns(&self) -> String {
        let quoted = self.columns.iter().map(|column| format!("\"{}\"", column.replace('"', "\"\"")));
        quoted.collect::<Vec<_>>().join(", ")
    }
}

/// All there are, such that no row refers to one that comes later.
pub(super) async fn sources(connection: &mut PgConnection, segments: &[Segment]) -> Result<Vec<Source>, sqlx::Error> {
    let mut sources = leaves(connection, segments).await?;
    sources.extend(beside_the_log(connection).await?);
    Ok(sources)
}

/// How the log is cut.
pub(super) async fn segments(connection: &mut PgConnection) -> Result<Vec<Segment>, sqlx::Error> {
    let rows = sqlx::query!("select low, high, classes from log.segments order by low").fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| Segment { low: row.low, high: row.high, classes: row.classes }).collect())
}

/// The tables that the log lies in. By name, so that nobody who adds one to their parents waits.
async fn leaves(connection: &mut PgConnection, segments: &[Segment]) -> Result<Vec<Source>, sqlx::Error> {
    let columns: Vec<String> = sqlx::query_scalar(
        "select attname::text from pg_attribute
        where attrelid = 'log.events'::regclass and attnum > 0 and not attisdropped
        order by attnum",
    )
    .fetch_all(connection)
    .await?;
    let names = segments.iter().flat_map(|segment| {
        let known = Class::ALL.into_iter().filter(|class| segment.classes.iter().any(|there| there == class.as_str()));
        known.map(|class| leaf(class, segment.low))
    });
    Ok(names.map(|name| Source { name, columns: columns.clone(), only: None }).collect())
}

/// The table of a class's events in a segment.
pub(super) fn leaf(class: Class, low: i64) -> String {
    format!("log.{class}_{low}")
}

struct Found {
    source: Source,
    id: i64,
    refers_to: Vec<i64>,
}

/// State, and what is kept of `live`.
pub(super) async fn beside_the_log(connection: &mut PgConnection) -> Result<Vec<Source>, sqlx::Error> {
    let rows = sqlx::query(
        "select n.nspname::text as schema, c.relname::text as name, c.oid::bigint as id,
            array(
                select a.attname::text from pg_attribute a
                where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
                order by a.attnum
            ) as columns,
            array(
                select f.confrelid::bigint from pg_constraint f
                where f.conrelid = c.oid and f.contype = 'f' and f.confrelid <> c.oid
            ) as refers_to
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in ('state', 'live') and c.relkind = 'r'
        order by n.nspname desc, c.relname",
    )
    .fetch_all(connection)
    .await?;
    let mut found = Vec::new();
    for row in rows {
        let (schema, name): (String, String) = (row.try_get("schema")?, row.try_get("name")?);
        let kept = LIVE_KEPT.into_iter().find(|(kept, _)| *kept == name);
        let only = match (&*schema, kept) {
            ("live", None) => continue,
            ("live", Some((_, only))) => only,
            _ => None,
        };
        let source = Source { name: format!("{schema}.{name}"), columns: row.try_get("columns")?, only };
        found.push(Found { source, id: row.try_get("id")?, refers_to: row.try_get("refers_to")? });
    }
    Ok(in_order(found))
}

/// The tables of state, such that none refers to one that comes later.
///
/// # Errors
/// When the database cannot be asked.
pub async fn state_tables(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let sources = beside_the_log(connection).await?;
    Ok(sources.iter().filter_map(|source| source.name.strip_prefix("state.").map(str::to_owned)).collect())
}

fn in_order(mut waiting: Vec<Found>) -> Vec<Source> {
    let (mut done, mut sources) = (HashSet::new(), Vec::new());
    while !waiting.is_empty() {
        let (ready, later): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|found| found.refers_to.iter().all(|id| done.contains(id)));
        // Tables that refer to each other would be in no order: there are none, and a restore of them would say so.
        let (ready, later) = if ready.is_empty() { (later, Vec::new()) } else { (ready, later) };
        done.extend(ready.iter().map(|found| found.id));
        sources.extend(ready.into_iter().map(|found| found.source));
        waiting = later;
    }
    sources
}
