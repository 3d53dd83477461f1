//! What is kept of a run's input and answer, so that it can be looked at and run again.
//!
//! A recording is JSON under the app's data key, bound to its run and to what it is a recording of. Credentials are cut
//! out before: what is in the log is there for ever, encrypted or not.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono::{DateTime, Utc};
use picloud_core::{
    id::InvocationId,
    keys::{DataKey, Purpose, Sealed},
    run::{Answer, Record, Request},
};
use serde::Serialize;

use crate::effects::{Effects, Source};

/// The most that is kept of a body; of a longer one nothing is, for a part would not be what came.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The most that is kept of what a run read; of more nothing is, for a part would be as good as nothing.
const MAX_JOURNAL_BYTES: usize = 256 * 1024;

/// Headers that may hold credentials.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// What a run was given.
#[derive(Serialize)]
struct Input<'a> {
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
    /// The run's clock.
    now: DateTime<Utc>,
    /// Hexadecimal.
    seed: String,
}

/// What a run answered.
#[derive(Serialize)]
struct Output<'a> {
    status: u16,
    headers: Headers<'a>,
    #[serde(flatten)]
    body: Body<'a>,
}

/// A body, or why it is not there.
#[derive(Serialize)]
#[serde(untagged)]
enum Body<'a> {
    Text {
        body: &'a str,
    },
    Bytes {
        body_base64: String,
    },
    /// It had this many bytes.
    Left {
        body_omitted_bytes: usize,
    },
}

struct Headers<'a>(&'a [(String, String)]);

impl Serialize for Headers<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().filter(|(name, _)| !SECRET_HEADERS.contains(&name.as_str())))
    }
}

impl<'a> Body<'a> {
    fn of(bytes: &'a [u8], record: Record) -> Self {
        if (record == Record::Headers && !bytes.is_empty()) || bytes.len() > MAX_BODY_BYTES {
            return Self::Left { body_omitted_bytes: bytes.len() };
        }
        match std::str::from_utf8(bytes) {
            Ok(body) => Self::Text { body },
            Err(_) => Self::Bytes { body_base64: BASE64_STANDARD.encode(bytes) },
        }
    }
}

/// Records for one run.
pub(super) struct Recorder<'a> {
    pub key: &'a DataKey,
    pub record: Record,
    pub invocation: InvocationId,
}

impl Recorder<'_> {
    /// What came in, and the clock and seed that make the run the same again.
    pub fn request(&self, request: &Request, now: DateTime<Utc>, seed: &[u8; 32]) -> Option<Sealed> {
        self.seal("request", || Input {
            method: &request.method,
            path: &request.path,
            host: &request.host,
            headers: Headers(&request.headers),
            query: &request.query,
            params: &request.params,
            rest: request.rest.as_deref(),
            body: Body::of(&request.body, self.record),
            now,
            seed: hex::encode(seed),
        })
    }

    /// What went out.
    pub fn response(&self, answer: &Answer) -> Option<Sealed> {
        self.seal("response", || Output {
            status: answer.status,
            headers: Headers(&answer.headers),
            body: Body::of(&answer.body, self.record),
        })
    }

    /// What the run read.
    pub fn journal(&self, effects: &Effects<impl Source>) -> Option<Sealed> {
        if effects.asked() == 0 || effects.journal_bytes() > MAX_JOURNAL_BYTES {
            return None;
        }
        self.seal("journal", || effects.journal())
    }

    fn seal<T: Serialize>(&self, part: &str, plain: impl FnOnce() -> T) -> Option<Sealed> {
        if self.record == Record::None {
            return None;
        }
        let plain = serde_json::to_vec(&plain()).expect("recordings are plain data");
        Some(self.key.seal(Purpose::Recording, format!("{}/{part}", self.invocation).as_bytes(), &plain))
    }
}
