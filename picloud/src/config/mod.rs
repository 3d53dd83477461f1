//! How a service is set up: flags, then environment, then `picloud-server.toml`, then defaults.
//!
//! [`setting`] lists what can be set; [`Sources`] gathers what was said and by whom; [`resolve`](fn@resolve) turns it
//! into types, or into one [`ConfigError`] that names the place and the value.

mod error;
mod parse;
mod resolve;
pub mod setting;
mod show;
mod sources;
mod value;

pub use error::ConfigError;
pub use resolve::{data_dir, resolve};
pub use show::{Shown, table};
pub use sources::{Origin, Sources};
pub use value::{Config, ControlPlane, Database, DatabaseUrl, KeptFor, LogFormat, Otlp, Role, SecretHeaders};

#[cfg(test)]
mod tests;
