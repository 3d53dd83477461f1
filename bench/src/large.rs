//! An instance of ten million runs: how long each list takes that people ask for, by each thing it can be filtered by.
//!
//! Making it takes half an hour, so it is made once, in a folder of its own, and kept.

use std::{
    collections::HashMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use picloud::{
    embedded::{Embedded, Search},
    profile::Profile,
};
use picloud_core::{
    id::{AppId, InvocationId, RouteId, ScriptId, TriggerId, VersionId},
    log::{alone, no_longer_alone, read::Reader, schema},
};
use picloud_projections::views;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use uuid::Uuid;

use crate::{
    Bench,
    audit::{picloud, until_indexed, until_sealed},
    calls::{start_picloud, url},
    generate,
    outbox::Latencies,
    report::{self, Report},
};

#[derive(Args)]
pub struct Options {
    /// Where the large instance is kept; without it there, it is made when `--only large` asks for it.
    #[arg(long, default_value = "/var/tmp/picloud-large")]
    instance: PathBuf,
    /// Runs that it is made with.
    #[arg(long, default_value_t = 10_000_000)]
    runs: u64,
    /// How often each list is asked for, with other values each time.
    #[arg(long, default_value_t = 60)]
    asked: usize,
}

impl Options {
    pub fn is_made(&self) -> bool {
        self.instance.join(MADE).exists()
    }
}

const DATABASE: &str = "large";

/// The runs lie this many days back.
const DAYS: i64 = 30;

/// What the folder holds when the instance is whole.
const MADE: &str = "made";

/// No list may take longer, 19 times of 20.
const BOUND_MS: f64 = 100.0;

pub async fn measure(bench: &Bench, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("large");
    let cluster = Embedded::start(&options.instance, &Search::system()).await?;
    // Its master key and the key of its API lie there, too.
    let bench = Bench { work: options.instance.clone(), ..bench.clone() };
    let measured = with(&bench, options, &cluster, report).await;
    cluster.stop().await?;
    measured
}

async fn with(bench: &Bench, options: &Options, cluster: &Embedded, report: &mut Report) -> anyhow::Result<()> {
    let url = url(cluster, DATABASE);
    if !options.is_made() {
        make(bench, options, cluster, &url).await?;
    }
    let pool = PgPool::connect_with(cluster.options().database(DATABASE)).await?;
    let service = start_picloud(bench, &url, &[]).await?;
    // A node does it by itself, when it comes to it.
    until_indexed(&pool).await?;
    until_renewed(&pool).await?;
    let known = Known::of(&pool).await?;
    let runs: i64 =
        sqlx::query_scalar("select sum(ok + failed)::bigint from views.invocation_count where dimension = 'all'")
            .fetch_one(&pool)
            .await?;
    report.note(format!(
        "lists of an instance of {runs} runs, pages of a hundred, each asked for {} times",
        options.asked
    ));
    let profile = Profile::read(&Profile::path(&bench.work.join("service")))?.context("no profile")?;
    let asker =
        Asker { address: profile.url.replace("http://", ""), key: profile.key.context("no key")?.expose().to_owned() };
    let mut slowest = 0.0_f64;
    for (what, path) in lists() {
        let mut took = Vec::new();
        for n in 0..options.asked {
            took.push(asker.ask(&path(&known, n)).await?.as_secs_f64() * 1e3);
        }
        let took: Latencies = took.into_iter().collect();
        slowest = slowest.max(took.p95());
        report.add(report::line(format!("{what}: p95"), "ms", &[took.p95()]).with_latency(took.p50(), took.p99()));
    }
    report.add(report::line("the slowest of them: p95", "ms", &[slowest]).against("100 ms", BOUND_MS));
    service.stop().await?;
    pool.close().await;
    Ok(())
}

/// Waits until each view has the rows of today's fold: an instance made by an older state builds some anew, and has none meanwhile.
async fn until_renewed(pool: &PgPool) -> anyhow::Result<()> {
    let wanted = views::all(&Reader::new(pool.clone()));
    loop {
        let versions: HashMap<String, i32> =
            sqlx::query_as("select view, version from views.checkpoint").fetch_all(pool).await?.into_iter().collect();
        if wanted.iter().all(|view| versions.get(view.name()) == Some(&view.version())) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn make(bench: &Bench, options: &Options, cluster: &Embedded, url: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    let pool = crate::append::database(cluster, DATABASE).await?;
    schema::migrate(&pool).await?;
    // With its first app, whose name is known; all of it as if it had been long ago, which is not to be sealed as it is now.
    let mut sealing = PgConnection::connect_with(&cluster.options().database(DATABASE)).await?;
    ensure!(alone(&mut sealing, "seals").await?, "somebody seals it already");
    start_picloud(bench, url, &[]).await?.stop().await?;
    no_longer_alone(sealing).await?;
    let shifted = format!("update log.config set at = at - interval '{} days'", DAYS + 1);
    sqlx::query(AssertSqlSafe(shifted)).execute(&pool).await?;
    let app: Uuid = sqlx::query_scalar("select id from state.app where slug = 'default'").fetch_one(&pool).await?;
    let events = (options.runs as f64 * generate::EVENTS_A_RUN) as u64;
    eprintln!("  {} runs are made, that is {events} events", options.runs);
    generate::runs(&pool, AppId::from(app), events, DAYS).await?;
    eprintln!("  written after {:.0} s; views are built from it", began.elapsed().as_secs_f64());
    picloud(bench, url, &["replay", "--views", "--swap"]).await?;
    eprintln!("  built after {:.0} s; it is sealed", began.elapsed().as_secs_f64());
    let service = start_picloud(bench, url, &[]).await?;
    let head: i64 = sqlx::query_scalar("select log.find_head()").fetch_one(&pool).await?;
    until_sealed(&pool, head as u64).await?;
    service.stop().await?;
    // As an instance that has come so far by itself has had it done.
    sqlx::query("vacuum (analyze)").execute(&pool).await?;
    pool.close().await;
    std::fs::write(options.instance.join(MADE), options.runs.to_string())?;
    eprintln!("  made after {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// What is asked for.
struct Known {
    scripts: Vec<ScriptId>,
    /// Hardly ever runs.
    rare_script: ScriptId,
    rare_version: VersionId,
    routes: Vec<RouteId>,
    triggers: Vec<TriggerId>,
    keys: Vec<String>,
    invocations: Vec<InvocationId>,
    began: DateTime<Utc>,
    ended: DateTime<Utc>,
}

impl Known {
    async fn of(pool: &PgPool) -> anyhow::Result<Self> {
        // The most frequent first.
        let counted = async |dimension: &str| {
            sqlx::query_scalar::<_, String>(
                "select value from views.invocation_count c join state.app a on a.id = c.app_id
                where a.slug = 'default' and dimension = $1 group by value order by sum(ok + failed) desc",
            )
            .bind(dimension)
            .fetch_all(pool)
            .await
        };
        let uuids = async |dimension| -> anyhow::Result<Vec<Uuid>> {
            Ok(counted(dimension).await?.iter().map(|id| id.parse()).collect::<Result<_, _>>()?)
        };
        let (scripts, versions) = (uuids("script").await?, uuids("version").await?);
        let invocations: Vec<Uuid> = sqlx::query_scalar(
            "select id from views.invocation tablesample system (1)
            where app_id = (select id from state.app where slug = 'default') limit 1000",
        )
        .fetch_all(pool)
        .await?;
        Ok(Self {
            rare_script: scripts.last().copied().context("there are no scripts")?.into(),
            rare_version: versions.last().copied().context("there are no versions")?.into(),
            scripts: scripts.into_iter().map(Into::into).collect(),
            routes: uuids("route").await?.into_iter().map(Into::into).collect(),
            triggers: uuids("trigger").await?.into_iter().map(Into::into).collect(),
            keys: counted("actor").await?,
            invocations: invocations.into_iter().map(Into::into).collect(),
            began: sqlx::query_scalar("select min(started_at) from views.invocation").fetch_one(pool).await?,
            ended: sqlx::query_scalar("select max(started_at) from views.invocation").fetch_one(pool).await?,
        })
    }

    /// As much as an hour is of a month, of the time that runs lie in: `since` and `until`.
    fn hour(&self, n: usize) -> String {
        const HOURS: i32 = DAYS as i32 * 24;
        let hour = (self.ended - self.began) / HOURS;
        let since = self.began + hour * (n as i32 * 7_919 % HOURS);
        format!("since={}&until={}", time(since), time(since + hour))
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn one<T>(of: &[T], n: usize) -> &T {
    &of[n % of.len()]
}

/// Makes the path of a question, other each time.
type Path = Box<dyn Fn(&Known, usize) -> String>;

/// What people ask for.
fn lists() -> Vec<(&'static str, Path)> {
    fn app(path: &'static str, query: impl Fn(&Known, usize) -> String + 'static) -> Path {
        Box::new(move |known, n| format!("/api/v1/admin/apps/default/{path}?{}", query(known, n)))
    }
    let runs = |query: fn(&Known, usize) -> String| app("invocations", query);
    let count = |query: fn(&Known, usize) -> String| app("invocations/count", query);
    let logs = |query: fn(&Known, usize) -> String| app("logs", query);
    let events = |query: fn(&Known, usize) -> String| app("events", query);
    vec![
        ("runs, the newest", runs(|_, _| String::new())),
        ("runs, the oldest", runs(|_, _| "order=asc".into())),
        ("runs of an hour", runs(|known, n| known.hour(n))),
        ("runs of a script", runs(|known, n| format!("script={}", one(&known.scripts, n)))),
        ("runs of a script that hardly ever runs", runs(|known, _| format!("script={}", known.rare_script))),
        ("runs of a rare version", runs(|known, _| format!("version={}", known.rare_version))),
        ("runs of a rare version, the oldest", runs(|known, _| format!("version={}&order=asc", known.rare_version))),
        ("runs through a route", runs(|known, n| format!("route={}", one(&known.routes, n)))),
        ("runs for a trigger", runs(|known, n| format!("trigger={}", one(&known.triggers, n)))),
        ("runs of a principal", runs(|known, n| format!("principal={}", one(&known.keys, n)))),
        (
            "runs of a principal through a route",
            runs(|known, n| format!("principal={}&route={}", one(&known.keys, n), one(&known.routes, n))),
        ),
        ("runs that failed", runs(|_, _| "status=failed".into())),
        ("runs that failed, of a rare script", runs(|known, _| format!("status=failed&script={}", known.rare_script))),
        (
            "runs that failed, of a principal",
            runs(|known, n| format!("status=failed&principal={}", one(&known.keys, n))),
        ),
        ("runs that failed, of an hour", runs(|known, n| format!("status=failed&{}", known.hour(n)))),
        ("runs that are under way", runs(|_, _| "status=running".into())),
        ("runs that took 10 ms", runs(|_, _| "min_duration_ms=10".into())),
        ("runs that took 2 s", runs(|_, _| "min_duration_ms=2000".into())),
        (
            "runs that took 2 s, of a principal",
            runs(|known, n| format!("min_duration_ms=2000&principal={}", one(&known.keys, n))),
        ),
        ("runs with a word that is in one", runs(|_, n| format!("q={}", 50 * (n + 1)))),
        ("runs with a word that is in one of 20 000", runs(|_, n| format!("q=customer%20{}", n * 13 % 9_973))),
        ("runs with a word that is in every other", runs(|_, _| "q=looked".into())),
        ("runs with a word that is in none", runs(|_, n| format!("q=nowhere{n}"))),
        (
            "runs with a frequent word, of a principal",
            runs(|known, n| format!("q=looked&principal={}", one(&known.keys, n))),
        ),
        ("runs with a frequent word, that failed", runs(|_, _| "q=looked&status=failed".into())),
        ("runs with two frequent words that are in none together", runs(|_, _| "q=address%20-order".into())),
        ("how many runs there are", count(|_, _| String::new())),
        ("how many of a principal", count(|known, n| format!("principal={}", one(&known.keys, n)))),
        (
            "how many of a principal through a route",
            count(|known, n| format!("principal={}&route={}", one(&known.keys, n), one(&known.routes, n))),
        ),
        ("how many with a frequent word", count(|_, _| "q=looked".into())),
        ("how many of an hour", count(|known, n| known.hour(n))),
        ("log lines, the newest", logs(|_, _| String::new())),
        ("log lines of a script", logs(|known, n| format!("script={}", one(&known.scripts, n)))),
        ("log lines of a rare script", logs(|known, _| format!("script={}", known.rare_script))),
        ("log lines of a run", logs(|known, n| format!("invocation={}", one(&known.invocations, n)))),
        ("log lines that are errors", logs(|_, _| "level=error".into())),
        ("log lines of an hour", logs(|known, n| known.hour(n))),
        ("events, the newest", events(|_, _| String::new())),
        ("events of an hour", events(|known, n| known.hour(n))),
        ("events of a kind", events(|_, _| "kind=kv.set".into())),
        ("events of a rare kind", events(|_, _| "kind=script.deployed".into())),
        ("events about an entry", events(|_, n| format!("subject=kv:orders/{}", n * 7))),
        ("events of one chain", events(|known, n| format!("root={}", one(&known.invocations, n)))),
        ("events of an actor", events(|known, n| format!("actor={}", one(&known.keys, n)))),
        ("events of an actor that did nothing", events(|_, _| "actor=key_01ARZ3NDEKTSV4RRFFQ69G5FAV".into())),
        (
            "metrics of a day",
            app("metrics", |known, n| {
                let since = known.began + chrono::TimeDelta::days(n as i64 % (DAYS - 1));
                format!("since={}&until={}", time(since), time(since + chrono::TimeDelta::days(1)))
            }),
        ),
        ("metrics of a month", app("metrics", |known, _| format!("since={}&step_s=86400", time(known.began)))),
        (
            "metrics of a month, of a script",
            app("metrics", |known, n| {
                format!("since={}&step_s=3600&script={}", time(known.began), one(&known.scripts, n))
            }),
        ),
        ("activity of a month", app("activity", |_, _| String::new())),
        ("errors by fingerprint", app("errors", |_, _| String::new())),
        ("dead letters", app("dead_letters", |_, _| String::new())),
    ]
}

/// Asks the control plane, over a connection for each question.
struct Asker {
    address: String,
    key: String,
}

impl Asker {
    /// How long the whole answer took.
    async fn ask(&self, path: &str) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let mut stream = TcpStream::connect(&self.address).await?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
            self.address, self.key
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let took = began.elapsed();
        let head = String::from_utf8_lossy(&answer[..answer.len().min(1_000)]);
        ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        Ok(took)
    }
}
