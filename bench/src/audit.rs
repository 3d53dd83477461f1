//! What the log is good for when it is large: it is sealed and verified, backed up and restored, and views are built from it.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use picloud::embedded::Embedded;
use picloud_core::{id::AppId, log::schema};
use sqlx::PgPool;
use tokio::{process::Command, time::sleep};

use crate::{
    Bench,
    append::database,
    calls::{start_picloud, url},
    generate,
    report::{self, Report},
};

#[derive(Args)]
pub struct Options {
    /// Events of the log that is sealed, verified and replayed; 5000000 show more.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
}

const DATABASE: &str = "audit";
const RESTORED: &str = "restored";

/// The last days, that the events are spread over.
const DAYS: i64 = 30;

const PATIENCE: Duration = Duration::from_secs(3_600);

pub async fn measure(bench: &Bench, options: &Options, cluster: &Embedded, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("audit");
    let pool = database(cluster, DATABASE).await?;
    schema::migrate(&pool).await?;
    let events = generate::runs(&pool, AppId::generate(), options.events, DAYS).await?;
    let url = url(cluster, DATABASE);

    let service = start_picloud(bench, &url, &[]).await?;
    let began = Instant::now();
    let sealed = until_sealed(&pool, events);
    let folded = until_folded(&pool, events);
    let (sealed, folded) = tokio::try_join!(sealed, folded)?;
    service.stop().await?;
    let rate = |until: Instant| events as f64 / (until - began).as_secs_f64();
    report.add(report::line(format!("{events} events that were there before: sealed"), "events/s", &[rate(sealed)]));
    report.add(report::line("and taken in by all views, at the same time", "events/s", &[rate(folded)]));

    // What the machine can do: the same rows, by the same way, and nothing done with them.
    let (mut limits, mut verified) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        limits.push(events as f64 / read_alone(&pool).await?.as_secs_f64());
        let (told, took) = picloud(bench, &url, &["verify"]).await?;
        ensure!(told["events"].as_u64() >= Some(events), "only some were looked at: {told}");
        verified.push(events as f64 / took.as_secs_f64());
    }
    let limit = report::line("", "", &limits).median;
    report.add(report::line("verified", "events/s", &verified).against("reading them alone", limit));

    backup(bench, cluster, &url, limit, report).await?;

    for (what, arguments) in [
        ("the heaviest view, invocations, built anew and compared", &["replay", "--view", "invocations"][..]),
        ("all views built anew and compared", &["replay", "--views"]),
        // The log was written by COPY, and no state with it: it is put right first, and then compared.
        ("state put right", &["replay", "--state", "--swap"]),
        ("state made anew and compared", &["replay", "--state"]),
    ] {
        let (told, took) = picloud(bench, &url, arguments).await?;
        let are_same = told["items"].as_array().is_some_and(|all| all.iter().all(|one| one["compared"] == "same"));
        ensure!(are_same || arguments.contains(&"--swap"), "something does not follow from the log: {told}");
        report.add(report::line(what, "events/s", &[events as f64 / took.as_secs_f64()]));
    }
    pool.close().await;
    Ok(())
}

/// Backs it up, and restores that beside it; both prove what they have written, the one by reading it again.
async fn backup(bench: &Bench, cluster: &Embedded, from: &str, limit: f64, report: &mut Report) -> anyhow::Result<()> {
    let file = bench.work.join("audit.picloud");
    let path = file.to_str().context("the work folder has no plain name")?;
    let (told, took) = picloud(bench, from, &["backup", path]).await?;
    let rows = told["rows"].as_f64().context("it says how many rows")?;
    let size_mb = told["size_bytes"].as_f64().context("it says how large it is")? / 1e6;
    let backed_up = report::line(format!("backed up, into {size_mb:.0} MB"), "rows/s", &[rows / took.as_secs_f64()]);
    report.add(backed_up.against("reading them alone", limit));
    database(cluster, RESTORED).await?.close().await;
    let (told, took) = picloud(bench, &url(cluster, RESTORED), &["restore", path]).await?;
    ensure!(told["verified"]["is_as_sealed"] == true, "what was restored is not as it was: {told}");
    let restored = report::line("restored and verified", "rows/s", &[rows / took.as_secs_f64()]);
    report.add(restored.against("reading them alone", limit));
    std::fs::remove_file(file)?;
    Ok(())
}

/// Runs a command on the database, which must succeed: what it told, and how long it took.
pub async fn picloud(bench: &Bench, url: &str, arguments: &[&str]) -> anyhow::Result<(serde_json::Value, Duration)> {
    let began = Instant::now();
    let mut command = Command::new(&bench.picloud);
    command.args(arguments).args(["--output", "json", "--data-dir"]).arg(bench.work.join("service"));
    let output = command.env("DATABASE_URL", url).output().await.context("failed to start picloud")?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok((serde_json::from_slice(&output.stdout)?, began.elapsed()))
}

/// Waits until so many events are sealed.
pub async fn until_sealed(pool: &PgPool, events: u64) -> anyhow::Result<Instant> {
    let sealed = "select coalesce(max((data ->> 'up_to')::bigint), 0) from log.config where kind = 'seal.sealed'";
    until_all_are(pool, sealed, events).await
}

/// Waits until all views have taken in so many events.
pub async fn until_folded(pool: &PgPool, events: u64) -> anyhow::Result<Instant> {
    until_all_are(pool, "select coalesce(min(position), 0) from views.checkpoint", events).await
}

/// Waits until all that is closed has its indexes.
pub async fn until_indexed(pool: &PgPool) -> anyhow::Result<Instant> {
    let indexed = "select coalesce(min(low), log.find_head()) from log.segments cross join unnest(classes) as class
        where high <= log.find_head() and to_regclass(format('log.%I', format('%s_%s_by_keys', class, low))) is null";
    let head: i64 = sqlx::query_scalar("select log.find_head()").fetch_one(pool).await?;
    until_all_are(pool, indexed, head as u64).await
}

async fn until_all_are(pool: &PgPool, asked: &str, events: u64) -> anyhow::Result<Instant> {
    let began = Instant::now();
    loop {
        let position: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(asked)).fetch_one(pool).await?;
        if position >= events as i64 {
            return Ok(Instant::now());
        }
        ensure!(began.elapsed() < PATIENCE, "only {position} of {events} after {PATIENCE:?}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// Reads all events in order.
async fn read_alone(pool: &PgPool) -> anyhow::Result<Duration> {
    let leaves: Vec<String> = sqlx::query_scalar(
        "select 'log.' || class || '_' || low from log.segments cross join unnest(classes) as c (class) order by low, class",
    )
    .fetch_all(pool)
    .await?;
    let mut connection = pool.acquire().await?;
    let began = Instant::now();
    for leaf in leaves {
        let sql = format!("copy (select * from {leaf} order by position) to stdout (format binary)");
        let mut rows = connection.copy_out_raw(&sql).await?;
        while futures::TryStreamExt::try_next(&mut rows).await?.is_some() {}
    }
    Ok(began.elapsed())
}
