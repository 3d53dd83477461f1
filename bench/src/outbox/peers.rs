//! Two queues of other makers, each driven by a small program in `bench/peers`, over the same socket to the same PostgreSQL.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, ensure};
use picloud::embedded::Embedded;
use serde::{Deserialize, Serialize};
use tokio::{process::Command, time::timeout};

use super::Outbox;
use crate::{
    append::database,
    calls::url,
    report::{self, Line, Report},
};

/// The oldest Node that they run on.
const NODE: (u32, u32) = (22, 18);

/// Callers at once, where jobs are added and run together.
pub const ADDERS: usize = 64;

/// Beyond what it was asked to take: jobs are added first, and the schema is made.
const PATIENCE: Duration = Duration::from_secs(120);

/// A peer, and how it is set up. What each means is in its own program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Configuration {
    GraphileDefault,
    GraphileBatching,
    PgBossDefault,
    PgBossTuned,
}

impl Configuration {
    pub const ALL: [Self; 4] = [Self::GraphileDefault, Self::GraphileBatching, Self::PgBossDefault, Self::PgBossTuned];

    pub const fn name(self) -> &'static str {
        match self {
            Self::GraphileDefault => "graphile-worker, default",
            Self::GraphileBatching => "graphile-worker, batching",
            Self::PgBossDefault => "pg-boss, default",
            Self::PgBossTuned => "pg-boss, tuned",
        }
    }

    /// The program, and what it calls this.
    const fn driven_as(self) -> (&'static str, &'static str) {
        match self {
            Self::GraphileDefault => ("graphile-worker", "default"),
            Self::GraphileBatching => ("graphile-worker", "batching"),
            Self::PgBossDefault => ("pg-boss", "default"),
            Self::PgBossTuned => ("pg-boss", "tuned"),
        }
    }

    const fn database(self) -> &'static str {
        match self {
            Self::GraphileDefault => "graphile_default",
            Self::GraphileBatching => "graphile_batching",
            Self::PgBossDefault => "pgboss_default",
            Self::PgBossTuned => "pgboss_tuned",
        }
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Latency,
    Drain,
    Together,
}

/// What a program is told.
#[derive(Serialize)]
struct Asked<'a> {
    configuration: &'a str,
    mode: Mode,
    url: String,
    samples: usize,
    jobs: usize,
    adders: usize,
    /// How long jobs are added and run together.
    seconds: u64,
    /// When a drain or the samples end, however few there were by then.
    at_most_seconds: u64,
}

/// What it found. Latencies are NaN where there are none.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Found {
    #[serde(default = "nothing")]
    per_second: f64,
    #[serde(default = "nothing")]
    p50_ms: f64,
    #[serde(default = "nothing")]
    p99_ms: f64,
    /// Of how many, how many were left, and the like.
    #[serde(flatten)]
    more: serde_json::Map<String, serde_json::Value>,
}

const fn nothing() -> f64 {
    f64::NAN
}

impl Found {
    /// What is compared.
    const fn figure(&self, mode: Mode) -> f64 {
        match mode {
            Mode::Latency => self.p50_ms,
            Mode::Drain | Mode::Together => self.per_second,
        }
    }
}

/// What they came to in one kind of measurement.
pub struct Theirs {
    mode: Mode,
    rounds: Vec<(Configuration, Vec<Found>)>,
}

impl Theirs {
    pub fn new(mode: Mode) -> Self {
        Self { mode, rounds: Configuration::ALL.map(|configuration| (configuration, Vec::new())).into() }
    }

    /// Measures each once more, where they are installed.
    pub async fn measure(&mut self, outbox: &Outbox<'_>, report: &mut Report) {
        let Some(peers) = &outbox.peers else { return };
        for (configuration, rounds) in &mut self.rounds {
            // All its time goes by waiting for the next look: looking on again would show nothing new.
            let is_waiting = *configuration == Configuration::PgBossDefault && self.mode != Mode::Together;
            if is_waiting && !rounds.is_empty() {
                continue;
            }
            match peers.measure(outbox, *configuration, self.mode).await {
                Ok(found) => rounds.push(found),
                // What one of them cannot do must not cost the others, nor us.
                Err(error) => report.failed(configuration.name(), &error),
            }
        }
    }

