//! Decisions about many letters, on the test's own database.

#![expect(clippy::unwrap_used, reason = "a failing unwrap in a test is the failing test")]

mod bulk;
mod contended;
mod purge;
mod support;
