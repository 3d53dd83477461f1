//! Calls outside, against servers that answer as told and names that lead where an attacker wants.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to stop")]

mod bounds;
mod calls;
mod guarded;
mod operators;
mod redirects;
#[path = "../server/mod.rs"]
mod server;
mod support;
mod tls;
