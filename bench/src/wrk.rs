//! Load from `wrk`, which takes less of the machine than anything we would write.

use std::{fs, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, ensure};
use tokio::process::Command;

/// What one round of load found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub requests: u64,
}

/// Posts the same JSON from a number of connections for a while. Every answer has to be a success.
pub async fn post(work: &Path, url: &str, connections: usize, lasting: Duration) -> anyhow::Result<Found> {
    let request = r#"wrk.method = "POST"
wrk.body = '{"name":"zed","count":7}'
wrk.headers["content-type"] = "application/json"
"#;
    load(work, request, url, connections, lasting).await
}

/// Gets the same thing with a key, as [`post`] does.
pub async fn get(work: &Path, url: &str, key: &str, connections: usize, lasting: Duration) -> anyhow::Result<Found> {
    let request = format!("wrk.headers[\"authorization\"] = \"Bearer {key}\"\n");
    load(work, &request, url, connections, lasting).await
}

async fn load(work: &Path, request: &str, url: &str, connections: usize, lasting: Duration) -> anyhow::Result<Found> {
    let script = work.join("load.lua");
    let counted = r#"done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    summary.errors.status, summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"#;
    fs::write(&script, [request, counted].concat())?;
    let output = Command::new("wrk")
        .args(["--threads", "1", "--connections", &connections.to_string(), "--latency", "--timeout", "30s"])
        .args(["--duration", &format!("{}s", lasting.as_secs())])
        .arg("--script")
        .arg(&script)
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .await
        .context("failed to start wrk: `scripts/install bench` installs it")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<u64> = text
        .lines()
        .find_map(|line| line.strip_prefix("RESULT "))
        .with_context(|| format!("wrk said: {text}{}", String::from_utf8_lossy(&output.stderr)))?
        .split(' ')
        .filter_map(|number| number.parse().ok())
        .collect();
    let [requests, duration_us, p50_us, p99_us, bad, broken] = numbers[..] else {
        anyhow::bail!("wrk said: {text}");
    };
    ensure!(
        bad == 0 && broken == 0,
        "{bad} answers were no success and {broken} requests broke, of {requests} at {url}"
    );
    Ok(Found {
        per_second: requests as f64 / (duration_us as f64 / 1e6),
        p50_ms: p50_us as f64 / 1e3,
        p99_ms: p99_us as f64 / 1e3,
        requests,
    })
}
