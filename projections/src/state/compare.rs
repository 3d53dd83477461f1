//! Compares a table in two databases: by sums first, then, where these differ, row by row in the order of their keys. So only
//! what differs is ever held in memory, and of that no more than is asked for.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use futures::{TryStreamExt as _, future::try_join};
use sqlx::{AssertSqlSafe, PgConnection};

use super::tables::Table;

/// Of transactions that read all of it: rows as text that means the same in both databases, by plans for much.
const READING: [(&str, &str); 10] = [
    ("datestyle", "ISO"),
    ("intervalstyle", "postgres"),
    ("timezone", "UTC"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    ("enable_seqscan", "on"),
    ("enable_hashjoin", "on"),
    ("plan_cache_mode", "auto"),
    ("jit", "off"),
    ("work_mem", "64MB"),
];

/// Makes a transaction such a one.
pub(super) async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let (names, values): (Vec<&str>, Vec<&str>) = READING.into_iter().unzip();
    sqlx::query("select set_config(name, value, true) from unnest($1::text[], $2::text[]) s (name, value)")
        .bind(names)
        .bind(values)
        .execute(connection)
        .await?;
    Ok(())
}

/// In which of the two a row is otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    OnlyLive,
    OnlyBuilt,
    Changed,
}

/// How many rows differ, in which way, and their keys.
#[derive(Debug, Default)]
pub(super) struct Differing {
    pub only_live: u64,
    pub only_built: u64,
    pub changed: u64,
    /// The first of them.
    pub keys: Vec<(Found, String)>,
}

impl Differing {
    pub const fn count(&self) -> u64 {
        self.only_live + self.only_built + self.changed
    }

    fn note(&mut self, found: Found, key: String, most: usize) {
        match found {
            Found::OnlyLive => self.only_live += 1,
            Found::OnlyBuilt => self.only_built += 1,
            Found::Changed => self.changed += 1,
        }
        if self.keys.len() < most {
            self.keys.push((found, key));
        }
    }
}

/// Compares a table as of a moment, but for rows that may be gone by then; how many rows it has, and how they differ. At most
/// so many keys are kept.
pub(super) async fn compare(
    live: &mut PgConnection,
    built: &mut PgConnection,
    table: &Table,
    moment: DateTime<Utc>,
    most: usize,
) -> Result<(u64, Differing), sqlx::Error> {
    let (here, there) = try_join(sum(live, table, moment), sum(built, table, moment)).await?;
    if here == there {
        return Ok((there.0, Differing::default()));
    }
    Ok((there.0, differing(live, built, table, moment, most).await?))
}

/// How many rows there are, and the sum of their hashes: the same for the same rows, in whatever order they lie.
async fn sum(
    connection: &mut PgConnection,
    table: &Table,
    moment: DateTime<Utc>,
) -> Result<(u64, String), sqlx::Error> {
    let sql = format!(
        "select count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text from {}",
        table.lasting()
    );
    let (count, sum): (i64, String) = sqlx::query_as(AssertSqlSafe(sql)).bind(moment).fetch_one(connection).await?;
    Ok((count.unsigned_abs(), sum))
}

/// Walks along both.
async fn differing(
    live: &mut PgConnection,
    built: &mut PgConnection,
    table: &Table,
    moment: DateTime<Utc>,
    most: usize,
) -> Result<Differing, sqlx::Error> {
    let sql = format!(
        "select key, hash from (select {} as key, hashtextextended(t::text, 0) as hash from {}) r order by key collate \"C\"",
        table.key(),
        table.lasting()
    );
    let rows = || sqlx::query_as::<_, (String, i64)>(AssertSqlSafe(sql.clone())).bind(moment);
    let (mut live, mut built) = (rows().fetch(live), rows().fetch(built));
    let (mut here, mut there) = try_join(live.try_next(), built.try_next()).await?;
    let mut differing = Differing::default();
    loop {
        let order = match (&here, &there) {
            (None, None) => return Ok(differing),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((here, _)), Some((there, _))) => here.as_bytes().cmp(there.as_bytes()),
        };
        // What one of them lacks is passed by in the other.
        let passed_here = if order.is_le() { std::mem::replace(&mut here, live.try_next().await?) } else { None };
        let passed_there = if order.is_ge() { std::mem::replace(&mut there, built.try_next().await?) } else { None };
        match (passed_here, passed_there) {
            (Some((key, here)), Some((_, there))) if here != there => differing.note(Found::Changed, key, most),
            (Some((key, _)), None) => differing.note(Found::OnlyLive, key, most),
            (None, Some((key, _))) => differing.note(Found::OnlyBuilt, key, most),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}
