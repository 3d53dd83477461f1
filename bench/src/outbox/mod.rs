//! Work that is owed: how soon it begins, how fast it is done, and what would slow that down; beside two queues of other makers.
//!
//! All of it shares one PostgreSQL: the service has a database in it, and each peer has one of its own, all reached through the
//! Unix socket. An item is a call of a route of mode `async`, whose script takes JSON and answers JSON; a peer's is a job with
//! as much in it, whose handler does nothing.

mod backlog;
mod delayed;
mod drain;
mod idle;
mod instance;
mod latencies;
mod latency;
mod letters;
mod peers;
mod posts;
mod snapshot;
mod soak;
mod tables;
mod together;
mod told;

use clap::Args;
use picloud::embedded::Embedded;

use self::{instance::Instance, peers::Peers};
pub use self::{latencies::Latencies, posts::now_us};
use crate::{Bench, report::Report};

#[derive(Args)]
pub struct Options {
    /// Of the outbox only these: latency, drain, together, snapshot, soak, idle, letters, delayed.
    #[arg(long, value_delimiter = ',')]
    outbox: Vec<String>,
    /// Items of a drain.
    #[arg(long, default_value_t = 50_000)]
    items: usize,
    /// Jobs of a peer's drain.
    #[arg(long, default_value_t = 20_000)]
    peer_jobs: usize,
    /// Seconds after which a peer's measurement ends with what was done by then.
    #[arg(long, default_value_t = 20)]
    peer_seconds: u64,
    /// Items of a round that are sent one at a time.
    #[arg(long, default_value_t = 500)]
    samples: usize,
    /// Seconds for which a snapshot is held, with traffic, before the drain under it; 600 shows more.
    #[arg(long, default_value_t = 60)]
    held_seconds: u64,
    /// Minutes of steady load; 10 show more.
    #[arg(long, default_value_t = 1)]
    soak_minutes: u64,
    /// Dead letters that are replayed in bulk.
    #[arg(long, default_value_t = 10_000)]
    letters: usize,
    /// How many of them a second, at most.
    #[arg(long, default_value_t = 10_000)]
    letters_per_second: u32,
    /// Delayed items that wait while others run.
    #[arg(long, default_value_t = 1_000_000)]
    delayed: usize,
}

/// What the measurements share.
struct Outbox<'a> {
    bench: &'a Bench,
    options: &'a Options,
    instance: Instance,
    peers: Option<Peers>,
}

pub async fn measure(bench: &Bench, options: &Options, cluster: &Embedded, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("outbox");
    let instance = Instance::start(bench, cluster).await?;
    let peers = Peers::find(cluster).await?;
    let outbox = Outbox { bench, options, instance, peers };
    report.note("an item leaves its events, its recordings and what became of it; a peer keeps no history of a job");
    report.note(
        "start latencies hold HTTP and all until the end's commit is stamped; a peer's are taken within its process",
    );
    let wants = |part: &str| options.outbox.is_empty() || options.outbox.iter().any(|only| only == part);

    // What one of them cannot measure must not cost the others. At rest first: later there is much to be vacuumed.
    for part in ["idle", "latency", "drain", "together", "snapshot", "soak", "letters", "delayed"] {
        if !wants(part) {
            continue;
        }
        let measured = match part {
            "latency" => latency::measure(&outbox, report).await,
            "drain" => drain::measure(&outbox, report).await,
            "together" => together::measure(&outbox, report).await,
            "snapshot" => snapshot::measure(&outbox, report).await,
            "soak" => soak::measure(&outbox, report).await,
            "idle" => idle::measure(&outbox, report).await,
            "letters" => letters::measure(&outbox, report).await,
            _ => delayed::measure(&outbox, report).await,
        };
        if let Err(error) = measured {
            report.failed(format!("outbox, {part}"), &error);
        }
    }
    outbox.instance.stop().await
}
