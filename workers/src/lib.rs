//! Runs scripts, and does what else is to be done behind requests.

pub mod alerts;
pub mod effects;
pub mod http;
mod invoked;
pub mod letters;
pub mod mail;
pub mod outbox;
pub mod pool;
mod recorded;
mod redact;
pub mod runner;
pub mod sandbox;
pub mod schedule;
pub mod turns;
