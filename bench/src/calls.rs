//! Synchronous calls of a script over HTTP, durable before they are answered, against the same handler without a log and
//! against one transaction a request.

use std::path::Path;

use anyhow::{Context, ensure};
use picloud::embedded::Embedded;
use tokio::process::Command;

use crate::{
    Bench,
    append::{database, one_row_insert_ms},
    process::{Service, free_port, resident_mib},
    report::{self, Report},
    wrk,
};

pub async fn measure(
    bench: &Bench,
    cluster: &Embedded,
    naive_cluster: &Embedded,
    report: &mut Report,
) -> anyhow::Result<()> {
    eprintln!("calls");
    let pool = database(cluster, "calls").await?;
    let naive_pool = database(naive_cluster, "naive").await?;
    let ours = start_picloud(bench, &url(cluster, "calls"), &[]).await?;
    let no_log = start_peer(bench, "no-log", None).await?;
    let naive = start_peer(bench, "transaction-a-request", Some(&url(naive_cluster, "naive"))).await?;

    for &connections in &bench.connections {
        let (mut a, mut b, mut c, mut inserts) = (vec![], vec![], vec![], vec![]);
        for _ in 0..bench.rounds {
            // What one round left to be written is not to be paid for by the next.
            for pool in [&pool, &naive_pool] {
                sqlx::query("checkpoint").execute(pool).await?;
            }
            a.push(wrk::post(&bench.work, &at(&no_log, "/hello"), connections, bench.seconds).await?);
            b.push(wrk::post(&bench.work, &at(&naive, "/hello"), connections, bench.seconds).await?);
            c.push(wrk::post(&bench.work, &at(&ours, "/hello"), connections, bench.seconds).await?);
            if connections == 1 {
                // Of the same minute: the machine's pace changes.
                inserts.push(one_row_insert_ms(bench, &cluster.options().database("calls")).await?);
            }
        }
        let no_log = calls(format!("no log, {connections} connections"), &a);
        let naive = calls(format!("a transaction a request, {connections} connections"), &b);
        let ours = calls(format!("PiCloud, durable, {connections} connections"), &c)
            .against("no log", no_log.median)
            .against("a transaction a request", naive.median);
        for line in [no_log, naive, ours] {
            report.add(line);
        }
        if !inserts.is_empty() {
            let inserts = report::line("a one-row insert in between: p50", "ms", &inserts);
            let ours: Vec<f64> = c.iter().map(|found| found.p50_ms).collect();
            let ours = report::line("a call, durable, one at a time: p50", "ms", &ours)
                .against("one-row insert", inserts.median);
            report.add(inserts);
            report.add(ours);
        }
    }

    let before: i64 = wal_position(&pool).await?;
    let found = wrk::post(&bench.work, &at(&ours, "/hello"), 64, bench.seconds).await?;
    let wal = (wal_position(&pool).await? - before) as f64 / found.requests as f64;
    report.add(report::line("WAL a call at 64 connections", "B", &[wal]));

    for (path, what) in [
        ("/one-key", "read-modify-write of one key, 64 callers, all succeed"),
        ("/many-keys", "read-modify-write of 10 000 keys, 64 callers"),
        ("/increment", "blind increments of one key, 64 callers"),
    ] {
        let mut found = vec![];
        for _ in 0..bench.rounds {
            sqlx::query("checkpoint").execute(&pool).await?;
            found.push(wrk::post(&bench.work, &at(&ours, path), 64, bench.seconds).await?);
        }
        report.add(calls(what.to_owned(), &found));
    }
    report.add(report::line("resident memory after all this", "MiB", &[resident_mib(ours.pid())?]));
    for service in [ours, no_log, naive] {
        service.stop().await?;
    }
    pool.close().await;
    naive_pool.close().await;
    Ok(())
}

pub fn calls(what: String, found: &[wrk::Found]) -> report::Line {
    let rates: Vec<f64> = found.iter().map(|found| found.per_second).collect();
    let line = report::line(what, "calls/s", &rates);
    let median = found.iter().find(|found| found.per_second == line.median).copied();
    match median {
        Some(found) => line.with_latency(found.p50_ms, found.p99_ms),
        None => line,
    }
}

pub fn at(service: &Service, path: &str) -> String {
    format!("http://127.0.0.1:{}{path}", service.port)
}

pub fn url(cluster: &Embedded, database: &str) -> String {
    let url = cluster.url();
    let (server, query) = url.split_once('?').unwrap_or((&url, ""));
    let server = server.rsplit_once('/').map_or(server, |(server, _)| server);
    format!("{server}/{database}?{query}")
}

async fn wal_position(pool: &sqlx::PgPool) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar("select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint").fetch_one(pool).await?)
}

/// Starts the service and deploys the benchmark's scripts as a user would.
pub async fn start_picloud(bench: &Bench, database_url: &str, flags: &[&str]) -> anyhow::Result<Service> {
    let data_dir = bench.work.join("service");
    std::fs::create_dir_all(&data_dir)?;
    let (port, admin_port) = (free_port()?, free_port()?);
    let mut command = Command::new(&bench.picloud);
    command.arg("serve").arg("--data-dir").arg(&data_dir).args(["--database-url", database_url]).args([
        "--listen",
        &format!("127.0.0.1:{port}"),
        "--admin-listen",
        &format!("127.0.0.1:{admin_port}"),
    ]);
    command.args(flags);
    let service = Service::start(command, port, &bench.work.join("picloud.log"), "/readyz").await?;
    deploy(bench, &data_dir).await?;
    Ok(service)
}

pub async fn deploy(bench: &Bench, data_dir: &Path) -> anyhow::Result<()> {
    let apps = Path::new(env!("CARGO_MANIFEST_DIR")).join("apps");
    let output = Command::new(&bench.picloud)
        .arg("--data-dir")
        .arg(data_dir)
        .arg("deploy")
        .arg(&apps)
        .output()
        .await
        .context("failed to start `picloud deploy`")?;
    ensure!(output.status.success(), "`picloud deploy` said: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

async fn start_peer(bench: &Bench, variant: &str, database_url: Option<&str>) -> anyhow::Result<Service> {
    let port = free_port()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["peer", variant, "--port", &port.to_string()]);
    if let Some(url) = database_url {
        command.args(["--database-url", url]);
    }
    Service::start(command, port, &bench.work.join(format!("{variant}.log")), "/healthz").await
}
