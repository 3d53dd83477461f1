//! `picloud invocations`: what ran, and one run in full.

use std::fmt::Write as _;

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Output,
    args::{Global, InApp},
    backtest::{self, Instead},
    path,
    print::{self, BAD, GOOD, QUIET},
    searched::{GoOn, Page},
    tree,
};
use crate::{client::Client, failure::Failure};

/// How many are shown when nobody says.
const RUNS: usize = 20;
/// The most that the server gives at once.
const PAGE_MAX: usize = 1_000;
/// So much of an error fits beside the rest.
const ERROR_CHARS: usize = 100;

/// `picloud invocations`.
#[derive(Clone, Debug, Subcommand)]
pub enum Invocations {
    /// Show runs, newest first
    #[command(after_help = "Examples:\n  \
        picloud invocations ls --app shop --status failed\n  \
        picloud invocations ls --app shop --search 'order 42'\n  \
        picloud invocations ls --app shop --script checkout --min-duration-ms 500 --since 2026-03-01T00:00:00Z")]
    Ls(Box<Ls>),
    /// Show one with what it logged, what it did and what followed from it
    #[command(after_help = "Example, to find out why order 42 never shipped:\n  \
        picloud invocations ls --app shop --search 'order 42'\n  \
        picloud invocations show inv_01J… --app shop --tree\n  \
        picloud history kv:orders/42 --app shop")]
    Show {
        /// Such as inv_01J…
        invocation: String,
        /// Instead: all that it belongs to, from what began it to what it set off, with what became of each
        #[arg(long)]
        tree: bool,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
    /// Run one again against its recording, and show what would be otherwise now: nothing is committed, nobody is called
    #[command(after_help = "Examples:\n  \
        picloud invocations replay inv_01J… --app shop\n  \
        picloud invocations replay inv_01J… --app shop --source checkout.rhai")]
    Replay {
        /// Such as inv_01J…
        invocation: String,
        /// What it is run with [default: the version that ran]
        #[command(flatten)]
        instead: Instead,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
}

/// `picloud invocations ls`.
#[derive(Clone, Debug, Args)]
pub struct Ls {
    /// Only this script's, by name or id
    #[arg(long, value_name = "SCRIPT")]
    script: Option<String>,
    /// Only of this version
    #[arg(long, value_name = "VERSION")]
    of_version: Option<String>,
    /// Only through this route
    #[arg(long, value_name = "ROUTE")]
    route: Option<String>,
    /// Only for this trigger
    #[arg(long, value_name = "TRIGGER")]
    trigger: Option<String>,
    /// Only in the name of this account or key
    #[arg(long, value_name = "ID")]
    principal: Option<String>,
    /// Only those of which this came
    #[arg(long, value_enum, value_name = "STATUS")]
    status: Option<Status>,
    /// Only those that took so long, or longer
    #[arg(long, value_name = "MS")]
    min_duration_ms: Option<u64>,
    /// Only those that logged these words, or failed with them: 'order 42', '"in this order"', 'this or that', '-not'
    #[arg(long, value_name = "WORDS")]
    search: Option<String>,
    /// Only those that began then, or later
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only those that began before
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// How many [default: 20]
    #[arg(short = 'n', long, value_name = "COUNT")]
    lines: Option<usize>,
    /// Where to go on
    #[command(flatten)]
    go_on: GoOn,
    /// Which app
    #[command(flatten)]
    in_app: InApp,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Status {
    /// Nothing yet
    Running,
    /// It ended well
    Ok,
    /// It did not
    Failed,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ok => "ok",
            Self::Failed => "failed",
        }
    }
}

pub(super) async fn run(global: &Global, command: &Invocations) -> Result<(), Failure> {
    let client = global.client()?;
    match command {
        Invocations::Ls(ls) => list(global, &client, ls).await,
        Invocations::Show { invocation, tree: true, in_app } => {
            let to = path::admin(&["apps", &in_app.app, "invocations", invocation, "tree"]);
            let found: Value = client.get(&to).await?;
            match global.output {
                Output::Json => print::object(&found),
                Output::Table => print::text(&tree::told(&found)),
            }
            Ok(())
        }
        Invocations::Show { invocation, tree: false, in_app } => {
            let found: Value = client.get(&path::admin(&["apps", &in_app.app, "invocations", invocation])).await?;
            match global.output {
                Output::Json => print::object(&found),
                Output::Table => print::text(&told(&found)),
            }
            Ok(())
        }
        Invocations::Replay { invocation, instead, in_app } => {
            backtest::replay(global, &client, invocation, instead, in_app).await
        }
    }
}

async fn list(global: &Global, client: &Client, ls: &Ls) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Count {
        count: u64,
        is_exact: bool,
    }
    let to = path::admin(&["apps", &ls.in_app.app, "invocations"]);
    let query = ls.query();
    let wanted = ls.lines.unwrap_or(RUNS);
    let mut runs = Vec::new();
    let mut page = Page { cursor: ls.go_on.cursor.clone(), ..Page::default() };
    while runs.len() < wanted {
        let limit = (wanted - runs.len()).min(PAGE_MAX);
        let request = client.request(Method::GET, &to).query(&query).query(&[("limit", limit)]);
        page = client.read(request.query(&[("cursor", &page.cursor)])).await?;
        runs.append(&mut page.items);
        if page.cursor.is_none() || page.searched_to.is_some() {
            break;
        }
    }
    if global.output == Output::Json {
        print::page(&runs, page.cursor.as_deref());
        page.is_cut();
        return Ok(());
    }
    for run in &mut runs {
        let result = run.get("http_status").or_else(|| run.get("message")).cloned().unwrap_or_default();
        run["result"] = match result {
            Value::String(error) => print::short(&error, ERROR_CHARS).into(),
            other => other,
        };
        run["duration"] = run["duration_us"].as_f64().map_or(Value::Null, |us| print::duration(us).into());
    }
    print::rows(global.output, &runs, &["started_at", "id", "script_name", "status", "duration", "result"]);
    if !page.is_cut() && page.cursor.is_some() {
        let count: Count = client.read(client.request(Method::GET, &format!("{to}/count")).query(&query)).await?;
        let least = if count.is_exact { "" } else { "at least " };
        print::aside(&format!("{QUIET}{} of {least}{}; -n shows more{QUIET:#}\n", runs.len(), count.count));
    }
    Ok(())
}

