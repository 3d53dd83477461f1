//! Says what entries were when a part of the log ended that goes.
//!
//! A snapshot is not of the time when it is said: it stands for all that happened to an entry before the oldest part of the log
//! that is left. So everything since then is told as ever, and of several snapshots of an entry the last one counts.

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Connection as _, FromRow, PgPool};
use uuid::Uuid;

use super::{Leaf, RetentionError};
use crate::{
    event::{Actor, Class, Event, kv},
    id::AppId,
    log::{
        Commit, Committer, NewEvent, Node, Position,
        read::{ReadError, Reader},
    },
    state::kv::{Entry, Write},
};

/// So many snapshots go into one commit,
const AT_ONCE: usize = 300;

/// of so many bytes.
const MOST_BYTES: usize = 1024 * 1024;

/// Says what the entries of which something is told in a part of the log were at its end. How many were said.
///
/// # Errors
/// When the log cannot be read or written.
pub async fn snapshot(
    pool: &PgPool,
    reader: &Reader,
    committer: &Committer,
    node: &Node,
    leaf: Leaf,
) -> Result<usize, RetentionError> {
    let apps: Vec<Uuid> = sqlx::query_scalar!("select id from state.app").fetch_all(pool).await?;
    let Some(ended_at) = ended_at(pool, leaf).await? else { return Ok(0) };
    let mut saying = Saying { committer, node, events: Vec::new(), bytes: 0, said: 0 };
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    // All of it is put in order first.
    sqlx::query("select set_config('statement_timeout', '0', true), set_config('work_mem', '64MB', true)")
        .execute(&mut *transaction)
        .await?;
    let sql = statement(&later(pool, leaf).await?, leaf);
    let mut rows = sqlx::query_as::<_, Row>(AssertSqlSafe(sql)).bind(&apps).fetch(&mut *transaction);
    let mut past: Option<Told> = None;
    while let Some(row) = rows.try_next().await? {
        if let Some(over) = past.take_if(|past| !past.is_about(&row)) {
            saying.say(over.snapshot(ended_at)).await?;
        }
        past.get_or_insert_with(|| Told::new(&row)).take(reader, &row).await?;
    }
    if let Some(over) = past {
        saying.say(over.snapshot(ended_at)).await?;
    }
    saying.flush().await?;
    Ok(saying.said)
}

/// When the last of its events happened; none, when it has none.
async fn ended_at(pool: &PgPool, leaf: Leaf) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let sql = format!("select at from log.{} order by position desc limit 1", leaf.table());
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_optional(pool).await
}

/// The leaves behind one in which there may be snapshots.
async fn later(pool: &PgPool, leaf: Leaf) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "select low from log.segments where low >= $1 and $2 = any (classes) order by low",
        leaf.high.0,
        Class::Data.as_str()
    )
    .fetch_all(pool)
    .await
}

/// What is told of entries, one after the other: first what was said of the time before, then what happened; and where something
/// newer is said of the time before.
fn statement(later: &[i64], leaf: Leaf) -> String {
    let newer: Vec<String> = later
        .iter()
        .map(|low| format!("select app_id, subject, position from log.data_{low} where kind = 'kv.snapshot'"))
        .collect();
    let newer = if newer.is_empty() {
        "select null::uuid as app_id, null::text as subject, null::bigint as position".to_owned()
    } else {
        newer.join(" union all ")
    };
    format!(
        "with newer as (select app_id, subject, max(position) as position from ({newer}) n group by app_id, subject)
        select e.app_id, e.subject, e.kind, e.position, e.at, e.data::text as data, n.position as newer
        from log.{} e left join newer n on n.app_id = e.app_id and n.subject = e.subject
        where e.kind like 'kv.%' and e.app_id = any ($1)
        order by e.app_id, e.subject, e.kind <> 'kv.snapshot', e.position",
        leaf.table()
    )
}

#[derive(FromRow)]
struct Row {
    app_id: Uuid,
    subject: String,
    kind: String,
    position: i64,
    at: DateTime<Utc>,
    data: String,
    newer: Option<i64>,
}

