//! The service and its command line: what joins the other crates to one program.

pub mod cli;
pub mod client;
pub mod config;
pub mod difference;
pub mod direct;
pub mod embedded;
pub mod failure;
pub mod lasting;
pub mod logging;
pub mod manifest;
pub mod patience;
pub mod problem;
pub mod profile;
pub mod serve;
pub mod sse;
