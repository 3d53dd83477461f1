//! Stored data in memory, as the database would answer for it; tests change it while a run reads.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use chrono::{DateTime, TimeDelta, Utc};
use picloud_core::{
    event::{Actor, ActorKind, Event, outbox::Payload},
    id::{AppId, DataKeyId, DeadLetterId, OutboxId, ScriptId, VersionId},
    keys::{Grant, Sealed},
    limits::Limits,
    log::{Position, Read},
    outbox::Plain,
    run::{Program, Request, Rights},
};
use picloud_projections::dead_letters::{Filter, Letter};
use picloud_workers::{
    effects::{Effects, Invocable, Letters, Outcome, Outside, Setup, Source, SourceError, Stored},
    http::{self, Answer},
};
use serde_json::value::RawValue;

/// The run's clock in all tests.
pub fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).expect("in range")
}

pub fn in_seconds(seconds: i64) -> DateTime<Utc> {
    now() + TimeDelta::seconds(seconds)
}

pub fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).expect("json")
}

/// Rows, the history of their changes, and how often somebody asked.
#[derive(Clone, Default)]
pub struct Store(Arc<Mutex<Inner>>);

#[derive(Clone, Default)]
pub struct Inner {
    pub rows: BTreeMap<(String, String), Stored>,
    pub changes: Vec<(Position, String, String)>,
    pub head: Position,
    pub gets: usize,
    pub lists: usize,
    pub checks: usize,
    /// The numbers of the calls that were made, how long an answer was to be at most, and how they end from now on.
    pub calls: Vec<(usize, usize)>,
    pub letters: BTreeMap<DeadLetterId, Letter>,
    pub ends: Option<Result<Option<Outcome>, SourceError>>,
}

impl Store {
    /// A collection `c` with these keys and values.
    pub fn with(rows: &[(&str, &str)]) -> Self {
        let store = Self::default();
        for (key, value) in rows {
            store.lock().set("c", key, json(value), None);
        }
        store
    }

    /// The same data, changed apart from here on.
    pub fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.lock().clone())))
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no test panics while it changes data")
    }

    pub fn set(&self, key: &str, value: &str) {
        self.lock().set("c", key, json(value), None);
    }

    pub fn delete(&self, key: &str) {
        self.lock().delete("c", key);
    }

    /// A run over this data with the default limits.
    pub fn run(&self) -> Effects<Self> {
        self.run_within(&Limits::DEFAULT)
    }

    pub fn run_within(&self, limits: &Limits) -> Effects<Self> {
        Effects::new(self.clone(), AppId::generate(), limits, now())
    }
}

impl Inner {
    pub fn set(&mut self, collection: &str, key: &str, value: Box<RawValue>, expires_at: Option<DateTime<Utc>>) {
        let version = self.change(collection, key);
        self.rows.insert((collection.into(), key.into()), Stored { value: Some(value), version, expires_at });
    }

    pub fn delete(&mut self, collection: &str, key: &str) {
        self.change(collection, key);
        self.rows.remove(&(collection.into(), key.into()));
    }

    fn change(&mut self, collection: &str, key: &str) -> Position {
        self.head = self.head.plus(1);
        self.changes.push((self.head, collection.into(), key.into()));
        self.head
    }

    /// What the commit does with an event of a run; false, when it refuses it.
    pub fn apply(&mut self, event: &Event) -> bool {
        match event {
            Event::KvSet(set) => self.set(&set.collection, &set.key, set.value.clone(), set.expires_at),
            Event::KvDeleted(gone) => self.delete(&gone.collection, &gone.key),
            Event::KvIncreased(more) => {
                let row = self.rows.get(&(more.collection.clone(), more.key.clone()));
                let live = row.filter(|row| row.expires_at.is_none_or(|at| at > now()));
                let sum = match live.and_then(|row| row.value.as_deref()) {
                    None => Some(more.by),
                    Some(value) => value.get().parse().ok().and_then(|value: i64| value.checked_add(more.by)),
                };
                let expires_at = live.and_then(|row| row.expires_at);
                let Some(sum) = sum else { return false };
                self.set(&more.collection, &more.key, json(&sum.to_string()), expires_at);
            }
            other => panic!("no effect: {}", other.kind()),
        }
        true
    }

    pub fn holds(&self, read: &Read) -> bool {
        match read {
            Read::Kv { collection, key, version, .. } => {
                let row = self.rows.get(&(collection.clone(), key.clone()));
                row.map_or(Position::ZERO, |row| row.version) == *version
            }
            Read::KvRange { collection, prefix, after, up_to, as_of, .. } => {
                !self.changes.iter().any(|(at, changed, key)| {
                    at > as_of
                        && changed == collection
                        && key.starts_with(prefix)
                        && after.as_ref().is_none_or(|after| key > after)
                        && up_to.as_ref().is_none_or(|up_to| key <= up_to)
                })
            }
            Read::DeadLetter { dead_letter, version } => {
                self.letters.get(dead_letter).is_some_and(|letter| letter.position == *version)
            }
            Read::Alert { .. }
            | Read::Config { .. }
            | Read::Cron { .. }
            | Read::Owed { .. }
            | Read::Lane { .. }
            | Read::LastSeal { .. } => {
                panic!("no run reads this")
            }
        }
    }
}

