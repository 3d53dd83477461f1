//! Decides about dead letters when nobody waits for it: many at once, by a job, and those that were closed long ago.
//!
//! - [`Jobs`] takes up jobs that no other node works on; `job` sees one through, batch by batch.
//! - [`purge()`] lets letters go.
//! - `held` is what a letter holds.

mod batch;
mod held;
mod job;
mod jobs;
mod purge;

pub(crate) use held::held;
pub use jobs::{JobParts, Jobs};
pub use purge::{PurgeError, purge};
