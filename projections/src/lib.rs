//! Read models folded from the log, and how to read them.
//!
//! - [`setup`] is how apps are set up, in memory: read once, then brought up to date by the tail.
//! - [`alerts`] reads what channels were told, and what there is to tell them.
//! - [`chain`] tells what follows from what.
//! - [`cron`] tells up to when times were fired.
//! - [`dead_letters`] reads what could not be done.
//! - [`jobs`] reads what is done to many things at once.
//! - [`kv`] reads stored values for runs and for the data browser.
//! - [`outbox`] reads what is owed.
//! - [`queues`] counts what waits behind gates.
//! - [`retention`] lets go of what was kept for long enough.
//! - [`scripts`] reads what is too much to keep in memory: versions and their sources.
//! - [`state`] is made again from the log, and compared with what is read from.
//! - [`travel`] tells how things were, from the log.
//! - [`views`] follow the log for lists, searches and figures.

pub mod alerts;
pub mod chain;
pub mod cron;
pub mod dead_letters;
pub mod jobs;
pub mod kv;
pub mod outbox;
pub mod queues;
pub mod retention;
pub mod scripts;
pub mod setup;
pub mod state;
pub mod travel;
pub mod views;
