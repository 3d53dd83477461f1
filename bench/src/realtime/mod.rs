//! Who listens: thousands of subscribers on one topic, and spread over a thousand; and all of them coming back at once. Beside the
//! same bytes from a bare axum server, which keeps nothing.
//!
//! Subscribers and publishers are one process on the same machine: what they cost is in every figure, of both servers alike.

mod bare;
mod crowd;
mod publish;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::Args;
use picloud::embedded::Embedded;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    process::Command,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

pub use self::bare::{Arguments as BareArguments, serve as serve_bare};
use self::{crowd::Crowd, publish::Publisher};
use crate::{
    Bench,
    append::database,
    calls::{start_picloud, url},
    outbox::Latencies,
    process::{Service, cpu_seconds, free_port, resident_mib},
    report::{self, Line, Report},
};

#[derive(Args)]
pub struct Options {
    /// Subscribers at once, each of these numbers in turn.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000])]
    subscribers: Vec<usize>,
    /// Messages that each missed when all come back at once.
    #[arg(long, default_value_t = 1_000)]
    missed: usize,
}

const DATABASE: &str = "realtime";

/// Topics that subscribers are spread over.
const SPREAD: usize = 1_000;

/// Topics that one call publishes to, where it is about passing on and not about calls.
const A_CALL: usize = 10;

/// Messages a second when it is not about how many there can be.
const STEADY: u64 = 100;

/// Who floods publishes over so many connections: a publish is a durable commit, and fewer would mostly wait for the disk;
const PUBLISHERS: usize = 256;

/// and is at most so many deliveries ahead of who listens,
const AHEAD: u64 = 100_000;

/// and so many messages: half of what a service keeps for those who are slow.
const AHEAD_MESSAGES: u64 = 4_096;

const PATIENCE: Duration = Duration::from_secs(120);

/// What was seen of one server.
struct Seen {
    /// Deliveries a second.
    flood: Vec<f64>,
    /// The same with several messages published in a call; of several topics only.
    flood_in_calls: Vec<f64>,
    steady: Vec<f64>,
    /// Of one core, in percent.
    processor: f64,
    memory_kib: f64,
}

pub async fn measure(bench: &Bench, options: &Options, cluster: &Embedded, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("realtime");
    raise_open_files(options)?;
    report.note("deliveries hold HTTP, the script, and the commit of each message; the bare server only passes it on");
    let pool = database(cluster, DATABASE).await?;
    pool.close().await;
    let url = url(cluster, DATABASE);
    let one = vec!["fan.all".to_owned()];
    let spread: Vec<_> = (0..SPREAD).map(|n| format!("fan.{n}")).collect();
    let most = options.subscribers.iter().copied().max().unwrap_or_default();

    for &count in &options.subscribers {
        let topics = [(&one, "one topic".to_owned()), (&spread, format!("{SPREAD} topics"))];
        // Few on many topics are nothing to look at.
        for (topics, of) in topics.iter().filter(|(topics, _)| topics.len() == 1 || count == most) {
            let bare = start_bare(bench).await?;
            let least = watch(bench, &bare, count, topics).await.context("the bare server")?;
            bare.stop().await?;
            let service = start_picloud(bench, &url, &[]).await?;
            let seen = watch(bench, &service, count, topics).await?;
            service.stop().await?;
            report.add_all(lines(&format!("{count} subscribers of {of}"), &seen, &least));
        }
    }
    resume(bench, options.missed, most, &one, &url, report).await
}

/// Each subscriber is an open file of this process, and of the service, which asks for what it may have by itself.
fn raise_open_files(options: &Options) -> anyhow::Result<()> {
    const OTHERS: u64 = 256;
    let wanted = options.subscribers.iter().copied().max().unwrap_or_default() as u64 + OTHERS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let most = maximum.unwrap_or(u64::MAX);
    ensure!(most >= wanted, "{most} files may be open at once, {wanted} are needed: raise it with `ulimit -n`");
    Ok(())
}

fn lines(of: &str, seen: &Seen, least: &Seen) -> Vec<Line> {
    let bare = report::line("", "", &least.flood).median;
    let (latencies, bare_latencies): (Latencies, Latencies) =
        (seen.steady.iter().copied().collect(), least.steady.iter().copied().collect());
    let mut lines = vec![
        report::line(format!("{of}, flooded"), "deliveries/s", &seen.flood).against("bare axum", bare),
        report::line(format!("{STEADY} messages/s: publish to receive, p50"), "ms", &[latencies.p50()])
            .with_latency(latencies.p50(), latencies.p99())
            .against("bare axum", bare_latencies.p50()),
        report::line("meanwhile, of one core: the service alone", "%", &[seen.processor])
            .against("bare axum", least.processor),
        report::line("memory of a subscriber", "KiB", &[seen.memory_kib]).against("bare axum", least.memory_kib),
    ];
    if !seen.flood_in_calls.is_empty() {
        let bare = report::line("", "", &least.flood_in_calls).median;
        let what = format!("{of}, flooded, {A_CALL} messages a call");
        lines.insert(1, report::line(what, "deliveries/s", &seen.flood_in_calls).against("bare axum", bare));
    }
    lines
}

