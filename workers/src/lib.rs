//! Runs scripts.

pub mod effects;
pub mod http;
pub mod outbox;
pub mod pool;
pub mod runner;
pub mod sandbox;
pub mod turns;
