//! The log on a real database.

mod append;
mod backpressure;
mod settlement;
mod tail;
