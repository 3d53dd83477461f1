//! The service: database up, schema current, the node joined, both planes served until it is told to stop.

mod alerting;
mod database;
mod disk;
mod greeting;
mod housekeeping;
mod joints;
mod local_profile;
mod open_files;
mod outside;
mod planes;
mod platform;
mod signal;
mod telemetry;
mod traces;

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use picloud_core::{keys::MasterKey, log::node};
use picloud_ingress::admin;
use picloud_projections::retention::Keep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{planes::Shown, traces::Traces};
use crate::{
    config::{Config, LogFormat},
    embedded,
};

pub use database::Database;
pub use platform::{Platform, Surroundings};
pub use signal::Stop;

/// How long what has begun may take to end when the service stops.
const DRAIN: Duration = Duration::from_secs(30);

/// Runs until ctrl-C or SIGTERM; a second one ends it at once.
///
/// # Errors
/// Whatever keeps it from starting, or from stopping in good order.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut stop = Stop::listen().context("failed to listen for signals")?;
    let connections = open_files::raise();
    // Before anything is brought up: a port that is taken should not cost a database start.
    let listeners = planes::Listeners::bind(&config).await?;
    // The master key and the local profile lie there, whoever's the database is.
    embedded::make_data_dir(&config.data_dir)?;
    let database = tokio::select! {
        opened = Database::open(&config) => opened?,
        () = stop.wait() => return Ok(()),
    };
    let served = serve(&config, &database, listeners, connections, &mut stop, began).await;
    let closed = database.close().await;
    served.and(closed)
}

/// The link to the first account, for who sits at the terminal: no file that the output goes to may have it.
async fn first_owner_link(config: &Config, platform: &Platform) -> anyhow::Result<Option<String>> {
    if !std::io::stderr().is_terminal() || config.log_format == LogFormat::Json {
        return Ok(None);
    }
    admin::first_owner_link(&platform.auth, &platform.setup.get(), &config.admin_url)
        .await
        .context("failed to make the link for the first account")
}

async fn serve(
    config: &Config,
    database: &Database,
    listeners: planes::Listeners,
    connections: usize,
    stop: &mut Stop,
    began: Instant,
) -> anyhow::Result<()> {
    let master = MasterKey::load_or_make(&config.master_key_file)?;
    if database.is_ours_alone() {
        // What was killed cannot come back: the idempotency keys it held, and its runs, are free at once.
        node::revoke_all(&database.pool).await.context("failed to retire the nodes before this one")?;
    }
    let own = outside::forbidden(listeners.addresses(), [&database.pool.connect_options(), &database.direct]).await;
    let traces = Traces::new(config.otlp.as_ref());
    let keep = Keep { runs: config.keep_runs.0, data: config.keep_data.0, archive: config.archive_dir.clone() };
    let surroundings = Surroundings {
        own,
        disk: disk::watched(config.data_dir.clone()),
        admin_url: config.admin_url.clone(),
        mail: config.mail.clone(),
        tracer: traces.tracer(),
        keep,
    };
    let platform = Platform::start(database.pool.clone(), database.direct.clone(), master, surroundings).await?;
    let is_first_start = local_profile::settle(config, &platform).await?;
    // The tail may not have read yet what the first start has just written; without it the first key is not known.
    platform.setup.reached(platform.tail.position().max(platform.committer.head())).await;

    // Before anyone can see that it is up: what is printed then comes first.
    let owner_link = if is_first_start { first_owner_link(config, &platform).await? } else { None };

    let stopping = CancellationToken::new();
    let tracer = traces.tracer();
    let sending = traces.send(&platform)?;
    let shown = Shown { tracer, traces: sending.counts.clone() };
    let planes = planes::serve(config, &platform, listeners, connections, shown, &stopping);
    info!(start_ms = began.elapsed().as_millis() as u64, "Ready");
    greeting::print(config, database, is_first_start, owner_link.as_deref(), began.elapsed());

    let revoked = platform.revoked.clone();
    tokio::select! {
        () = stop.wait() => info!("Stopping: what has begun may end, ctrl-C again to end at once"),
        () = revoked.cancelled() => warn!("Stopping"),
    }
    stopping.cancel();
    tokio::select! {
        () = async {
            planes.await;
            platform.stop(Instant::now() + DRAIN).await;
            sending.stop().await;
        } => {}
        () = stop.wait() => warn!("Ended before everything was done: what was acknowledged is in the log"),
    }
    if revoked.is_cancelled() {
        bail!("this node lost its right to write (the log above says why) and must be restarted");
    }
    Ok(())
}
