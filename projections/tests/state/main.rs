//! State on a real database: whatever the history, what is read from is what a fold of the log from its beginning makes.

#![expect(clippy::unwrap_used, reason = "a failing unwrap in a test is the failing test")]

mod beside;
mod busy;
mod history;
mod put_right;
mod random;
mod retained;
mod things;
mod writer;
