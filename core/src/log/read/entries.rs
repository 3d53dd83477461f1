//! Which entries a collection had at some place of the log, and where it is told what they were; not yet what that was.
//!
//! Nothing in the log is in the order of keys: all that was written by then is walked through, once for each [`Stretch`]. Only what
//! it is about is looked at, not what it says.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use sqlx::{AssertSqlSafe, Row as _, postgres::PgRow};

use super::{ReadError, Reader, Segment};
use crate::{event::Class, id::AppId, log::Position};

/// Entries of which collection, and as of where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whose.
    pub app: AppId,
    /// The collection.
    pub collection: String,
    /// Only keys that begin so.
    pub prefix: String,
    /// The last event that counts.
    pub up_to: Position,
    /// What lies up to here is not read any more: what entries were there is said further on.
    pub floor: Position,
}

/// Some of the entries, in the order of their keys' bytes.
#[derive(Clone, Debug, Default)]
pub struct Stretch {
    /// Those that had not been deleted, each with where it is told.
    pub entries: BTreeMap<String, Told>,
    /// There may be more after this key.
    pub goes_on_after: Option<String>,
}

/// Where it is told what an entry was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// In one event: it set the entry, or says what it was before the oldest part of the log that is left.
    At(Position),
    /// In several: it was increased.
    InSeveral,
}

/// What a part of the log has about an entry: where it last happened.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    begun_anew: Option<i64>,
    deleted: Option<i64>,
    changed: Option<i64>,
    snapshot: Option<i64>,
}

impl Reader {
    /// Entries of a collection whose keys come after one, at least `limit` of them or all.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn entries(&self, wanted: &Wanted, after: Option<&str>, limit: usize) -> Result<Stretch, ReadError> {
        let begins = format!("kv:{}/", wanted.collection);
        // What was before is told anywhere behind it.
        let end = if wanted.floor == Position::ZERO { wanted.up_to } else { self.head().await?.max(wanted.up_to) };
        self.in_segments(wanted.floor, end, |segments| {
            let begins = &begins;
            async move {
                let mut found = BTreeMap::<String, Last>::new();
                // Up to here all parts have been asked.
                let mut goes_on_after: Option<String> = None;
                for segment in segments {
                    let Some(sql) = statement(&segment, wanted.up_to) else { continue };
                    let rows = sqlx::query(AssertSqlSafe(sql))
                        .bind(wanted.app.uuid())
                        .bind(format!("{begins}{}", wanted.prefix))
                        .bind(after.map(|after| format!("{begins}{after}")))
                        .bind(wanted.floor.0)
                        .bind(wanted.up_to.0)
                        .bind(limit as i64)
                        .fetch_all(self.pool())
                        .await?;
                    let mut last_key = None;
                    for row in &rows {
                        let (key, last) = read(row, begins)?;
                        found.entry(key.clone()).or_default().and(last);
                        last_key = Some(key);
                    }
                    if rows.len() == limit {
                        goes_on_after = [goes_on_after, last_key].into_iter().flatten().min();
                    }
                }
                if let Some(end) = &goes_on_after {
                    found.retain(|key, _| key <= end);
                }
                let entries = found.into_iter().filter_map(|(key, last)| Some((key, last.told()?))).collect();
                Ok(Stretch { entries, goes_on_after })
            }
            .boxed()
        })
        .await
    }
}

impl Last {
    fn and(&mut self, later: Self) {
        self.begun_anew = self.begun_anew.max(later.begun_anew);
        self.deleted = self.deleted.max(later.deleted);
        self.changed = self.changed.max(later.changed);
        self.snapshot = self.snapshot.max(later.snapshot);
    }

    /// None, when it was not there.
    fn told(self) -> Option<Told> {
        match (self.changed, self.snapshot) {
            (None, snapshot) => snapshot.map(|snapshot| Told::At(Position(snapshot))),
            (changed, _) if changed == self.deleted => None,
            (Some(changed), _) if self.begun_anew == Some(changed) => Some(Told::At(Position(changed))),
            (Some(_), _) => Some(Told::InSeveral),
        }
    }
}

fn read(row: &PgRow, begins: &str) -> Result<(String, Last), sqlx::Error> {
    let subject: &str = row.try_get("subject")?;
    let last = Last {
        begun_anew: row.try_get("begun_anew")?,
        deleted: row.try_get("deleted")?,
        changed: row.try_get("changed")?,
        snapshot: row.try_get("snapshot")?,
    };
    Ok((subject[begins.len()..].to_owned(), last))
}

/// One segment's query. Behind the moment only what is said of the time before everything counts, for which there is an index.
fn statement(segment: &Segment, up_to: Position) -> Option<String> {
    let class = Class::Data.as_str();
    let which = if segment.low > up_to.0 {
        "kind = 'kv.snapshot' and $5::bigint is not null"
    } else {
        "kind in ('kv.set', 'kv.increased', 'kv.deleted', 'kv.snapshot') and (position <= $5 or kind = 'kv.snapshot')"
    };
    segment.classes.iter().any(|present| present == class).then(|| {
        format!(
            "select subject,
                max(position) filter (where kind in ('kv.set', 'kv.deleted')) as begun_anew,
                max(position) filter (where kind = 'kv.deleted') as deleted,
                max(position) filter (where kind <> 'kv.snapshot') as changed,
                max(position) filter (where kind = 'kv.snapshot') as snapshot
            from log.{class}_{low}
            where app_id = $1 and {which} and position > $4
                and starts_with(subject, $2) and ($3::text is null or subject collate \"C\" > $3)
            group by subject
            order by subject collate \"C\"
            limit $6",
            low = segment.low
        )
    })
}
