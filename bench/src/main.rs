//! Measures PiCloud against what this machine can do, in one run, and prints a table with ratios and JSON.
//!
//! Everything shares the machine: the load, the service and PostgreSQL. So ratios of the same run are worth something, and
//! figures of different runs are not to be compared.

mod admin;
mod append;
mod audit;
mod calls;
mod generate;
mod idle;
mod large;
mod outbox;
mod peer;
mod process;
mod realtime;
mod report;
mod views;
mod wrk;

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use clap::{Parser, Subcommand};
use picloud::embedded::{Embedded, Search};

use self::report::Report;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Seconds for each measurement.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// How often each is repeated; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds to watch an idle instance for.
    #[arg(long, default_value_t = 60)]
    idle_seconds: u64,
    /// The binary to measure.
    #[arg(long, default_value = "target/release/picloud")]
    picloud: PathBuf,
    /// Where the results go as JSON.
    #[arg(long, default_value = "bench/results/latest.json")]
    json: PathBuf,
    /// Callers at once, for the calls.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    connections: Vec<usize>,
    /// Only these parts: append, calls, admin, outbox, realtime, views, audit, large, idle.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    #[command(flatten)]
    outbox: outbox::Options,
    #[command(flatten)]
    realtime: realtime::Options,
    #[command(flatten)]
    audit: audit::Options,
    #[command(flatten)]
    large: large::Options,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the same handler and script with another way of keeping (or not keeping) what happened. For the benchmark's own use.
    #[command(hide = true)]
    Peer(peer::Arguments),
    /// Passes on to subscribers what is published, and keeps nothing. For the benchmark's own use.
    #[command(hide = true)]
    BareFanOut(realtime::BareArguments),
}

/// What every part of the benchmark needs.
#[derive(Clone)]
struct Bench {
    seconds: Duration,
    rounds: usize,
    connections: Vec<usize>,
    idle: Duration,
    picloud: PathBuf,
    work: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.command {
        Some(Command::Peer(peer)) => runtime.block_on(peer::serve(peer)),
        Some(Command::BareFanOut(bare)) => runtime.block_on(realtime::serve_bare(bare)),
        None => runtime.block_on(run(arguments)),
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let picloud = arguments.picloud.canonicalize().with_context(|| {
        format!("failed to find {}: build it with `cargo build --release`", arguments.picloud.display())
    })?;
    // Not under root's home: PostgreSQL runs as another user.
    let work = tempfile::Builder::new().prefix("picloud-bench").tempdir_in("/var/tmp")?;
    std::fs::set_permissions(work.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let bench = Bench {
        seconds: Duration::from_secs(arguments.seconds),
        rounds: arguments.rounds,
        connections: arguments.connections,
        idle: Duration::from_secs(arguments.idle_seconds),
        picloud,
        work: work.path().to_owned(),
    };
    let wants = |part: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == part);
    let mut report = Report::new(&bench);

    if wants("append") {
        let cluster = Embedded::start(&bench.work.join("append"), &Search::system()).await?;
        append::measure(&bench, &cluster, &mut report).await?;
        cluster.stop().await?;
    }
    if wants("calls") {
        // One each, so that neither has the other's checkpoints and vacuums to bear.
        let ours = Embedded::start(&bench.work.join("calls"), &Search::system()).await?;
        let naive = Embedded::start(&bench.work.join("naive"), &Search::system()).await?;
        calls::measure(&bench, &ours, &naive, &mut report).await?;
        naive.stop().await?;
        ours.stop().await?;
    }
    if wants("admin") {
        let cluster = Embedded::start(&bench.work.join("admin"), &Search::system()).await?;
        admin::measure(&bench, &cluster, &mut report).await?;
        cluster.stop().await?;
    }
    if wants("outbox") {
        let cluster = Embedded::start(&bench.work.join("outbox"), &Search::system()).await?;
        let measured = outbox::measure(&bench, &arguments.outbox, &cluster, &mut report).await;
        cluster.stop().await?;
        if let Err(error) = measured {
            report.failed("outbox", &error);
        }
    }
    if wants("realtime") {
        let cluster = Embedded::start(&bench.work.join("realtime"), &Search::system()).await?;
        let measured = realtime::measure(&bench, &arguments.realtime, &cluster, &mut report).await;
        cluster.stop().await?;
        if let Err(error) = measured {
            report.failed("realtime", &error);
        }
    }
    if wants("views") {
        let with = Embedded::start(&bench.work.join("with_views"), &Search::system()).await?;
        let without = Embedded::start(&bench.work.join("without_views"), &Search::system()).await?;
        let measured = views::measure(&bench, &with, &without, &mut report).await;
        without.stop().await?;
        with.stop().await?;
        if let Err(error) = measured {
            report.failed("views", &error);
        }
    }
    if wants("audit") {
        let cluster = Embedded::start(&bench.work.join("audit"), &Search::system()).await?;
        let measured = audit::measure(&bench, &arguments.audit, &cluster, &mut report).await;
        cluster.stop().await?;
        if let Err(error) = measured {
            report.failed("audit", &error);
        }
    }
    if arguments.large.is_made() && wants("large") || arguments.only.iter().any(|only| only == "large") {
        if let Err(error) = large::measure(&bench, &arguments.large, &mut report).await {
            report.failed("large", &error);
        }
    } else if wants("large") {
        report.note("lists of a large instance were not measured: `--only large` makes it, which takes half an hour");
    }
    if wants("idle") {
        idle::measure(&bench, &mut report).await?;
    }

    report.print();
    report.save(&arguments.json)?;
    report.verdict()
}
