//! Tests of `picloud-core` that need files or a database, one binary for all.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod events;
mod keys;
mod log;
mod support;
