//! What can happen on PiCloud and what it means.
//!
//! The domain here is pure: no IO, no clock, no randomness; they come in as arguments. [`log`] is the one place that
//! speaks to PostgreSQL.

pub mod alert;
pub mod backup;
pub mod capability;
pub mod causes;
pub mod event;
pub mod http_exception;
pub mod id;
pub mod json;
pub mod keys;
pub mod limits;
pub mod log;
pub mod mail;
pub mod name;
pub mod nearest;
pub mod outbox;
pub mod policy;
pub mod replay;
pub mod retry;
pub mod routing;
pub mod run;
pub mod schedule;
pub mod seal;
pub mod state;
pub mod topic;
pub mod trace;
pub mod trigger;
