//! Runs what is owed: items of the outbox, claimed or handed over, each attempt a run of its own.
//!
//! - `dispatcher` looks for items and gives each a place; [`Dispatcher`] is the way in.
//! - `attempt` makes an item a call and sees it through.
//! - `happened` is what an attempt sees as the reason for it.
//! - [`settlement`] says what the end of an attempt means for its item.

mod attempt;
mod dispatcher;
mod happened;
mod orphans;
pub mod settlement;
mod waiting;

pub use dispatcher::{Dispatcher, DispatcherParts, PLACES};
pub(crate) use happened::happened;
pub use orphans::{TakeOverError, take_over};
