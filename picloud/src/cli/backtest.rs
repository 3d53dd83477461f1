//! Runs of the past, run again: one with all its differences, or the last ones with a version that is not active yet.

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Output,
    args::{Global, InApp},
    path,
    print::{self, BAD, CAREFUL, GOOD, QUIET},
};
use crate::{client::Client, failure::Failure};

/// So much of a value is shown.
const VALUE_CHARS: usize = 300;

/// What is to be run instead of what ran.
#[derive(Clone, Debug, Args)]
#[group(multiple = false)]
pub struct Instead {
    /// With this version of the script, by its number or id
    #[arg(long, value_name = "VERSION")]
    on: Option<String>,
    /// With this source, which need not be deployed
    #[arg(long, value_name = "FILE")]
    source: Option<PathBuf>,
}

impl Instead {
    fn body(&self) -> Result<Value, Failure> {
        match (&self.on, &self.source) {
            (Some(version), _) => Ok(json!({ "version": version })),
            (None, Some(file)) => {
                let source = std::fs::read_to_string(file)
                    .map_err(|error| Failure::failed(format!("failed to read {}: {error}", file.display())))?;
                Ok(json!({ "source": source }))
            }
            (None, None) => Ok(json!({})),
        }
    }
}

/// `picloud backtest`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    picloud backtest checkout --source checkout.rhai\n  \
    picloud backtest checkout --on 4 --last 1000\n\n\
    Nothing is committed and nobody is called: each run gets what was recorded of it.")]
pub struct Backtest {
    /// Whose runs: a script's name or id
    script: String,
    /// What they are run with
    #[command(flatten)]
    instead: Instead,
    /// Only runs through this route
    #[arg(long, value_name = "ROUTE")]
    route: Option<String>,
    /// Only runs for this trigger
    #[arg(long, value_name = "TRIGGER")]
    trigger: Option<String>,
    /// How many of the last ones, up to 1000 [default: 100]
    #[arg(long, value_name = "COUNT")]
    last: Option<usize>,
    /// Which app
    #[command(flatten)]
    in_app: InApp,
}

pub(super) async fn run(global: &Global, backtest: &Backtest) -> Result<(), Failure> {
    let Backtest { script, instead, route, trigger, last, in_app } = backtest;
    let mut body = instead.body()?;
    if body == json!({}) {
        let next = "say with what the runs are to be run again: --on VERSION, or --source FILE";
        return Err(Failure::usage(next));
    }
    body["route"] = json!(route);
    body["trigger"] = json!(trigger);
    body["limit"] = json!(last);
    let to = path::admin(&["apps", &in_app.app, "scripts", script, "backtest"]);
    let found: Value = global.client()?.send_json(Method::POST, &to, &body).await?;
    match global.output {
        Output::Json => print::object(&found),
        Output::Table => print::text(&summed(&found)),
    }
    Ok(())
}

/// `picloud invocations replay`.
pub(super) async fn replay(
    global: &Global,
    client: &Client,
    invocation: &str,
    instead: &Instead,
    in_app: &InApp,
) -> Result<(), Failure> {
    let to = path::admin(&["apps", &in_app.app, "invocations", invocation, "replay"]);
    let found: Value = client.send_json(Method::POST, &to, &instead.body()?).await?;
    match global.output {
        Output::Json => print::object(&found),
        Output::Table => print::text(&told(&found)),
    }
    Ok(())
}

/// How many came to something else, and some of these.
fn summed(backtest: &Value) -> String {
    let count = |name: &str| backtest[name].as_u64().unwrap_or_default();
    let mut text = String::new();
    let (runs, same) = (count("runs"), count("same"));
    let style = if same == runs { GOOD } else { CAREFUL };
    if runs == 0 {
        let _ = writeln!(text, "{CAREFUL}No run could be run again.{CAREFUL:#}");
    } else {
        let _ = writeln!(text, "{style}{same} of {runs} runs would come to the same.{style:#}");
    }
    for (name, said) in [
        ("answers_differ", "would answer something else"),
        ("effects_differ", "would write or send something else"),
        ("logs_differ", "would log something else"),
        ("calls_differ", "would call others otherwise"),
        ("uncertain", "ask for something that was not recorded: what came of them is a guess"),
        ("left_out", "more could not be run again: too little is recorded of them, or they are not over"),
    ] {
        if count(name) > 0 {
            let _ = writeln!(text, "{:>5} {said}", count(name));
        }
    }
    if backtest["is_cut"] == true {
        let _ = writeln!(text, "{CAREFUL}The time was up before all were run: ask for fewer with --last.{CAREFUL:#}");
    }
    for example in backtest["examples"].as_array().into_iter().flatten() {
        let _ = write!(text, "\n{}", told(example));
    }
    text
}

/// A run that was run again, as a person reads it.
fn told(replayed: &Value) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{QUIET}invocation{QUIET:#} {}", replayed["invocation"].as_str().unwrap_or("-"));
    let differences = replayed["differences"].as_array().map_or(&[][..], Vec::as_slice);
    if differences.is_empty() {
        let _ = writeln!(text, "{GOOD}It would come to the same.{GOOD:#}");
    }
    for (part, heading) in
        [("answer", "answer"), ("effects", "writes and messages"), ("logs", "logs"), ("calls", "calls outside")]
    {
        let mut of_part = differences.iter().filter(|difference| difference["part"] == part).peekable();
        if of_part.peek().is_some() {
            let _ = writeln!(text, "{heading}");
        }
        for difference in of_part {
            let _ = writeln!(text, "  {QUIET}{}{QUIET:#}", print::plain(difference["at"].as_str().unwrap_or_default()));
            for (member, mark, style) in [("recorded", '-', BAD), ("replayed", '+', GOOD)] {
                if let Some(value) = difference.get(member) {
                    let _ = writeln!(text, "  {style}{mark} {}{style:#}", print::short(&shown(value), VALUE_CHARS));
                }
            }
        }
    }
    let lacking = replayed["lacking"].as_array().map_or(&[][..], Vec::as_slice);
    if !lacking.is_empty() {
        let _ = writeln!(text, "not recorded");
    }
    for lacking in lacking {
        let [what, instead] = ["what", "instead"].map(|name| lacking[name].as_str().unwrap_or_default());
        let _ = writeln!(text, "  {CAREFUL}? {}{CAREFUL:#}, taken as: {instead}", print::plain(what));
    }
    text
}

/// A log line as a line, all else as JSON.
fn shown(value: &Value) -> String {
    let Some((level, message)) = value["level"].as_str().zip(value["message"].as_str()) else {
        return value.to_string();
    };
    let data = value.get("data").map_or_else(String::new, |data| format!(" {data}"));
    format!("{level} {message}{data}")
}
