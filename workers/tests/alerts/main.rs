//! Alerts of nodes on the test's own database, told to a receiver that notes what it gets.

#![expect(clippy::unwrap_used, reason = "a failing unwrap in a test is the failing test")]

mod lasting;
mod letters;
mod mail;
mod mailer;
mod sending;
#[path = "../server/mod.rs"]
mod server;
#[path = "../smtp/mod.rs"]
mod smtp;
mod support;
