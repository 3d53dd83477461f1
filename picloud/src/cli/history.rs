//! `picloud history`: who changed a thing, when, and from what to what.

use std::fmt::Write as _;

use anyhow::Context;
use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::{
    Output,
    args::{Global, InApp},
    path,
    print::{self, BAD, GOOD, QUIET},
    searched::{GoOn, Page},
};
use crate::{difference, failure::Failure};

/// So much of a value fits on a line.
const VALUE_CHARS: usize = 100;

/// `picloud history`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    picloud history script:checkout --app shop\n  \
    picloud history kv:orders/42 --app shop\n  \
    picloud history rte_01J… --app shop -n 5")]
pub struct History {
    /// Such as script:checkout, kv:carts/42, env:currency, rte_01J…, trg_01J… or dl_01J…
    subject: String,
    /// How many of its last changes
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    lines: u16,
    /// Where to go on
    #[command(flatten)]
    go_on: GoOn,
    /// Which app
    #[command(flatten)]
    in_app: InApp,
}

/// Prints its last changes, the newest last.
pub(super) async fn run(global: &Global, wanted: &History) -> Result<(), Failure> {
    let client = global.client()?;
    let to = path::admin(&["apps", &wanted.in_app.app, "events", "history"]);
    let query = [("subject", wanted.subject.clone()), ("limit", wanted.lines.to_string())];
    let cursor = [("cursor", &wanted.go_on.cursor)];
    let page: Value = client.read(client.request(Method::GET, &to).query(&query).query(&cursor)).await?;
    if global.output == Output::Json {
        print::object(&page);
        return Ok(());
    }
    let page: Page = serde_json::from_value(page).context("failed to read a page")?;
    if !page.is_cut() {
        if page.items.is_empty() {
            print::aside(&format!("{QUIET}nothing is known to have happened to `{}`{QUIET:#}\n", wanted.subject));
        }
        if page.cursor.is_some() {
            print::aside(&format!("{QUIET}there is more before this; -n shows it{QUIET:#}\n"));
        }
    }
    print::text(&page.items.iter().rev().map(told).collect::<String>());
    Ok(())
}

/// A change as a person reads it.
fn told(entry: &Value) -> String {
    let text = |name: &str| print::plain(entry[name].as_str().unwrap_or_default());
    let mut told = format!(
        "{QUIET}{}{QUIET:#}  {:20} by {}  {QUIET}{}{QUIET:#}\n",
        text("time"),
        text("type"),
        text("by"),
        text("id")
    );
    for change in entry["changes"].as_array().into_iter().flatten() {
        let field = print::plain(change["field"].as_str().unwrap_or_default());
        let value = |name: &str| print::short(&change[name].to_string(), VALUE_CHARS);
        let _ = match (change["before"].is_null(), change["after"].is_null()) {
            (true, _) => writeln!(told, "    {field}: {GOOD}{}{GOOD:#}", value("after")),
            (false, true) => writeln!(told, "    {field}: {BAD}{}{BAD:#} → gone", value("before")),
            (false, false) => {
                writeln!(told, "    {field}: {BAD}{}{BAD:#} → {GOOD}{}{GOOD:#}", value("before"), value("after"))
            }
        };
    }
    if let Some(diff) = entry["diff"].as_str() {
        difference::show_diff(&mut told, &print::plain(diff));
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_says_who_made_what_of_what() {
        let entry = json!({
            "id": "evt_1", "time": "2026-03-01T02:00:00.000000Z", "type": "route.updated", "by": "ada@example.com",
            "changes": [
                { "field": "path", "before": "/a", "after": "/b" },
                { "field": "rate_limit.per_second", "before": null, "after": 5 },
                { "field": "host", "before": "shop.example.com", "after": null },
            ],
            "diff": "@@ -1 +1 @@\n-1\n+2\n",
        });
        insta::assert_snapshot!(anstream::adapter::strip_str(&told(&entry)).to_string(), @r#"
        2026-03-01T02:00:00.000000Z  route.updated        by ada@example.com  evt_1
            path: "/a" → "/b"
            rate_limit.per_second: 5
            host: "shop.example.com" → gone
            @@ -1 +1 @@
            -1
            +2
        "#);
    }
}
