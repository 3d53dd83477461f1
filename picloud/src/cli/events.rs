//! `picloud events`: what happened, as CloudEvents.

use reqwest::Method;
use serde_json::Value;

use super::{
    Output,
    args::{Events, Global},
    export,
    follow::Follow,
    path,
    print::{self, QUIET},
    searched::Page,
};
use crate::failure::Failure;

/// So much of an event's data fits beside the rest.
const DATA_CHARS: usize = 120;

/// Prints the newest there are, or (`--follow`) what comes, until ctrl-C, or writes (`--to`) all there are to a file.
pub(super) async fn run(global: &Global, arguments: &Events) -> Result<(), Failure> {
    let client = global.client()?;
    let to = match &arguments.app {
        Some(app) => path::admin(&["apps", app, "events"]),
        None => path::admin(&["events"]),
    };
    let query = query(arguments);
    if arguments.follow {
        return Follow::new(&client, to + "/stream", query, None).run(|event| show(global.output, event)).await;
    }
    if let Some(file) = &arguments.to {
        return export::run(&client, &to, &query, file).await;
    }
    let cursor = [("cursor", &arguments.go_on.cursor)];
    let page: Page = client.read(client.request(Method::GET, &to).query(&query).query(&cursor)).await?;
    for event in page.items.iter().rev() {
        show(global.output, event);
    }
    page.is_cut();
    Ok(())
}

fn query(arguments: &Events) -> Vec<(&'static str, String)> {
    let given = [
        ("kind", &arguments.kind),
        ("subject", &arguments.subject),
        ("actor", &arguments.actor),
        ("root", &arguments.root),
        ("since", &arguments.since),
        ("until", &arguments.until),
    ];
    given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
}

fn show(output: Output, event: &Value) {
    if output == Output::Json {
        print::object(event);
        return;
    }
    let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
    let clock = print::clock(text("time"));
    let data = event.get("data").map(ToString::to_string).unwrap_or_default();
    let short: String = data.chars().take(DATA_CHARS).collect();
    let more = if short.len() < data.len() { "…" } else { "" };
    let (kind, subject) = (text("type"), text("subject"));
    print::text(&format!("{QUIET}{clock}{QUIET:#}  {kind:22} {subject}  {QUIET}{short}{more}{QUIET:#}\n"));
}
