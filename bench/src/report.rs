//! What was measured, as a table for people and as JSON.

use std::{collections::BTreeMap, fmt::Display, fs, path::Path, process::Command};

use anyhow::{Context, ensure};
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

use crate::Bench;

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// What was done.
    pub what: String,
    /// The median of all rounds, with its unit.
    pub median: f64,
    /// The lowest and the highest round.
    pub range: (f64, f64),
    /// Of `median` and `range`.
    pub unit: &'static str,
    /// Latencies in milliseconds, where there are any: median and 99th percentile of the median round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<(f64, f64)>,
    /// Compared with what, and how: `0.43 of no log`.
    pub ratios: Vec<String>,
}

#[derive(Serialize)]
pub struct Report {
    machine: String,
    settings: String,
    at: String,
    lines: Vec<Line>,
    /// What has to be known to read the lines.
    notes: Vec<String>,
    /// What could not be measured, and why.
    failures: Vec<String>,
    /// What does not fit into a table.
    details: BTreeMap<String, serde_json::Value>,
}

impl Report {
    pub fn new(bench: &Bench) -> Self {
        Self {
            machine: machine(),
            settings: format!(
                "{} rounds of {} s, median; load, service and PostgreSQL (fsync and synchronous_commit on) share the machine",
                bench.rounds,
                bench.seconds.as_secs()
            ),
            at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            lines: Vec::new(),
            notes: Vec::new(),
            failures: Vec::new(),
            details: BTreeMap::new(),
        }
    }

    /// Takes a line in, and says so at once: a benchmark is long.
    pub fn add(&mut self, line: Line) {
        eprintln!("  {:<58} {:>10} {:<8} {}", line.what, number(line.median), line.unit, line.ratios.join(", "));
        self.lines.push(line);
    }

    /// Takes lines in, in order.
    pub fn add_all(&mut self, lines: impl IntoIterator<Item = Line>) {
        lines.into_iter().for_each(|line| self.add(line));
    }

    /// Something that has to be known to read the lines.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Something for the JSON alone.
    pub fn detail(&mut self, name: impl Into<String>, detail: impl Serialize) {
        let detail = serde_json::to_value(detail).expect("details are plain data with text for keys");
        self.details.insert(name.into(), detail);
    }

    /// Something could not be measured; what was measured is reported all the same.
    pub fn failed(&mut self, what: impl Display, error: &anyhow::Error) {
        let failure = format!("{what}: {error:#}");
        eprintln!("  failed: {failure}");
        self.failures.push(failure);
    }

    /// An error if there was a failure.
    pub fn verdict(&self) -> anyhow::Result<()> {
        ensure!(self.failures.is_empty(), "failed to measure {}", self.failures.join("; "));
        Ok(())
    }

    pub fn print(&self) {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(["", "median", "range", "p50 / p99 ms", "ratio"]);
        for line in &self.lines {
            let (low, high) = line.range;
            table.add_row([
                line.what.clone(),
                format!("{} {}", number(line.median), line.unit),
                if low == high { String::new() } else { format!("{} – {}", number(low), number(high)) },
                line.latency_ms.map_or_else(String::new, |(p50, p99)| format!("{p50:.2} / {p99:.2}")),
                line.ratios.join("\n"),
            ]);
        }
        println!("{}\n{}\n{table}", self.machine, self.settings);
        for note in &self.notes {
            println!("- {note}");
        }
    }

    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("failed to write {}", path.display()))
    }
}

/// The rounds of one measurement.
pub fn line(what: impl Into<String>, unit: &'static str, rounds: &[f64]) -> Line {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |n: usize| sorted.get(n).copied().unwrap_or(f64::NAN);
    Line {
        what: what.into(),
        median: at(sorted.len() / 2),
        range: (at(0), at(sorted.len().saturating_sub(1))),
        unit,
        latency_ms: None,
        ratios: Vec::new(),
    }
}

impl Line {
    /// Compares with another line.
    pub fn against(mut self, name: &str, other: f64) -> Self {
        self.ratios.push(format!("{:.2} of {name}", self.median / other));
        self
    }

    pub fn with_latency(mut self, p50: f64, p99: f64) -> Self {
        self.latency_ms = Some((p50, p99));
        self
    }
}

/// As it is shown.
pub fn number(value: f64) -> String {
    if value.abs() >= 1_000.0 {
        let whole = format!("{value:.0}");
        let mut grouped = String::new();
        for (n, digit) in whole.chars().enumerate() {
            if n > 0 && (whole.len() - n) % 3 == 0 {
                grouped.push(' ');
            }
            grouped.push(digit);
        }
        grouped
    } else {
        format!("{value:.2}")
    }
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|info| {
        let line = info.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let memory_gib = fs::read_to_string("/proc/meminfo").ok().and_then(|info| {
        let kib: f64 = info.lines().next()?.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib / 1024.0 / 1024.0)
    });
    let postgres = Command::new("pg_config").arg("--version").output().ok();
    let postgres = postgres.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!(
        "{cores} cores ({}), {:.0} GiB, {}",
        model.unwrap_or_default(),
        memory_gib.unwrap_or_default(),
        postgres.unwrap_or_default()
    )
}
