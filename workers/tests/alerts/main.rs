//! Alerts of nodes on the test's own database, told to a receiver that notes what it gets.

#![expect(clippy::unwrap_used, reason = "a failing unwrap in a test is the failing test")]

mod lasting;
mod letters;
mod sending;
#[path = "../server/mod.rs"]
mod server;
mod support;
