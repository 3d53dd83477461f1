//! A seal: what is said of a stretch of the log, and signed.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::{Hash, PublicKey, SealKey};
use crate::{event::Class, id::HistoryId, log::Position};

/// The events of one class in a stretch of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClassRoot {
    /// Which class.
    pub class: Class,
    /// How many there are.
    pub count: u64,
    /// The root of the tree of their leaves.
    #[schema(value_type = String)]
    pub root: Hash,
}

/// That a stretch of the log is as it is. It vouches for the stretches before it, too, by the hash of the seal before.
///
/// Stored for ever as the data of `seal.sealed`: fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Seal {
    /// Of which life of the log.
    pub history: HistoryId,
    /// Counted from 1.
    pub number: u64,
    /// The stretch begins after this place
    pub after: Position,
    /// and ends with this one.
    pub up_to: Position,
    /// The hash of the seal before; of the first, 32 zeros.
    #[schema(value_type = String)]
    pub previous: Hash,
    /// What lies there, a class each; those of which nothing does are left out.
    pub classes: Vec<ClassRoot>,
    /// Who signs it.
    #[schema(value_type = String)]
    pub key: PublicKey,
    /// Ed25519 over [`Seal::statement`], URL-safe Base64.
    pub signature: String,
}

/// A signature that is not of what it is said to be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not that of its key over what it says")]
pub struct BadSignature;

impl Seal {
    /// Signs what it says.
    #[must_use]
    pub fn sign(mut self, key: &SealKey) -> Self {
        self.key = key.public();
        self.signature = key.sign(&self.statement());
        self
    }

    /// What is signed, a line each: whoever has it can check it without PiCloud.
    #[must_use]
    pub fn statement(&self) -> String {
        let mut text = format!(
            "picloud seal v1\nhistory {}\nnumber {}\nafter {}\nup to {}\nprevious {}\n",
            self.history, self.number, self.after, self.up_to, self.previous
        );
        for ClassRoot { class, count, root } in &self.classes {
            let _ = writeln!(text, "{class} {count} {root}");
        }
        text
    }

    /// What the next seal and anchors know it by: the SHA-256 of what it says.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash(Sha256::digest(self.statement()).into())
    }

    /// Checks that its key has signed it. Whose key that is, is another question.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn check_signature(&self) -> Result<(), BadSignature> {
        if self.key.has_signed(&self.statement(), &self.signature) { Ok(()) } else { Err(BadSignature) }
    }

    /// Of the events of a class.
    #[must_use]
    pub fn class(&self, class: Class) -> Option<&ClassRoot> {
        self.classes.iter().find(|root| root.class == class)
    }
}
