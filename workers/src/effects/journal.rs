//! What a run read and was answered, in that order: enough to run it again without the data being there.

use std::collections::BTreeMap;

use picloud_core::id::{DeadLetterId, VersionId};
use serde::Serialize;
use serde_json::value::RawValue;

use super::RecalledCall;

/// One thing a run learnt from outside itself. Its own writes are not among them: running it again makes them again.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Recalled {
    /// A key's value when the run first read it; none when it was absent.
    Kv {
        /// The collection.
        collection: String,
        /// The key.
        key: String,
        /// As JSON.
        value: Option<Box<RawValue>>,
        /// It was there, and `null`: written down, that looks as if it was absent.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_null: bool,
    },
    /// Which keys of a range were there; their values are entries of their own, before this one.
    KvRange {
        /// The collection.
        collection: String,
        /// What the keys begin with.
        prefix: String,
        /// Only keys after this one.
        after: Option<String>,
        /// Only keys up to and including this one; none is to the end.
        up_to: Option<String>,
        /// The keys.
        keys: Vec<String>,
    },
    /// A dead letter as the run first saw it; none when there was none. What its run gets is not among it.
    DeadLetter {
        /// Which.
        id: DeadLetterId,
        /// As scripts see it.
        letter: Option<Box<RawValue>>,
    },
    /// Which dead letters matched; what they say are entries of their own, before this one.
    DeadLetters {
        /// What was asked for.
        filter: BTreeMap<&'static str, String>,
        /// Only those that come after this one.
        after: Option<DeadLetterId>,
        /// Newest first.
        ids: Vec<DeadLetterId>,
    },
    /// A script that was run as a part of the run.
    Invoked {
        /// By what name.
        name: String,
        /// Which version that was.
        version: VersionId,
    },
    /// A call outside, and what became of it.
    Http(RecalledCall),
}