impl Ls {
    fn query(&self) -> Vec<(&'static str, String)> {
        let given = [
            ("script", self.script.clone()),
            ("version", self.of_version.clone()),
            ("route", self.route.clone()),
            ("trigger", self.trigger.clone()),
            ("principal", self.principal.clone()),
            ("status", self.status.map(|status| status.as_str().to_owned())),
            ("min_duration_ms", self.min_duration_ms.map(|ms| ms.to_string())),
            ("q", self.search.clone()),
            ("since", self.since.clone()),
            ("until", self.until.clone()),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// A run as a person reads it.
fn told(run: &Value) -> String {
    let text = |name: &str| run[name].as_str().unwrap_or("-").to_owned();
    let mut told = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(told, "{QUIET}{name:<12}{QUIET:#} {value}");
    };
    line("invocation", &text("id"));
    line("script", &format!("{} ({})", text("script_name"), text("version")));
    line("why", &format!("{}, attempt {}", text("invocation_type").replace('_', " "), run["attempt"]));
    for (name, member) in [("route", "route"), ("trigger", "trigger"), ("item", "outbox_id"), ("request", "request_id")]
    {
        if run[member].is_string() {
            line(name, &text(member));
        }
    }
    if run["actor"].is_string() {
        line("by", &text("actor"));
    }
    line("began", &text("started_at"));
    let duration = print::duration(run["duration_us"].as_f64().unwrap_or_default());
    match run["status"].as_str() {
        Some("ok") => line("ended", &format!("{GOOD}{}{GOOD:#} in {duration}", run["http_status"])),
        Some("failed") => {
            line("failed", &format!("{} after {duration}", text("reason").replace('_', " ")));
            line("error", &format!("{BAD}{}{BAD:#}", print::plain(&text("message"))));
        }
        _ => line("ended", "not yet"),
    }
    for logged in run["logs"].as_array().into_iter().flatten() {
        let message = print::plain(logged["message"].as_str().unwrap_or_default());
        line(&format!("log {}", logged["level"].as_str().unwrap_or_default()), &message);
    }
    told.push('\n');
    for event in run["timeline"].as_array().into_iter().flatten() {
        let text = |name: &str| event[name].as_str().unwrap_or_default();
        let _ = writeln!(
            told,
            "{QUIET}{}{QUIET:#}  {:24} {}",
            print::clock(text("time")),
            text("type"),
            print::plain(text("subject"))
        );
    }
    told
}
