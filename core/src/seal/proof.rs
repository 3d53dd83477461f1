//! That one event is in a seal, for whoever has nothing else of the log.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    BadSignature, Hash, Leaf, Seal,
    tree::{self, Step},
};
use crate::{event::Class, log::Position};

/// An event with the way from it to the root that a seal holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Proof {
    /// All that is stored of the event.
    pub event: ProvedEvent,
    /// The way from its leaf to the root of its class.
    pub path: Vec<Step>,
    /// The seal.
    pub seal: Seal,
}

/// All that is stored of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProvedEvent {
    /// Its place.
    pub position: Position,
    /// Its name, without what ids begin with.
    #[schema(value_type = String)]
    pub id: Uuid,
    /// When it was committed.
    pub at: DateTime<Utc>,
    /// Whose it is.
    #[schema(value_type = Option<String>)]
    pub app: Option<Uuid>,
    /// From what it follows.
    #[schema(value_type = Option<String>)]
    pub cause: Option<Uuid>,
    /// With which run that began.
    #[schema(value_type = Option<String>)]
    pub root: Option<Uuid>,
    /// How many triggers ago.
    pub depth: i16,
    /// What kind it is.
    pub kind: String,
    /// How long it is kept.
    pub class: Class,
    /// What it happened to.
    pub subject: String,
    /// Who made it happen, the exact JSON.
    pub actor: String,
    /// What it says, the exact JSON.
    pub data: String,
}

impl ProvedEvent {
    /// Its leaf.
    #[must_use]
    pub fn leaf(&self) -> Leaf<'_> {
        Leaf {
            position: self.position,
            id: self.id,
            at_us: self.at.timestamp_micros(),
            app: self.app,
            cause: self.cause,
            root: self.root,
            depth: self.depth,
            kind: self.kind.as_bytes(),
            class: self.class.as_str().as_bytes(),
            subject: self.subject.as_bytes(),
            actor: self.actor.as_bytes(),
            data: self.data.as_bytes(),
        }
    }
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProof {
    /// The way does not lead from the event to the root.
    #[error("the event is not one of those that the seal is of")]
    NotIncluded {
        /// Where it leads.
        root: Hash,
    },
    /// The seal is not signed.
    #[error(transparent)]
    Signature(#[from] BadSignature),
}

impl Proof {
    /// Checks that the event is in the seal, and that the seal's key has signed it. Whose key that is, and whether the seal is one
    /// of the log's, are other questions.
    ///
    /// # Errors
    /// [`InvalidProof`].
    pub fn check(&self) -> Result<(), InvalidProof> {
        self.seal.check_signature()?;
        let root = tree::follow(self.event.leaf().hash(), &self.path);
        match self.seal.class(self.event.class) {
            Some(sealed) if sealed.root == root => Ok(()),
            _ => Err(InvalidProof::NotIncluded { root }),
        }
    }
}
