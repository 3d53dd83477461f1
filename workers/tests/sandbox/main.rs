//! The sandbox from outside: what scripts may do, and that none gets further.

mod allowed;
mod chains;
mod context;
mod dead_letters;
mod hostile;
mod http;
mod invoke;
mod kv;
mod language;
mod limits;
mod memory;
mod messages;
mod nested;
mod response;
mod retry;
mod rights;
mod sdk;
mod short;
mod support;
mod validate;
mod values;

use std::alloc::System;

use picloud_workers::sandbox::memory::Counting;

#[global_allocator]
static ALLOCATOR: Counting<System> = Counting::new(System);
