//! `picloud logs`: what scripts say, and how they fail.

use anstyle::Style;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Output,
    args::{Global, Level, Logs},
    follow::Follow,
    path,
    print::{self, QUIET},
};
use crate::{client::Client, failure::Failure};

/// How many lines are shown when nobody says; before what comes, a few to see where one is.
const LINES: usize = 100;
const LINES_BEFORE: usize = 10;
/// The most that the server gives at once.
const PAGE_MAX: usize = 1_000;

/// Prints the newest lines, oldest first, and with `--follow` those that come, until ctrl-C.
pub(super) async fn run(global: &Global, arguments: &Logs) -> Result<(), Failure> {
    let client = global.client()?;
    let to = path::admin(&["apps", &arguments.in_app.app, "logs"]);
    let query = query(arguments);
    let lines = arguments.lines.unwrap_or(if arguments.follow { LINES_BEFORE } else { LINES });
    let newest = newest(&client, &to, &query, lines).await?;
    for line in newest.iter().rev().skip(newest.len().saturating_sub(lines)) {
        show(global.output, line);
    }
    if !arguments.follow {
        if newest.is_empty() && global.output == Output::Table {
            print::aside(&format!("{QUIET}Nothing is logged yet: a script says log::info(\"…\").{QUIET:#}\n"));
        }
        return Ok(());
    }
    let after = newest.first().and_then(|line| line.get("cursor")).and_then(Value::as_str).map(str::to_owned);
    Follow::new(&client, to + "/stream", query, after).run(|line| show(global.output, line)).await
}

/// At least so many lines, newest first, if there are so many.
async fn newest(
    client: &Client,
    to: &str,
    query: &[(&'static str, String)],
    lines: usize,
) -> Result<Vec<Value>, Failure> {
    #[derive(Deserialize)]
    struct Page {
        items: Vec<Value>,
        cursor: Option<String>,
    }
    let mut all = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let limit = (lines - all.len()).clamp(1, PAGE_MAX);
        let request = client.request(Method::GET, to).query(query).query(&[("limit", limit)]);
        let page: Page = client.read(request.query(&[("cursor", &cursor)])).await?;
        all.extend(page.items);
        cursor = page.cursor;
        if cursor.is_none() || all.len() >= lines {
            return Ok(all);
        }
    }
}

fn query(arguments: &Logs) -> Vec<(&'static str, String)> {
    let level = arguments.level.map(|level| level.as_str().to_owned());
    let given = [("script", arguments.script.clone()), ("level", level), ("invocation", arguments.invocation.clone())];
    given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn show(output: Output, line: &Value) {
    match output {
        Output::Json => print::object(line),
        Output::Table => print::text(&shown(line)),
    }
}

fn shown(line: &Value) -> String {
    let text = |name: &str| line.get(name).and_then(Value::as_str);
    let clock = print::clock(text("time").unwrap_or_default());
    let level = text("level").unwrap_or_default();
    let style = Level::of(level).map_or(QUIET, Level::style);
    let script = text("script_name").or(text("script")).unwrap_or("-");
    let message = print::plain(text("message").unwrap_or_default()).replace('\n', "\n    ");
    let reason = text("reason").map_or_else(String::new, |reason| format!("{} ", failed(reason)));
    let place = line.get("line").and_then(Value::as_u64).map_or_else(String::new, |line| format!(" (line {line})"));
    let data = line.get("data").map_or_else(String::new, |data| format!(" {QUIET}{data}{QUIET:#}"));
    format!(
        "{QUIET}{clock}{QUIET:#} {style}{level:5}{style:#} {script}  {style}{reason}{style:#}{message}{place}{data}\n"
    )
}

/// A failure's reason, in words.
fn failed(reason: &str) -> String {
    format!("{}:", reason.replace('_', " "))
}

impl Level {
    fn of(name: &str) -> Option<Self> {
        [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error].into_iter().find(|level| level.as_str() == name)
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    const fn style(self) -> Style {
        match self {
            Self::Trace | Self::Debug => QUIET,
            Self::Info => print::GOOD,
            Self::Warn => print::CAREFUL,
            Self::Error => print::BAD,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plain(line: &Value) -> String {
        anstream::adapter::strip_str(&shown(line)).to_string()
    }

    #[test]
    fn a_line_says_when_how_loud_and_by_whom() {
        let line = json!({
            "time": "2026-01-02T03:04:05.678901Z", "level": "warn", "script_name": "cart", "script": "scr_1",
            "message": "two\nlines \u{1b}[2J", "data": { "n": 1 },
        });
        let failure = json!({
            "time": "2026-01-02T03:04:05.678901Z", "level": "error", "script_name": null, "script": "scr_1",
            "message": "boom", "reason": "timed_out", "line": 3,
        });
        insta::assert_snapshot!([plain(&line), plain(&failure)].concat(), @r#"
        03:04:05.678 warn  cart  two
            lines �[2J {"n":1}
        03:04:05.678 error scr_1  timed out: boom (line 3)
        "#);
    }
}
