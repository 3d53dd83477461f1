//! What is kept of a run's input and answer, so that it can be looked at and run again.
//!
//! A recording is JSON under the app's data key, bound to its run and to what it is a recording of. Credentials are cut
//! out before: what is in the log is there for ever, encrypted or not.

use chrono::{DateTime, Utc};
use picloud_core::{
    id::InvocationId,
    keys::{DataKey, Purpose, Sealed},
    run::{Answer, Record, Request},
};
use serde::Serialize;

use crate::{
    effects::{Calls, Effects, Recalled, Source},
    recorded::{Body, Headers},
    redact,
};

/// The most that is kept of what a run read and was answered; of more nothing is, for a part would be as good as nothing.
const MAX_JOURNAL_BYTES: usize = 256 * 1024;

/// What a run was given. What happened, to one that a trigger made, is in the event that owed it.
#[derive(Serialize)]
struct Input<'a> {
    #[serde(flatten)]
    came: Option<Came<'a>>,
    /// The run's clock.
    now: DateTime<Utc>,
    /// Hexadecimal.
    seed: String,
}

/// A request.
#[derive(Serialize)]
struct Came<'a> {
    method: &'a str,
    path: &'a str,
    host: &'a str,
    headers: Headers<'a>,
    query: &'a [(String, String)],
    params: &'a [(String, String)],
    #[serde(skip_serializing_if = "Option::is_none")]
    rest: Option<&'a str>,
    #[serde(flatten)]
    body: Body<'a>,
}

/// What a run answered.
#[derive(Serialize)]
pub(super) struct Output<'a> {
    status: u16,
    headers: Headers<'a>,
    #[serde(flatten)]
    body: Body<'a>,
}

impl<'a> Output<'a> {
    pub fn of(answer: &'a Answer, record: Record) -> Self {
        let Answer { status, headers, body } = answer;
        Self { status: *status, headers: Headers(headers), body: Body::of(body, record) }
    }
}

/// Records for one run.
pub(super) struct Recorder<'a> {
    pub key: &'a DataKey,
    pub record: Record,
    pub invocation: InvocationId,
    /// Credentials that were made for the script: they are cut out.
    pub secrets: &'a [String],
}

impl Recorder<'_> {
    /// What came in, if anything did, and the clock and seed that make the run the same again.
    pub fn request(&self, request: Option<&Request>, now: DateTime<Utc>, seed: &[u8; 32]) -> Option<Sealed> {
        self.seal("request", || Input {
            came: request.map(|request| Came {
                method: &request.method,
                path: &request.path,
                host: &request.host,
                headers: Headers(&request.headers),
                query: &request.query,
                params: &request.params,
                rest: request.rest.as_deref(),
                body: Body::of(&request.body, self.record),
            }),
            now,
            seed: hex::encode(seed),
        })
    }

    /// What went out.
    pub fn response(&self, answer: &Answer) -> Option<Sealed> {
        self.seal("response", || Output::of(answer, self.record))
    }

    /// What the run read, and what its calls were answered: without the bodies of these where that is too much.
    pub fn journal(&self, effects: &Effects<impl Source>) -> Option<Sealed> {
        if !effects.has_learnt() {
            return None;
        }
        let fits = |record: &Record| effects.journal_bytes(*record) <= MAX_JOURNAL_BYTES;
        let record = [self.record, Record::Headers].into_iter().find(fits)?;
        self.seal("journal", || effects.journal(record))
    }

    /// What the calls of a run were answered of which nothing else is kept.
    pub fn calls(&self, calls: &Calls) -> Option<Sealed> {
        if calls.is_empty() {
            return None;
        }
        self.seal("journal", || calls.recalled(Record::Headers).into_iter().map(Recalled::Http).collect::<Vec<_>>())
    }

    fn seal<T: Serialize>(&self, part: &str, plain: impl FnOnce() -> T) -> Option<Sealed> {
        if self.record == Record::None {
            return None;
        }
        let plain = serde_json::to_string(&plain()).expect("recordings are plain data");
        let plain = redact::text(&plain, self.secrets);
        Some(self.key.seal(Purpose::Recording, format!("{}/{part}", self.invocation).as_bytes(), plain.as_bytes()))
    }
}
