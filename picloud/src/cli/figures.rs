//! `picloud errors` and `picloud metrics`: what goes wrong, and how it goes.

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::{
    Output,
    args::{Global, InApp},
    path,
    print::{self, QUIET},
};
use crate::failure::Failure;

/// So much of an error fits beside the rest.
const ERROR_CHARS: usize = 100;

/// `picloud errors`.
#[derive(Clone, Debug, Args)]
pub struct Errors {
    /// Only this script's, by name or id
    #[arg(long, value_name = "SCRIPT")]
    script: Option<String>,
    /// Which app
    #[command(flatten)]
    in_app: InApp,
}

/// `picloud metrics`.
#[derive(Clone, Debug, Args)]
pub struct Metrics {
    /// Only this script's, by name or id
    #[arg(long, value_name = "SCRIPT")]
    script: Option<String>,
    /// From then on [default: an hour ago]
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until then [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Seconds between two points, whole minutes
    #[arg(long, value_name = "SECONDS")]
    step_s: Option<u64>,
    /// Which app
    #[command(flatten)]
    in_app: InApp,
}

pub(super) async fn errors(global: &Global, arguments: &Errors) -> Result<(), Failure> {
    let client = global.client()?;
    let to = path::admin(&["apps", &arguments.in_app.app, "errors"]);
    let page: Value = client.read(client.request(Method::GET, &to).query(&[("script", &arguments.script)])).await?;
    let mut groups = page["items"].as_array().cloned().unwrap_or_default();
    if global.output == Output::Table {
        if groups.is_empty() {
            print::aside(&format!("{QUIET}No run has failed.{QUIET:#}\n"));
            return Ok(());
        }
        for group in &mut groups {
            group["message"] = print::short(group["message"].as_str().unwrap_or_default(), ERROR_CHARS).into();
        }
    }
    print::rows(global.output, &groups, &["failures", "last_at", "script_name", "reason", "message", "invocation"]);
    Ok(())
}

pub(super) async fn metrics(global: &Global, arguments: &Metrics) -> Result<(), Failure> {
    let client = global.client()?;
    let to = path::admin(&["apps", &arguments.in_app.app, "metrics"]);
    let query = [
        ("script", arguments.script.clone()),
        ("since", arguments.since.clone()),
        ("until", arguments.until.clone()),
        ("step_s", arguments.step_s.map(|step| step.to_string())),
    ];
    let figures: Value = client.read(client.request(Method::GET, &to).query(&query)).await?;
    if global.output == Output::Json {
        print::object(&figures);
        return Ok(());
    }
    let mut rows = figures["scripts"].as_array().cloned().unwrap_or_default();
    let mut total = figures["total"].clone();
    total["script_name"] = "all".into();
    rows.push(total);
    for row in &mut rows {
        for (name, from) in [("mean", "mean_us"), ("p50", "p50_us"), ("p95", "p95_us"), ("p99", "p99_us")] {
            row[name] = row[from].as_f64().map_or(Value::Null, |us| print::duration(us).into());
        }
    }
    print::rows(global.output, &rows, &["script_name", "ok", "failed", "mean", "p50", "p95", "p99"]);
    let outbox = &figures["outbox"];
    let oldest = outbox["oldest_at"].as_str().map_or_else(String::new, |at| format!(", the oldest since {at}"));
    let drained = outbox["drained_in_s"].as_u64().filter(|_| outbox["pending"] != 0);
    let drained = drained.map_or_else(String::new, |seconds| format!(", done in {seconds} s at the present pace"));
    print::text(&format!("\n{QUIET}owed{QUIET:#}  {}{oldest}{drained}\n", outbox["pending"]));
    Ok(())
}
