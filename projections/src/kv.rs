//! Reading key-value entries.

use chrono::{DateTime, Utc};
use picloud_core::{
    id::AppId,
    log::{Position, Read},
};
use sqlx::{PgPool, types::Json};

/// An entry as it is stored, expired or not.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its value, as the JSON it was written as.
    pub value: Box<serde_json::value::RawValue>,
    /// From when on it reads as absent.
    pub expires_at: Option<DateTime<Utc>>,
    /// The event that last changed it.
    pub version: Position,
}

/// One entry.
///
/// # Errors
/// When the database cannot be asked.
pub async fn get(pool: &PgPool, app: AppId, collection: &str, key: &str) -> Result<Option<Entry>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"select key, value as "value: Json<Box<serde_json::value::RawValue>>", expires_at, position
        from state.kv
        where app_id = $1 and collection = $2 and key = $3"#,
        app.uuid(),
        collection,
        key
    )
    .fetch_optional(pool)
    .await
    .map(|row| row.map(Entry::from))
}

/// The first `limit` entries whose key begins with `prefix` and comes after `after`, in the order of the keys' bytes.
///
/// # Errors
/// When the database cannot be asked.
pub async fn list(
    pool: &PgPool,
    app: AppId,
    collection: &str,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Entry>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select key, value as "value: Json<Box<serde_json::value::RawValue>>", expires_at, position
        from state.kv
        where app_id = $1 and collection = $2
            and key >= $3 and ($4::text is null or key < $4) and ($5::text is null or key > $5)
        order by key
        limit $6"#,
        app.uuid(),
        collection,
        prefix,
        successor(prefix),
        after,
        limit as i64
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Entry::from).collect())
}

/// The names of an app's collections with something in them, up to 1 000.
///
/// # Errors
/// When the database cannot be asked.
pub async fn collections(pool: &PgPool, app: AppId) -> Result<Vec<String>, sqlx::Error> {
    // A loose index scan: one probe a collection, however many entries each has.
    sqlx::query_scalar!(
        r#"with recursive found (collection) as (
            (select collection from state.kv where app_id = $1 order by collection limit 1)
            union all
            select (
                select k.collection from state.kv k
                where k.app_id = $1 and k.collection > f.collection order by k.collection limit 1
            )
            from found f where f.collection is not null
        )
        select collection as "collection!" from found where collection is not null limit 1000"#,
        app.uuid()
    )
    .fetch_all(pool)
    .await
}

/// Whether keys that were read still have the versions they had, all as of one moment. Ranges are not for this: they need
/// the committer's memory.
///
/// # Errors
/// When the database cannot be asked.
pub async fn still_hold(pool: &PgPool, reads: &[Read]) -> Result<bool, sqlx::Error> {
    let (mut apps, mut collections, mut keys, mut versions) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for read in reads {
        let Read::Kv { app, collection, key, version } = read else { continue };
        apps.push(app.uuid());
        collections.push(collection.clone());
        keys.push(key.clone());
        versions.push(version.0);
    }
    sqlx::query_scalar!(
        r#"select not exists (
            select from unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[]) as r (app, collection, key, position)
            left join state.kv k on k.app_id = r.app and k.collection = r.collection and k.key = r.key
            where coalesce(k.position, 0) <> r.position
        ) as "holds!""#,
        &apps,
        &collections,
        &keys,
        &versions
    )
    .fetch_one(pool)
    .await
}

/// The most statements of one sweep: whoever sweeps has other things to do. The rest waits for the next.
const SWEEPS: usize = 50;

/// Deletes expired entries, a thousand a statement and up to fifty thousand in all; returns how many. No event says so: they
/// have read as absent since they expired.
///
/// # Errors
/// When the database refuses.
pub async fn sweep(pool: &PgPool) -> Result<u64, sqlx::Error> {
    let mut all = 0;
    for _ in 0..SWEEPS {
        match sweep_some(pool).await? {
            0 => break,
            swept => all += swept,
        }
    }
    Ok(all)
}

/// Deletes entries of deleted apps, as [`sweep`] does. Nobody can read them any more.
///
/// # Errors
/// When the database refuses.
pub async fn sweep_deleted(pool: &PgPool) -> Result<u64, sqlx::Error> {
    let mut all = 0;
    for _ in 0..SWEEPS {
        let swept = sqlx::query!(
            "delete from state.kv k
            using state.deleted_app d
            cross join lateral (
                select collection, key from state.kv where app_id = d.id limit 1000 for update skip locked
            ) gone
            where k.app_id = d.id and k.collection = gone.collection and k.key = gone.key"
        )
        .execute(pool)
        .await?;
        match swept.rows_affected() {
            0 => break,
            swept => all += swept,
        }
    }
    Ok(all)
}

async fn sweep_some(pool: &PgPool) -> Result<u64, sqlx::Error> {
    // A row that is just being written is left alone; a minute's grace keeps clocks out of it.
    let swept = sqlx::query!(
        "delete from state.kv k
        using (
            select app_id, collection, key from state.kv
            where expires_at < now() - interval '1 minute'
            order by expires_at
            limit 1000
            for update skip locked
        ) expired
        where k.app_id = expired.app_id and k.collection = expired.collection and k.key = expired.key"
    )
    .execute(pool)
    .await?;
    Ok(swept.rows_affected())
}

struct Row {
    key: String,
    value: Json<Box<serde_json::value::RawValue>>,
    expires_at: Option<DateTime<Utc>>,
    position: i64,
}

impl From<Row> for Entry {
    fn from(row: Row) -> Self {
        Self { key: row.key, value: row.value.0, expires_at: row.expires_at, version: Position(row.position) }
    }
}

/// The least text greater than all that begin with a prefix; `None` when there is none. UTF-8 sorts by code point, so the
/// last character that can be raised is.
fn successor(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match last {
            // The surrogates are no characters.
            '\u{d7ff}' => Some('\u{e000}'),
            _ => char::from_u32(last as u32 + 1),
        };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_successor_of_nothing_is_no_bound() {
        assert_eq!(successor(""), None);
        assert_eq!(successor("\u{10ffff}"), None);
        assert_eq!(successor("a").as_deref(), Some("b"));
        assert_eq!(successor("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(successor("\u{d7ff}").as_deref(), Some("\u{e000}"));
    }

    proptest! {
        #[test]
        fn the_successor_is_above_all_that_begin_with_the_prefix(prefix in "\\PC{1,4}", rest in "\\PC{0,4}", other in "\\PC{0,6}") {
            if let Some(bound) = successor(&prefix) {
                let longer = prefix.clone() + &rest;
                prop_assert!(longer < bound);
                prop_assert!(bound > prefix);
                // Nothing else lies between.
                if other >= prefix && other < bound {
                    prop_assert!(other.starts_with(&prefix));
                }
            }
        }
    }
}
