//! Recordings, read again: the other side of what [`Recorder`](super::super::recording::Recorder) writes.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use picloud_core::{
    id::{DeadLetterId, InvocationId, VersionId},
    keys::{DataKey, Purpose, Sealed},
    run::Request,
};
use picloud_projections::dead_letters::Resolved;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::recorded::Recalled as Body;

/// What a run was given.
#[derive(Debug, Deserialize)]
pub(super) struct Given {
    /// None for what an event set off: that lies in what owed it.
    #[serde(flatten)]
    pub came: Option<Came>,
    pub now: DateTime<Utc>,
    #[serde(with = "hex::serde")]
    pub seed: [u8; 32],
}

/// A request, as far as it was recorded.
#[derive(Debug, Deserialize)]
pub(super) struct Came {
    method: String,
    path: String,
    host: String,
    headers: Vec<(String, String)>,
    query: Vec<(String, String)>,
    params: Vec<(String, String)>,
    rest: Option<String>,
    #[serde(flatten)]
    body: Body,
}

impl Came {
    /// The request, and how long its body was if that was left out.
    pub fn request(self) -> (Request, Option<usize>) {
        let Self { method, path, host, headers, query, params, rest, body } = self;
        let (body, left_out) = body.bytes();
        (Request { method, path, host, headers, query, params, rest, body }, left_out)
    }
}

/// Something that a run learnt from outside itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Learnt {
    Kv(Key),
    KvRange(Range),
    DeadLetter { id: DeadLetterId, letter: Option<Letter> },
    DeadLetters { filter: BTreeMap<String, String>, after: Option<DeadLetterId>, ids: Vec<DeadLetterId> },
    Invoked { name: String, version: VersionId },
    Http(Call),
}

/// What a key had.
#[derive(Debug, Deserialize)]
pub(super) struct Key {
    pub collection: String,
    pub key: String,
    value: Option<Box<RawValue>>,
    /// Recordings of before that was told have none: what was `null` reads as absent in them.
    #[serde(default)]
    is_null: bool,
}

impl Key {
    /// Its value; none when it was absent.
    pub fn value(self) -> Option<Box<RawValue>> {
        self.value.or_else(|| self.is_null.then(|| RawValue::NULL.to_owned()))
    }
}

/// Which keys of a range were there.
#[derive(Debug, Deserialize)]
pub(super) struct Range {
    pub collection: String,
    pub prefix: String,
    pub after: Option<String>,
    pub up_to: Option<String>,
    pub keys: Vec<String>,
}

/// What may change about a letter; all else of it is as it was made.
#[derive(Debug, Deserialize)]
pub(super) struct Letter {
    pub resolution: Option<String>,
    pub resolved_at: Option<DateTime<Utc>>,
    pub resolved_why: Option<String>,
}

impl Letter {
    /// What was decided about it then, told what is now.
    pub fn resolved(self, now: Option<Resolved>) -> Option<Resolved> {
        let (resolution, at) = (self.resolution?, self.resolved_at?);
        match now {
            Some(now) if now.resolution == resolution && now.at == at => Some(now),
            // Something else was decided since: by whom this was is not known any more.
            _ => Some(Resolved { resolution, at, by: None, why: self.resolved_why, replay: None, job: None }),
        }
    }
}

/// A call outside and what came of it.
#[derive(Debug, Deserialize)]
pub(super) struct Call {
    pub method: String,
    pub url: String,
    #[serde(with = "hex::serde")]
    pub request_sha256: [u8; 32],
    /// Why there was no answer.
    pub error: Option<String>,
    #[serde(default)]
    pub status: u16,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    #[serde(flatten)]
    pub body: Body,
}

/// Opens the recordings of one run.
pub(super) struct Recordings<'a> {
    pub key: &'a DataKey,
    pub invocation: InvocationId,
}

impl Recordings<'_> {
    /// A part of it; none, when its key is gone.
    pub fn open<T: DeserializeOwned>(&self, part: &str, sealed: &Sealed) -> Option<T> {
        let bound_to = format!("{}/{part}", self.invocation);
        let plain = self.key.open(Purpose::Recording, bound_to.as_bytes(), sealed).ok()?;
        serde_json::from_slice(&plain).ok()
    }
}
