//! Tests of `picloud-core` that need files or a database, one binary for all.

mod events;
mod keys;
mod log;
mod support;
