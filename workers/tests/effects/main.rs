//! What a run sees of stored data, and what it leaves to commit.

mod called;
mod counted;
mod kept_apart;
mod letters;
mod model;
mod repeatable;
mod said;
mod store;
mod writes;