    /// Reports their lines and then ours, with how it compares.
    pub fn report(self, what: &str, ours: Line, report: &mut Report) {
        let unit = if self.mode == Mode::Latency { "ms" } else { "jobs/s" };
        let mut medians = Vec::new();
        for (configuration, rounds) in self.rounds.iter().filter(|(_, rounds)| !rounds.is_empty()) {
            let figures: Vec<f64> = rounds.iter().map(|found| found.figure(self.mode)).collect();
            let mut line = report::line(format!("{}: {what}", configuration.name()), unit, &figures);
            let median = rounds.iter().find(|found| found.figure(self.mode) == line.median);
            if let Some(found) = median.filter(|found| found.p50_ms.is_finite()) {
                line = line.with_latency(found.p50_ms, found.p99_ms);
            }
            medians.push((*configuration, line.median));
            report.detail(format!("{}, each round", line.what), rounds);
            report.add(line);
        }
        report.add(compared(ours, self.mode, &medians));
    }
}

fn compared(mut ours: Line, mode: Mode, medians: &[(Configuration, f64)]) -> Line {
    let of = |wanted| medians.iter().find(|(configuration, _)| *configuration == wanted).map(|(_, median)| *median);
    let better = if mode == Mode::Latency { f64::min } else { f64::max };
    let defaults = [of(Configuration::GraphileDefault), of(Configuration::PgBossDefault)];
    if let Some(best) = defaults.into_iter().flatten().reduce(better) {
        ours = ours.against("the better default", best);
    }
    for tuned in [Configuration::GraphileBatching, Configuration::PgBossTuned] {
        if let Some(median) = of(tuned) {
            ours = ours.against(tuned.name(), median);
        }
    }
    ours
}

/// All of them, each with a database of its own.
pub struct Peers {
    folder: PathBuf,
    urls: Vec<(Configuration, String)>,
}

impl Peers {
    /// None, when they or their Node are not installed.
    pub async fn find(cluster: &Embedded) -> anyhow::Result<Option<Self>> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers");
        if !folder.join("node_modules").exists() || !has_node().await {
            eprintln!(
                "  peers are left out: they are not installed, or no Node {NODE:?}; `scripts/bench` installs both"
            );
            return Ok(None);
        }
        let mut urls = Vec::new();
        for configuration in Configuration::ALL {
            database(cluster, configuration.database()).await?.close().await;
            urls.push((configuration, url(cluster, configuration.database())));
        }
        Ok(Some(Self { folder, urls }))
    }

    async fn measure(&self, outbox: &Outbox<'_>, configuration: Configuration, mode: Mode) -> anyhow::Result<Found> {
        outbox.instance.checkpoint().await?;
        let url = self.urls.iter().find(|(of, _)| *of == configuration).map(|(_, url)| url.clone());
        let (program, called) = configuration.driven_as();
        let asked = Asked {
            configuration: called,
            mode,
            url: url.context("a peer without a database")?,
            samples: outbox.options.samples,
            jobs: outbox.options.peer_jobs,
            adders: ADDERS,
            seconds: outbox.bench.seconds.as_secs(),
            at_most_seconds: outbox.options.peer_seconds,
        };
        let mut command = Command::new("node");
        command.arg(self.folder.join(format!("{program}.mjs"))).arg(serde_json::to_string(&asked)?);
        command.current_dir(&self.folder).env("NODE_ENV", "production").stdin(Stdio::null()).kill_on_drop(true);
        let at_most = PATIENCE + outbox.bench.seconds + Duration::from_secs(outbox.options.peer_seconds);
        let output = timeout(at_most, command.output())
            .await
            .with_context(|| format!("{} did not end within {at_most:?}", configuration.name()))??;
        let said = String::from_utf8_lossy(&output.stdout);
        let why = || format!("{} said: {said}{}", configuration.name(), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), why());
        let found = said.lines().last().unwrap_or_default();
        serde_json::from_str(found).with_context(why)
    }
}

async fn has_node() -> bool {
    let output = Command::new("node").arg("--version").stdin(Stdio::null()).output().await;
    let Ok(output) = output else { return false };
    let text = String::from_utf8_lossy(&output.stdout).trim().trim_start_matches('v').to_owned();
    let mut numbers = text.split('.').map_while(|number| number.parse::<u32>().ok());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()) >= NODE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_compared_with_the_better_default_and_with_what_is_tuned() {
        let medians = [
            (Configuration::GraphileDefault, 4.0),
            (Configuration::GraphileBatching, 8.0),
            (Configuration::PgBossDefault, 2.0),
            (Configuration::PgBossTuned, 16.0),
        ];
        let ours = |mode| compared(report::line("ours", "", &[4.0]), mode, &medians).ratios;
        let tuned = ["0.50 of graphile-worker, batching", "0.25 of pg-boss, tuned"];
        assert_eq!(ours(Mode::Drain), ["1.00 of the better default", tuned[0], tuned[1]]);
        assert_eq!(ours(Mode::Latency), ["2.00 of the better default", tuned[0], tuned[1]]);
        assert_eq!(compared(report::line("ours", "", &[4.0]), Mode::Drain, &[]).ratios, [""; 0], "none is installed");
    }
}
