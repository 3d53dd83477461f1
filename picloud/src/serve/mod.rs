//! The service: database up, schema current, then whatever it serves until it is told to stop.

mod database;
mod signal;

use anyhow::Context;
use tracing::info;

use crate::config::Config;

pub use database::Database;
pub use signal::Stop;

/// Runs until ctrl-C or SIGTERM.
///
/// # Errors
/// Whatever keeps it from starting, or from stopping in good order.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut stop = Stop::listen().context("failed to listen for signals")?;
    let database = tokio::select! {
        opened = Database::open(&config) => opened?,
        () = stop.wait() => return Ok(()),
    };
    info!("Ready");
    stop.wait().await;
    info!("Stopping");
    database.close().await
}
