//! The data plane through its router, and over real sockets where the bytes matter.

mod cors;
mod failures;
mod fixture;
mod idempotency;
mod later;
mod requests;
mod sockets;
mod who_may;
