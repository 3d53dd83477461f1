//! Everything that comes in over HTTP: parsed into types, authorised, turned into a run, and answered.

pub mod admin;
pub mod auth;
pub mod data_plane;
pub mod health;
mod household;
pub mod problem;
pub mod proxies;
pub mod realtime;
pub mod request_id;
pub mod server;

pub use problem::{Kind, Problem};
