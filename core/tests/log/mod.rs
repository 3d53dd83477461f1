//! The log on a real database.

mod alerts;
mod append;
mod backpressure;
mod backup;
mod fold;
mod found;
mod idempotency;
mod increasing;
mod letters;
mod lookups;
mod node;
mod outbox;
mod partitions;
mod retention;
mod schema;
mod seals;
mod searched;
mod settlement;
mod tail;
mod triggers;
mod upgrade;
