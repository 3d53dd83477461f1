//! What state begins with where the log begins in the middle, because what was kept for long enough has gone from it
//! ([`crate::log::retention`]).
//!
//! Entries are what their snapshots say. What was owed, and up to where times were decided about, is said again further on. Two
//! things only the table that is compared knows, and so they are not proven for what is that old: where an entry was
//! last changed, and how many handlers a letter had.

use std::collections::HashMap;

use chrono::{DateTime, SubsecRound as _, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::{Beside, BesideError};
use crate::{
    event::{Class, Event, kv},
    id::DeadLetterId,
    log::{NewEvent, Position, Recorded, read::Reader},
};

/// So many snapshots are read at once.
const PAGE: usize = 1_000;

/// What the log does not say any more of letters.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// What ran up to here is gone.
    up_to: Position,
    /// How many handlers letters had, that had any.
    handlers: HashMap<DeadLetterId, i32>,
}

impl Before {
    /// How many handlers a letter had, if the event that made it is so old that theirs are gone.
    fn handlers_of(&self, recorded: &Recorded) -> Option<(DeadLetterId, i32)> {
        match &recorded.event.event {
            Event::DeadLetterCreated(created) if recorded.position <= self.up_to => {
                let handlers = self.handlers.get(&created.dead_letter)?;
                Some((created.dead_letter, *handlers))
            }
            _ => None,
        }
    }
}

impl Beside {
    /// Begins with what was before the first events of the log, as far as it is not whole.
    ///
    /// # Errors
    /// When the database refuses, or the log cannot be read.
    pub async fn begin(&mut self, reader: &Reader) -> Result<(), BesideError> {
        self.before.up_to = reader.floor(Class::Run).await?;
        if self.before.up_to > Position::ZERO {
            let known = sqlx::query!("select id, handlers from state.dead_letter where handlers > 0");
            let known = known.fetch_all(&self.live).await?;
            self.before.handlers = known.into_iter().map(|row| (row.id.into(), row.handlers)).collect();
        }
        let floor = reader.floor(Class::Data).await?;
        if floor == Position::ZERO {
            return Ok(());
        }
        let head = reader.head().await?;
        let mut told = None;
        loop {
            let mut page = reader.snapshots(floor, head, told.as_ref(), PAGE).await?;
            self.entries(&page, floor).await?;
            told = page.pop();
            if told.is_none() {
                return Ok(());
            }
        }
    }

    /// Writes what snapshots say; of several of an entry the last one counts.
    async fn entries(&mut self, page: &[Recorded], floor: Position) -> Result<(), BesideError> {
        let mut last: HashMap<(Uuid, &str, &str), &kv::Snapshot> = HashMap::new();
        for NewEvent { app, event, .. } in page.iter().map(|recorded| &*recorded.event) {
            if let (Some(app), Event::KvSnapshot(snapshot)) = (app, event) {
                last.insert((app.uuid(), &snapshot.collection, &snapshot.key), snapshot);
            }
        }
        let (apps, collections, keys) = columns(last.keys().copied());
        let positions = positions(&self.live, &apps, &collections, &keys, floor).await?;
        let values: Vec<Option<&str>> =
            last.values().map(|said| said.value.as_ref().map(|value| value.get())).collect();
        let expires: Vec<Option<DateTime<Utc>>> =
            last.values().map(|said| said.expires_at.map(|expires_at| expires_at.trunc_subsecs(6))).collect();
        sqlx::query(
            "with said as (
                select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[])
                    as s (app_id, collection, key, value, expires_at, position)
            ), gone as (
                delete from state.kv k using said s
                where s.value is null and (k.app_id, k.collection, k.key) = (s.app_id, s.collection, s.key)
            )
            insert into state.kv (app_id, collection, key, value, expires_at, position)
            select app_id, collection, key, value::json, expires_at, position from said where value is not null
            on conflict (app_id, collection, key) do update
            set value = excluded.value, expires_at = excluded.expires_at, position = excluded.position",
        )
        .bind(apps)
        .bind(collections)
        .bind(keys)
        .bind(values)
        .bind(expires)
        .bind(positions)
        .execute(&mut *self.folding)
        .await?;
        Ok(())
    }

    /// A letter that is so old has the handlers that it had.
    pub(super) async fn remember_handlers(&mut self, recorded: &Recorded) -> Result<(), sqlx::Error> {
        let Some((letter, handlers)) = self.before.handlers_of(recorded) else { return Ok(()) };
        sqlx::query("update state.dead_letter set handlers = $2 where id = $1")
            .bind(letter.uuid())
            .bind(handlers)
            .execute(&mut *self.folding)
            .await?;
        Ok(())
    }
}

fn columns<'a>(keys: impl Iterator<Item = (Uuid, &'a str, &'a str)>) -> (Vec<Uuid>, Vec<&'a str>, Vec<&'a str>) {
    let (mut apps, mut collections, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for (app, collection, key) in keys {
        apps.push(app);
        collections.push(collection);
        names.push(key);
    }
    (apps, collections, names)
}

/// Where entries were last changed, in the table that is compared. What was changed since says that itself.
async fn positions(
    live: &PgPool,
    apps: &[Uuid],
    collections: &[&str],
    keys: &[&str],
    floor: Position,
) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "select coalesce((
            select k.position from state.kv k
            where (k.app_id, k.collection, k.key) = (s.app_id, s.collection, s.key) and k.position <= $4
        ), 0)
        from unnest($1::uuid[], $2::text[], $3::text[]) with ordinality as s (app_id, collection, key, n)
        order by s.n",
    )
    .bind(apps)
    .bind(collections)
    .bind(keys)
    .bind(floor.0)
    .fetch_all(live)
    .await
}
