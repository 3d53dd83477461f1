//! What is wrong with a log.

use std::fmt;

use serde::Serialize;

use crate::{
    event::Class,
    log::Position,
    seal::{Hash, PublicKey},
};

/// Something that is not as it was sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Where: the first position that it can be at.
    pub position: Position,
    /// What.
    #[serde(flatten)]
    pub wrong: Wrong,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "wrong", rename_all = "snake_case")]
pub enum Wrong {
    /// The event is not the one that was sealed.
    Changed,
    /// There was an event that is gone.
    Missing,
    /// There is an event that was not there when the log was sealed.
    Added,
    /// Events of a class are not those that were sealed, and the marks that would tell which were changed, too.
    Somewhere {
        /// Of which class.
        class: Class,
        /// Up to where it can be.
        up_to: Position,
    },
    /// A part of the log is gone, and no event says that it was kept for long enough.
    Dropped {
        /// The events of which class.
        class: Class,
        /// Up to where they are gone.
        up_to: Position,
    },
    /// A seal is not what was signed.
    Seal {
        /// Which; none, when not even that can be read.
        number: Option<u64>,
    },
    /// The seal does not follow the one before it: one was taken out, or put in.
    Link {
        /// The number that should be here.
        expected: u64,
        /// The number that is.
        found: u64,
    },
    /// A seal is signed, but not with a key that is trusted.
    Key {
        /// With which.
        key: PublicKey,
    },
    /// An anchor has another hash for a seal: the log was written anew.
    Anchor {
        /// Which seal.
        number: u64,
        /// What the anchor says.
        kept: Hash,
    },
    /// An anchor is of a seal that is not there any more: the log was cut.
    Cut {
        /// Which seal.
        number: u64,
    },
    /// An anchor is not signed by the key it names.
    BadAnchor {
        /// Of which seal it says it is.
        number: u64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, wrong } = self;
        match wrong {
            Wrong::Changed => write!(f, "the event at position {position} is not the one that was sealed"),
            Wrong::Missing => write!(f, "the event at position {position} is gone"),
            Wrong::Added => write!(f, "the event at position {position} was not there when the log was sealed"),
            Wrong::Somewhere { class, up_to } => write!(
                f,
                "an event of class {class} from position {position} to {up_to} is not the one that was sealed; \
                 what would tell which was changed, too"
            ),
            Wrong::Dropped { class, up_to } => write!(
                f,
                "the events of class {class} from position {position} to {up_to} are gone, \
                 and nothing says that they were kept for long enough"
            ),
            Wrong::Seal { number: Some(number) } => {
                write!(f, "seal {number} at position {position} is not what was signed")
            }
            Wrong::Seal { number: None } => write!(f, "the seal at position {position} cannot be read"),
            Wrong::Link { expected, found } => write!(
                f,
                "seal {found} at position {position} does not follow the one before it: expected seal {expected}, \
                 so one was taken out or put in"
            ),
            Wrong::Key { key } => {
                write!(f, "the seal at position {position} is signed with the key {key}, which is not trusted")
            }
            Wrong::Anchor { number, kept } => write!(
                f,
                "seal {number} at position {position} is not the one of the anchor, {kept}: the log was written anew"
            ),
            Wrong::Cut { number } => {
                write!(f, "seal {number} of the anchor is gone: the log was cut after position {position}")
            }
            Wrong::BadAnchor { number } => write!(f, "the anchor of seal {number} is not signed by the key it names"),
        }
    }
}
