//! The log: append to it, read it, follow it.
//!
//! - [`Commit`] is what one run or one admin call wants written: events, what they were decided on, and by what right.
//! - [`Committer`] takes commits from everywhere on the node and appends them in batches, one round trip each.
//! - [`Recorded`] is an event as it lies in the log; [`read`] finds them, [`Tail`] tells of them as they come.
//! - [`Node`] is this process's right to write, which others can take away; [`alone()`] is one node's right to some work.
//!
//! Nobody but the committer writes the schemas `log` and `state`.

mod alone;
pub mod backup;
mod batch;
pub mod beside;
mod broadcast;
mod commit;
mod committer;
mod config;
pub mod correct;
mod fair;
mod fold;
mod handoff;
pub mod idempotency;
pub mod jobs;
pub mod lookup;
pub mod node;
pub mod outbox;
mod overtaken;
pub mod partitions;
mod position;
pub mod read;
mod recent;
mod recorded;
pub mod retention;
pub mod schema;
mod sealer;
mod settle;
mod tail;
mod triggers;
mod trouble;
pub mod verify;

pub use alone::{alone, no_longer_alone};
pub use broadcast::Broadcast;
pub use commit::{
    Authority, Commit, CommitError, Committed, IdempotencyClaim, NewEvent, Outcome, Read, Rejected, StatusToken,
};
pub use committer::{Committer, CommitterConfig};
pub use handoff::{Handed, Handoff, HeldBack};
pub use node::Node;
pub use position::Position;
pub use recorded::Recorded;
pub use sealer::{Sealer, SealerParts, Seals};
pub use tail::{Appended, Batch, Follow, Tail, TailHealth};
