//! An event's hash: of every column it is stored in, exactly as it is stored.

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::Hash;
use crate::log::{Position, Recorded};

/// All that is stored of an event.
///
/// Its hash is that of the byte 0 (which no inner node of the tree begins with, RFC 9162, 2.1.1) and the columns in the order
/// below: numbers big-endian, ids as their 16 bytes, what may be missing behind a byte that says whether it is there, texts
/// behind their length in four bytes; of the data its own SHA-256, so that the proof of an event outlives what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf<'a> {
    /// Its place.
    pub position: Position,
    /// Its name.
    pub id: Uuid,
    /// When it was committed, in microseconds since 1970.
    pub at_us: i64,
    /// Whose it is.
    pub app: Option<Uuid>,
    /// From what it follows,
    pub cause: Option<Uuid>,
    /// with which run that began,
    pub root: Option<Uuid>,
    /// and how many triggers ago.
    pub depth: i16,
    /// What kind it is,
    pub kind: &'a [u8],
    /// how long it is kept,
    pub class: &'a [u8],
    /// what it happened to,
    pub subject: &'a [u8],
    /// who made it happen, as the exact JSON,
    pub actor: &'a [u8],
    /// and what it says, as the exact JSON.
    pub data: &'a [u8],
}

impl<'a> Leaf<'a> {
    /// Of an event as it came from the log.
    #[must_use]
    pub fn of(recorded: &'a Recorded) -> Self {
        let event = &*recorded.event;
        Self {
            position: recorded.position,
            id: event.id.uuid(),
            at_us: micros(recorded.at),
            app: event.app.map(Uuid::from),
            kind: event.event.kind().as_bytes(),
            class: event.event.class().as_str().as_bytes(),
            subject: event.subject.as_bytes(),
            actor: event.actor_json.as_bytes(),
            cause: event.cause.map(Uuid::from),
            root: event.root.map(Uuid::from),
            depth: event.depth as i16,
            data: event.data.as_bytes(),
        }
    }

    /// Its hash.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        // The fixed columns at once: many small pieces would cost as much as the hash.
        let mut fixed = Vec::with_capacity(100);
        fixed.push(0);
        fixed.extend(self.position.0.to_be_bytes());
        fixed.extend(self.id.as_bytes());
        fixed.extend(self.at_us.to_be_bytes());
        for id in [self.app, self.cause, self.root] {
            fixed.push(u8::from(id.is_some()));
            fixed.extend(id.iter().flat_map(Uuid::as_bytes));
        }
        fixed.extend(self.depth.to_be_bytes());
        hasher.update(&fixed);
        for text in [self.kind, self.class, self.subject, self.actor] {
            hasher.update((text.len() as u32).to_be_bytes());
            hasher.update(text);
        }
        hasher.update(Sha256::digest(self.data));
        Hash(hasher.finalize().into())
    }
}

fn micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

/// The beginning of a leaf's hash. A tree's root tells that something below it was changed; marks, kept beside the log, tell
/// which event it was. They prove nothing, and need not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(pub [u8; Self::BYTES]);

impl Mark {
    /// How long it is: one in four thousand million changes looks the same.
    pub const BYTES: usize = 4;
}

impl From<Hash> for Mark {
    fn from(hash: Hash) -> Self {
        let [a, b, c, d, ..] = hash.0;
        Self([a, b, c, d])
    }
}
