//! Alerts: what is worth waking somebody for, who is told, and when again. Pure; `workers/src/alerts` looks and tells.
//!
//! A [`Matter`] is what is wrong. A channel that wants to hear of it gets an alert of its own, so that each has its own
//! cool-down and its own attempts at telling it: [`decide()`] says when.

mod decide;
mod disk;
mod matter;

use std::fmt;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use decide::{Last, Verdict, decide};
pub use disk::Space;
pub use matter::Matter;

use crate::{
    id::SecretId,
    retry::{Backoff, RetryPolicy},
};

/// How long a channel hears nothing again of the same matter, when nothing is said, in seconds.
pub const USUAL_COOLDOWN_S: u32 = 60 * 60;

/// The shortest cool-down, in seconds: what goes up and down all the time must not become a flood.
pub const MIN_COOLDOWN_S: u32 = 60;

/// The longest, in seconds.
pub const MAX_COOLDOWN_S: u32 = 30 * 24 * 60 * 60;

/// The most channels that an instance has.
pub const MAX_CHANNELS: usize = 20;

/// How patiently a channel is told: for about an hour, so that a receiver may be moved to another machine.
pub const RETRY: RetryPolicy =
    RetryPolicy { max_attempts: 12, backoff: Backoff::Exponential, base_ms: 5_000, max_ms: 1_800_000 };

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $word:literal;)+ }) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        $(#[$meta])*
        pub enum $name {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl $name {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As it stands in the log and in the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Reads what [`Self::as_str`] wrote; none when it is no such word.
            #[must_use]
            pub fn read(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What kind of thing is wrong.
    #[schema(as = AlertCondition)]
    Condition {
        /// Work was given up, and no handler took care of it.
        DeadLetter = "dead_letter";
        /// A view stands still: lists do not show what happens.
        ViewParked = "view_parked";
        /// A node looks at the log every few seconds, because it is not notified.
        ListeningDegraded = "listening_degraded";
        /// The disk under a node's data directory is nearly full.
        Disk = "disk";
        /// A backup was begun and not finished.
        BackupFailed = "backup_failed";
    }
}

words! {
    /// How a channel is told.
    #[schema(as = AlertChannelKind)]
    ChannelKind {
        /// A POST to a URL.
        Webhook = "webhook";
        /// Mail, through the SMTP server that the service was started with.
        Email = "email";
    }
}

words! {
    /// What there is to tell of an alert.
    #[schema(as = AlertNotice)]
    Notice {
        /// That something is wrong.
        Raised = "raised";
        /// That it is over.
        Recovered = "recovered";
    }
}

impl Condition {
    /// Whether it lasts until it is over, and its end is told. Others happen, again and again.
    #[must_use]
    pub const fn lasts(self) -> bool {
        match self {
            Self::ViewParked | Self::ListeningDegraded | Self::Disk => true,
            Self::DeadLetter | Self::BackupFailed => false,
        }
    }
}

/// Why mail cannot be sent, when nobody said where it goes.
pub const NO_MAIL: &str = "this node cannot send mail: start `picloud serve` with --smtp-url and --mail-from \
    (PICLOUD_SMTP_URL, PICLOUD_MAIL_FROM)";

/// What a receiver made of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// The status, when it answered at all: of HTTP, or of SMTP.
    pub status: Option<u16>,
    /// Why it does not count as told; none when it does. The address is not in it.
    pub error: Option<String>,
    /// Whether it said that it will not take this message however often it is tried.
    pub is_final: bool,
    /// It counts as told, but not all addresses took it: which did not, and why. They are not in it whole.
    pub refused: Option<String>,
    /// The beginning of what it said.
    pub said: String,
}

/// Why nothing could be sent.
#[derive(Debug, thiserror::Error)]
#[error("the address of the channel cannot be read: set the channel again")]
pub struct NoAddress;

/// The seam between whoever asks for a message to a channel and whoever sends it.
pub trait Courier: Send + Sync + 'static {
    /// Sends a message that says that it is a test, once. `secret` names the channel's address.
    fn test(&self, channel: String, secret: SecretId) -> BoxFuture<'static, Result<Answered, NoAddress>>;

    /// Why this node can tell no channel of a kind, and what to do about it; none when it can.
    fn hindrance(&self, kind: ChannelKind) -> Option<&'static str>;
}