async fn start_bare(bench: &Bench) -> anyhow::Result<Service> {
    let port = free_port()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bare-fan-out", "--port", &port.to_string()]);
    Service::start(command, port, &bench.work.join("bare.log"), "/readyz").await
}

async fn watch(bench: &Bench, service: &Service, count: usize, topics: &[String]) -> anyhow::Result<Seen> {
    let before = resident_mib(service.pid())?;
    let crowd = Arc::new(Crowd::gather(service.port, count, topics, None));
    crowd.all_listen(count, PATIENCE).await?;
    let memory_kib = (resident_mib(service.pid())? - before) * 1024.0 / count as f64;
    let each = (count / topics.len()) as u64;

    let (mut flood, mut flood_in_calls) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        flood.push(flooded(bench.seconds, service.port, &crowd, topics, each, 1).await?);
        if topics.len() > A_CALL {
            flood_in_calls.push(flooded(bench.seconds, service.port, &crowd, topics, each, A_CALL).await?);
        }
    }
    crowd.latencies_ms();
    let used = cpu_seconds(service.pid())?;
    let began = Instant::now();
    steady(bench.seconds, service.port, &crowd, topics, each).await?;
    let processor = (cpu_seconds(service.pid())? - used) / began.elapsed().as_secs_f64() * 100.0;
    Ok(Seen { flood, flood_in_calls, steady: crowd.latencies_ms(), processor, memory_kib })
}

/// Publishes as fast as is read. Deliveries a second.
async fn flooded(
    lasting: Duration,
    port: u16,
    crowd: &Arc<Crowd>,
    topics: &[String],
    each: u64,
    a_call: usize,
) -> anyhow::Result<f64> {
    let before = crowd.messages();
    let began = Instant::now();
    let published = Arc::new(AtomicU64::new(0));
    let ahead = (AHEAD / each).clamp(2, AHEAD_MESSAGES);
    let mut publishers = JoinSet::new();
    for _ in 0..PUBLISHERS {
        let (crowd, published, topics) = (Arc::clone(crowd), Arc::clone(&published), topics.to_vec());
        publishers.spawn(async move {
            let mut publisher = Publisher::open(port).await?;
            while began.elapsed() < lasting {
                let n = published.fetch_add(a_call as u64, Relaxed);
                while (n + a_call as u64).saturating_sub(ahead) * each > crowd.messages() - before {
                    sleep(Duration::from_micros(300)).await;
                    ensure!(began.elapsed() < lasting + PATIENCE, "subscribers were not told");
                }
                let topic = |n: usize| &*topics[n % topics.len()];
                if a_call == 1 {
                    publisher.publish(topic(n as usize)).await?;
                } else {
                    let to: Vec<_> = (n as usize..n as usize + a_call).map(topic).collect();
                    publisher.publish_to_all(&to).await?;
                }
            }
            Ok(())
        });
    }
    while let Some(ended) = publishers.join_next().await {
        ended??;
    }
    let delivered = published.load(Relaxed) * each;
    crowd.were_told(before + delivered, PATIENCE).await?;
    Ok(delivered as f64 / began.elapsed().as_secs_f64())
}

/// Publishes at a steady rate.
async fn steady(lasting: Duration, port: u16, crowd: &Crowd, topics: &[String], each: u64) -> anyhow::Result<()> {
    let before = crowd.messages();
    let pause = Duration::from_secs(1) / STEADY as u32;
    let began = Instant::now();
    let mut publisher = Publisher::open(port).await?;
    let messages = lasting.as_millis() as u64 * STEADY / 1_000;
    for n in 0..messages {
        sleep_until(began + pause * n as u32).await;
        publisher.publish(&topics[n as usize % topics.len()]).await?;
    }
    crowd.were_told(before + messages * each, PATIENCE).await
}

/// All come back at once to a service that has just started, and have missed something.
async fn resume(
    bench: &Bench,
    missed: usize,
    count: usize,
    topics: &[String],
    url: &str,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut rounds = Vec::new();
    let mut resident = 0.0_f64;
    for _ in 0..bench.rounds {
        let service = start_picloud(bench, url, &[]).await?;
        let one = Crowd::gather(service.port, 1, topics, None);
        one.all_listen(1, PATIENCE).await?;
        let cursor = one.cursor();
        let mut publisher = Publisher::open(service.port).await?;
        for _ in 0..missed {
            publisher.publish(&topics[0]).await?;
        }
        drop(one);
        service.stop().await?;

        let service = start_picloud(bench, url, &[]).await?;
        let began = Instant::now();
        let crowd = Crowd::gather(service.port, count, topics, Some(&cursor));
        crowd.were_told((count * missed) as u64, PATIENCE).await?;
        crowd.all_listen(count, PATIENCE).await?;
        rounds.push(began.elapsed().as_secs_f64());
        resident = resident.max(resident_mib(service.pid())?);
        drop(crowd);
        service.stop().await?;
    }
    let seconds = report::line("", "", &rounds).median;
    let what = format!("{count} come back at once after a restart and have missed {missed}: all told after");
    report.add(report::line(what, "s", &rounds));
    report.add(report::line("that is", "deliveries/s", &[(count * missed) as f64 / seconds]));
    report.add(report::line("and the service then takes", "MiB", &[resident]));
    Ok(())
}