impl Source for Store {
    fn subscriber_token(&mut self, grant: &Grant) -> Result<String, SourceError> {
        Ok(format!("token for {} topics", grant.topics.len()))
    }

    fn get(&mut self, collection: &str, key: &str) -> Result<(Stored, Position), SourceError> {
        let mut inner = self.lock();
        inner.gets += 1;
        let row = inner.rows.get(&(collection.into(), key.into())).cloned();
        Ok((row.unwrap_or_default(), inner.head))
    }

    fn list(
        &mut self,
        collection: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<(String, Stored)>, Position), SourceError> {
        let mut inner = self.lock();
        inner.lists += 1;
        let rows = inner
            .rows
            .iter()
            .filter(|((of, key), _)| {
                of == collection && key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after)
            })
            .take(limit)
            .map(|((_, key), row)| (key.clone(), row.clone()))
            .collect();
        Ok((rows, inner.head))
    }

    fn check(&mut self, reads: &[Read]) -> Result<Position, SourceError> {
        let mut inner = self.lock();
        inner.checks += 1;
        if reads.iter().all(|read| inner.holds(read)) { Ok(inner.head) } else { Err(SourceError::Conflict) }
    }
}

fn program(name: &str) -> Arc<Program> {
    Arc::new(Program {
        app: AppId::generate(),
        app_slug: "shop".into(),
        script: ScriptId::generate(),
        name: name.into(),
        version: VersionId::generate(),
        number: 1,
        source: "1".into(),
        limits: Limits::DEFAULT,
        env: Arc::default(),
    })
}

impl Setup for Store {
    fn has_consumer(&self, queue: &str) -> bool {
        queue != "nobodys"
    }

    fn script(&self, name: &str) -> Result<Invocable, String> {
        let (program, is_paused) = match name {
            "work" => (program(name), false),
            "resting" => (program(name), true),
            _ => return Err(format!("there is no script `{name}`")),
        };
        Ok(Invocable { program, rights: Rights::Public, is_paused })
    }

    fn script_id(&self, name: &str) -> Result<ScriptId, String> {
        Err(format!("there is no script `{name}`"))
    }

    fn seal(&self, _: OutboxId, request: Request) -> Payload {
        let key_id = DataKeyId::generate();
        let ciphertext = String::from_utf8(request.body.to_vec()).expect("arguments are JSON");
        Payload::Request(Sealed { key_id, nonce: String::new(), ciphertext })
    }
}

impl Letters for Store {
    fn letter(&mut self, id: DeadLetterId) -> Result<(Option<Letter>, Position), SourceError> {
        let inner = self.lock();
        Ok((inner.letters.get(&id).cloned(), inner.head))
    }

    fn letters(
        &mut self,
        filter: &Filter,
        before: Option<DeadLetterId>,
        limit: usize,
    ) -> Result<(Vec<Letter>, Position), SourceError> {
        let inner = self.lock();
        let fits = |(id, letter): &(&DeadLetterId, &Letter)| {
            let resolution = letter.resolved.as_ref().map(|resolved| &resolved.resolution);
            before.is_none_or(|before| **id < before)
                && (!filter.is_unresolved || letter.closed().is_none())
                && filter.resolution.as_ref().is_none_or(|wanted| resolution == Some(wanted))
        };
        let found = inner.letters.iter().rev().filter(fits).map(|(_, letter)| letter.clone()).take(limit).collect();
        Ok((found, inner.head))
    }

    fn held(&mut self, letter: &Letter) -> Result<Option<Plain>, SourceError> {
        let is_erased = letter.created.error == "erased";
        Ok((!is_erased).then(|| Plain::Event(json(r#"{"id":"evt"}"#))))
    }

    fn seal_again(&self, _: OutboxId, plain: Plain) -> Payload {
        match plain {
            Plain::Event(event) => Payload::Event(event),
            Plain::Request(kept) => Payload::Event(json(&serde_json::to_string(&kept).expect("plain data"))),
        }
    }

    fn actor(&self) -> Actor {
        Actor { kind: ActorKind::ApiKey, id: Some("key_run".to_owned()), request_id: None, address: None }
    }
}

impl Outside for Store {
    fn call(
        &mut self,
        number: usize,
        request: &Arc<http::Request>,
        room: usize,
    ) -> Result<Option<Outcome>, SourceError> {
        let mut inner = self.lock();
        inner.calls.push((number, room));
        let body = format!("{} {number}", request.url.path()).into();
        let headers = vec![("set-cookie".to_owned(), "a=b".to_owned()), ("x-own".to_owned(), "c".to_owned())];
        inner.ends.clone().unwrap_or(Ok(Some(Ok(Answer { status: 200, headers, body }))))
    }
}
