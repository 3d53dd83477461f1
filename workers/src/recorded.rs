//! How messages look in recordings: bodies as text where they are text, credentials cut out.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use picloud_core::run::{CREDENTIALS, Record};
use serde::{Deserialize, Serialize, Serializer};

/// The most that is kept of a body; of a longer one nothing is, for a part would not be what came.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;

/// A body, or why it is not there.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Body<'a> {
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

impl<'a> Body<'a> {
    pub(crate) fn of(bytes: &'a [u8], record: Record) -> Self {
        if (record == Record::Headers && !bytes.is_empty()) || bytes.len() > MAX_BODY_BYTES {
            return Self::Left { body_omitted_bytes: bytes.len() };
        }
        match std::str::from_utf8(bytes) {
            Ok(body) => Self::Text { body },
            Err(_) => Self::Bytes { body_base64: BASE64_STANDARD.encode(bytes) },
        }
    }
}

/// A [`Body`] as it is read again.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Recalled {
    body: Option<String>,
    body_base64: Option<String>,
    body_omitted_bytes: Option<usize>,
}

impl Recalled {
    /// Its bytes, and how many they were if they were left out.
    pub(crate) fn bytes(self) -> (Bytes, Option<usize>) {
        let decoded = self.body_base64.and_then(|text| BASE64_STANDARD.decode(text).ok()).map(Bytes::from);
        (self.body.map(Bytes::from).or(decoded).unwrap_or_default(), self.body_omitted_bytes)
    }
}

/// Headers, but for those that may hold credentials: what is in the log is there for ever, encrypted or not.
pub(crate) struct Headers<'a>(pub &'a [(String, String)]);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().filter(|(name, _)| !CREDENTIALS.contains(&name.as_str())))
    }
}