/// What is told of an entry, as far as it has been read.
struct Told {
    app: AppId,
    subject: String,
    collection: String,
    key: String,
    entry: Option<Entry>,
    changed_at: Option<DateTime<Utc>>,
    /// Where something newer is said of the time before, as long as that counts.
    newer: Option<Position>,
    /// Whether anything happened to it.
    is_changed: bool,
    /// Whether there is anything that says what it was.
    is_said: bool,
}

impl Told {
    fn new(row: &Row) -> Self {
        Self {
            app: row.app_id.into(),
            subject: row.subject.clone(),
            collection: String::new(),
            key: String::new(),
            entry: None,
            changed_at: None,
            newer: row.newer.map(Position),
            is_changed: false,
            is_said: row.newer.is_some(),
        }
    }

    fn is_about(&self, row: &Row) -> bool {
        self.app.uuid() == row.app_id && self.subject == row.subject
    }

    async fn take(&mut self, reader: &Reader, row: &Row) -> Result<(), RetentionError> {
        let position = Position(row.position);
        let undecodable = |source| ReadError::Undecodable { position, source };
        let event = Event::decode(&row.kind, &row.data).map_err(undecodable)?;
        if let Event::KvSnapshot(snapshot) = &event {
            self.named(&snapshot.collection, &snapshot.key);
            if self.newer.is_none() {
                self.begin(snapshot, position);
            }
            return Ok(());
        }
        let Some(write) = Write::of(&event) else { return Ok(()) };
        if let Event::KvSet(kv::Set { collection, key, .. })
        | Event::KvDeleted(kv::Deleted { collection, key })
        | Event::KvIncreased(kv::Increased { collection, key, .. }) = &event
        {
            self.named(collection, key);
        }
        // What it was before matters only to who adds to it.
        match (&write, self.newer.take()) {
            (Write::Add(_), Some(newer)) => self.begin_at(reader, newer).await?,
            (Write::Add(_) | Write::Set { .. } | Write::Delete, _) => {}
        }
        self.entry = write.on(self.entry.take(), position, row.at);
        (self.changed_at, self.is_changed) = (Some(row.at), true);
        Ok(())
    }

    fn named(&mut self, collection: &str, key: &str) {
        if self.collection.is_empty() {
            (self.collection, self.key) = (collection.to_owned(), key.to_owned());
        }
    }

    fn begin(&mut self, snapshot: &kv::Snapshot, position: Position) {
        self.entry = Entry::of(snapshot, position);
        self.changed_at = snapshot.changed_at;
        self.is_said = false;
        self.is_changed = true;
    }

    async fn begin_at(&mut self, reader: &Reader, position: Position) -> Result<(), RetentionError> {
        let found = reader.at(&[position]).await?.remove(&position);
        if let Some(Event::KvSnapshot(snapshot)) = found.as_ref().map(|found| &found.event.event) {
            self.entry = Entry::of(snapshot, position);
        }
        Ok(())
    }

    /// What it was at the end of all that was read, if that is to be said: of what is gone only where something says that it was
    /// there.
    fn snapshot(self, at: DateTime<Utc>) -> Option<NewEvent> {
        // What had expired by then nobody will read.
        let value = self.entry.filter(|entry| !entry.is_expired(at));
        if !self.is_changed || (value.is_none() && !self.is_said) {
            return None;
        }
        let snapshot = kv::Snapshot {
            collection: self.collection,
            key: self.key,
            expires_at: value.as_ref().and_then(|entry| entry.expires_at),
            value: value.map(Entry::into_raw),
            changed_at: self.changed_at,
        };
        Some(NewEvent::new(Some(self.app), &Actor::SYSTEM, snapshot))
    }
}

/// What is to be said, some of it at a time.
struct Saying<'s> {
    committer: &'s Committer,
    node: &'s Node,
    events: Vec<NewEvent>,
    bytes: usize,
    said: usize,
}

impl Saying<'_> {
    async fn say(&mut self, event: Option<NewEvent>) -> Result<(), RetentionError> {
        let Some(event) = event else { return Ok(()) };
        self.bytes += event.data.len();
        self.events.push(event);
        if self.events.len() >= AT_ONCE || self.bytes >= MOST_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), RetentionError> {
        if self.events.is_empty() {
            return Ok(());
        }
        self.said += self.events.len();
        self.bytes = 0;
        self.committer.commit(Commit::new(self.node.authority(), std::mem::take(&mut self.events))).await?;
        Ok(())
    }
}
