//! What becomes of due times that were missed, and of those that come while an earlier run goes on.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What becomes of due times at which nothing could be fired: the service was down, the app paused.
/// Of times that came while a trigger was disabled none was missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MissedPolicy {
    /// They are passed over.
    #[default]
    Skip,
    /// The latest of them is fired, the others are passed over.
    Once,
    /// Each is fired.
    All,
}

/// What becomes of a due time at which the run of an earlier one has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverlapPolicy {
    /// It is passed over.
    #[default]
    Skip,
    /// Its run waits for the earlier one's end.
    Queue,
    /// Both run.
    Allow,
}

/// A name that is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a policy for {what}: it is one of {known}")]
pub struct UnknownPolicy {
    /// What was given.
    pub given: String,
    /// What the policy is for.
    pub what: &'static str,
    /// What there is.
    pub known: &'static str,
}

macro_rules! names {
    ($type:ty, $what:literal, $all:literal, $($variant:ident = $name:literal),*) => {
        impl $type {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As it stands in events, forms and the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownPolicy;

            fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
                let known = Self::ALL.iter().copied().find(|policy| policy.as_str() == name);
                known.ok_or_else(|| UnknownPolicy { given: name.to_owned(), what: $what, known: $all })
            }
        }
    };
}

names!(MissedPolicy, "missed runs", "`skip`, `once`, `all`", Skip = "skip", Once = "once", All = "all");
names!(OverlapPolicy, "overlapping runs", "`skip`, `queue`, `allow`", Skip = "skip", Queue = "queue", Allow = "allow");
