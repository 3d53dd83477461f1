//! What is true after some events: a file per noun, each with the one function that says what an event makes of it.
//!
//! `evolve` is pure and refuses nothing: it must work on everything we ever stored. The committer reads a thing, evolves it
//! and writes it back, under the log's lock; whoever asks how it was begins with nothing and evolves it along the log. What
//! happens to other things leaves a thing as it is.

pub mod dead_letter;
pub mod kv;
pub mod route;
pub mod script;
pub mod trigger;
