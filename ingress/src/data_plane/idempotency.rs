//! `Idempotency-Key`: the same request again gets the first one's outcome.
//!
//! Here a request gets its name (the scope) and its likeness (the fingerprint), and whoever keeps the outcomes is asked.
//! The outcome itself is written by the commit that completes the run: a crash before it frees the key, after it nothing
//! runs again.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Uri, header};
use picloud_core::{
    id::{AppId, InvocationId},
    log::IdempotencyClaim,
    policy::Principal,
    run::Answer,
};
use sha2::{Digest, Sha256};

use super::{cookies, outcome::Reply};
use crate::problem::{Kind, Problem};

const MAX_KEY_LEN: usize = 255;
const FIELD: &str = "idempotency-key";

/// Who keeps the outcomes, for 24 hours.
pub trait Outcomes: Send + Sync + 'static {
    /// Claims a scope for a request of this fingerprint, or says why that cannot be.
    ///
    /// A claim whose holder died is given to the next who asks.
    fn begin(&self, app: AppId, scope: [u8; 32], fingerprint: [u8; 32]) -> BoxFuture<'static, Result<Begin, Problem>>;

    /// Frees the key: the run failed, or answered 5xx, and may be tried again. For such no outcome is ever written.
    fn release(&self, claim: IdempotencyClaim) -> BoxFuture<'static, ()>;
}

/// What became of the first request under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// There was none: this is it.
    Fresh(IdempotencyClaim),
    /// It is done.
    Done(StoredOutcome),
    /// It still runs.
    InFlight,
    /// It was another request.
    Mismatch,
}

/// What the first request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOutcome {
    /// Its run.
    pub invocation: Option<InvocationId>,
    /// The status.
    pub status: u16,
    /// The script's headers.
    pub headers: Vec<(String, String)>,
    /// The body; none when it was over 1 MiB and not kept.
    pub body: Option<Bytes>,
}

/// The key of a request, if it has one and its method can need one.
pub(super) fn key<'h>(method: &Method, headers: &'h HeaderMap) -> Result<Option<&'h [u8]>, Problem> {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(None);
    }
    let mut given = headers.get_all(FIELD).iter();
    let Some(key) = given.next() else { return Ok(None) };
    let key = key.as_bytes();
    let refuse = |detail: &'static str| Err(Problem::new(Kind::InvalidInput, detail).field(FIELD));
    if given.next().is_some() {
        refuse("there is more than one Idempotency-Key; send one")
    } else if key.is_empty() || key.len() > MAX_KEY_LEN {
        refuse("an Idempotency-Key has 1 to 255 characters")
    } else if !key.iter().all(u8::is_ascii_graphic) {
        refuse("an Idempotency-Key has visible ASCII characters only, and no blanks")
    } else {
        Ok(Some(key))
    }
}

/// What a key is good for: one app, one route or script, one caller.
pub(super) fn scope(app: AppId, target: &str, principal: &Principal, headers: &HeaderMap, key: &[u8]) -> [u8; 32] {
    let mut hash = Fields::new(b"picloud idempotency scope");
    hash.add(app.uuid().as_bytes());
    hash.add(target.as_bytes());
    match principal {
        Principal::Account { account, .. } => hash.add(account.to_string().as_bytes()),
        Principal::ApiKey { key, .. } => hash.add(key.to_string().as_bytes()),
        // Who a public caller is only the script knows, from these two: nobody gets an answer made for another.
        Principal::Public => {
            for value in headers.get_all(header::AUTHORIZATION) {
                hash.add(value.as_bytes());
            }
            for value in headers.get_all(header::COOKIE) {
                let cookies = String::from_utf8_lossy(value.as_bytes());
                hash.add(cookies::without_session(&cookies).unwrap_or_default().as_bytes());
            }
        }
    }
    hash.add(b"key");
    hash.add(key);
    hash.end()
}

/// What makes two requests the same.
pub(super) fn fingerprint(method: &Method, uri: &Uri, body: &[u8]) -> [u8; 32] {
    let mut hash = Fields::new(b"picloud idempotency fingerprint");
    hash.add(method.as_str().as_bytes());
    hash.add(uri.path().as_bytes());
    hash.add(uri.query().unwrap_or("").as_bytes());
    hash.add(&Sha256::digest(body));
    hash.end()
}

/// A hash of fields that cannot run into each other.
struct Fields(Sha256);

impl Fields {
    fn new(purpose: &[u8]) -> Self {
        let mut fields = Self(Sha256::new());
        fields.add(purpose);
        fields
    }

    fn add(&mut self, field: &[u8]) {
        self.0.update((field.len() as u64).to_le_bytes());
        self.0.update(field);
    }

    fn end(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The first outcome once more.
pub(super) fn repeat(first: StoredOutcome) -> Result<Reply, Problem> {
    let StoredOutcome { invocation, status, headers, body } = first;
    match body {
        Some(body) => Ok(Reply { invocation, answer: Answer { status, headers, body }, is_repeated: true }),
        None => {
            let detail =
                format!("this request was done and answered {status}; the answer was over 1 MiB and is not kept");
            let problem = Problem::new(Kind::IdempotencyNotKept, detail);
            Err(if let Some(invocation) = invocation { problem.invocation(invocation) } else { problem })
        }
    }
}

/// The first request is not done.
pub(super) fn in_flight() -> Problem {
    let detail = "the first request under this Idempotency-Key is still running; ask again for its outcome";
    Problem::new(Kind::IdempotencyInFlight, detail).retry_after(1)
}

/// The first request was another.
pub(super) fn mismatch() -> Problem {
    let detail =
        "this Idempotency-Key was used for another request (method, path, query or body differ): use a new key";
    Problem::new(Kind::IdempotencyMismatch, detail).field(FIELD)
}
