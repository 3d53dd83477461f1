//! Runs from their beginning to their durable end, on a real database.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to stop")]

mod away;
mod contended;
mod effects;
mod fair;
mod increments;
mod invoke;
mod letters;
mod lifetime;
mod messages;
mod once;
mod outside;
mod recorded;
mod replayed;
mod retry;
mod schedule;
mod serial;
#[path = "../server/mod.rs"]
mod server;
mod shop;
mod support;

use std::alloc::System;

use picloud_workers::sandbox::memory::Counting;

#[global_allocator]
static ALLOCATOR: Counting<System> = Counting::new(System);
