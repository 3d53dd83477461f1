//! What one run has read and what it wants to write: an overlay over stored data that the run reads through.
//!
//! - [`Effects`] is what a script's `kv` calls reach: it answers from the run's own writes first, then from what the run
//!   has read before, and only then from the [`Source`].
//! - [`Wanted`] is what is left at the end: one event a key, one a message, and every read to be checked when they are committed.
//! - [`Calls`] is what it has called outside: it outlives the run's try.
//! - [`Setup`] is how the run's app is set up: its scripts, and who takes messages from a queue.
//! - [`Letters`] is where dead letters come from.
//! - [`Recalled`] is what was read and answered, for the recording that a run can be run again from.
//!
//! Whether what was read still holds is for the committer to say; whether to run again, for whoever runs.

mod budget;
mod data;
mod invoke;
mod journal;
mod letters;
mod list;
mod outside;
mod overlay;
mod said;
mod setup;
mod source;
mod write;

pub use journal::Recalled;
pub(crate) use letters::described;
pub use letters::{Letters, Origin};
pub use outside::{Called, Calls, Outcome, Outside, RecalledCall};
pub use overlay::{Effects, Wanted};
pub use setup::{Invocable, Setup};
pub use source::{Source, SourceError, Stored};
