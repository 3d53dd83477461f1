//! State, made again from the log and compared with the state that is read from; what differs is put right.
//!
//! [`rebuild()`] does all of it while the service goes on: the log is folded by the committer's own statements into a database
//! beside ([`picloud_core::log::beside`]), both are compared as of one moment, table by table, and rows that differ are replaced
//! in short transactions, in which nobody appends.

mod builder;
mod compare;
mod difference;
mod mend;
mod rebuild;
mod tables;

pub use difference::{Column, Difference, What};
pub use rebuild::{Compared, RebuildError, Rebuilt, rebuild};
pub use tables::SWEPT;
