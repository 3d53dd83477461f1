//! The tables of state: by what their rows are known, and which rows may be gone.

use picloud_core::log::backup::state_tables;
use sqlx::PgConnection;

/// Rows that are swept without an event: whether they are there or not, both follow from the log. Of each table: which rows `t`
/// these are, as of the moment `$1`, and why. No other rows, and no column, may differ.
pub const SWEPT: [(&str, &str, &str); 6] = [
    (
        "kv",
        "t.expires_at <= $1 or t.app_id in (select id from state.deleted_app)",
        "an expired entry reads as absent, and nobody reads those of an app that is gone",
    ),
    ("outbox", "t.app_id in (select id from state.deleted_app)", "what an app owed goes with it, a while later"),
    (
        "outbox_ended",
        "t.ended_at <= $1 - interval '1 day' or t.app_id in (select id from state.deleted_app)",
        "outcomes are kept for a day",
    ),
    ("dead_letter", "t.app_id in (select id from state.deleted_app)", "letters go with their app, a while later"),
    ("dead_letter_count", "t.app_id in (select id from state.deleted_app)", "counts go with the letters"),
    ("job", "t.app_id in (select id from state.deleted_app)", "jobs go with their app, a while later"),
];

/// A table of state.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub name: String,
    columns: Vec<String>,
    /// Its primary key, and the types of that.
    key: Vec<(String, String)>,
}

/// All of them, such that none refers to one that comes later.
pub(super) async fn all(connection: &mut PgConnection) -> Result<Vec<Table>, sqlx::Error> {
    let mut tables = Vec::new();
    for name in state_tables(&mut *connection).await? {
        let columns = sqlx::query_scalar(
            "select attname::text from pg_attribute
            where attrelid = format('state.%I', $1)::regclass and attnum > 0 and not attisdropped and attgenerated = ''
            order by attnum",
        )
        .bind(&name)
        .fetch_all(&mut *connection)
        .await?;
        let key = sqlx::query_as(
            "select a.attname::text, format_type(a.atttypid, a.atttypmod)
            from pg_index i
            cross join unnest(i.indkey::int2[]) with ordinality as k (attnum, n)
            join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
            where i.indrelid = format('state.%I', $1)::regclass and i.indisprimary
            order by k.n",
        )
        .bind(&name)
        .fetch_all(&mut *connection)
        .await?;
        tables.push(Table { name, columns, key });
    }
    Ok(tables)
}

impl Table {
    /// Its rows, by the name `t`, but for those that may be gone.
    pub fn lasting(&self) -> String {
        let swept = SWEPT.iter().find(|(table, ..)| *table == self.name).map_or("false", |(_, swept, _)| swept);
        format!("state.{} t where $1::timestamptz is not null and ({swept}) is not true", self.name)
    }

    /// A row's key, as text.
    pub fn key(&self) -> String {
        let columns: Vec<String> = self.key.iter().map(|(name, _)| format!("t.{name}")).collect();
        format!("jsonb_build_array({})::text", columns.join(", "))
    }

    /// That the row `t` has the key `k.key`.
    pub fn has_key(&self) -> String {
        let equal =
            self.key.iter().enumerate().map(|(n, (name, of))| format!("t.{name} = (k.key::jsonb ->> {n})::{of}"));
        equal.collect::<Vec<_>>().join(" and ")
    }

    /// That the rows `t` and `r` have the same key.
    pub fn have_same_key(&self) -> String {
        self.key.iter().map(|(name, _)| format!("t.{name} = r.{name}")).collect::<Vec<_>>().join(" and ")
    }

    /// What it is known by, for people: names and values.
    pub fn told(&self, key: &str) -> String {
        let values: Vec<serde_json::Value> = serde_json::from_str(key).unwrap_or_default();
        let named = self.key.iter().zip(&values).map(|((name, _), value)| match value {
            serde_json::Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        });
        named.collect::<Vec<_>>().join(" ")
    }

    /// Its columns, each behind a prefix.
    pub fn columns(&self, prefix: &str) -> String {
        self.columns.iter().map(|name| format!("{prefix}{name}")).collect::<Vec<_>>().join(", ")
    }
}
