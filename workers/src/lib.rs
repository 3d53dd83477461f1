//! Runs scripts.

pub mod sandbox;
