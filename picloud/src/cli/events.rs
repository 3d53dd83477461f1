//! `picloud events`: what happened, as CloudEvents.

use std::time::Duration;

use futures::StreamExt;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::time::sleep;

use super::{
    Output,
    args::{Events, Global},
    path,
    print::{self, QUIET},
};
use crate::{
    client::Client,
    failure::{Exit, Failure},
    sse,
};

/// A server that restarts is back in a few seconds.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
/// So much of an event's data fits beside the rest.
const DATA_CHARS: usize = 120;

/// Prints what there is, or (`--follow`) what comes, until ctrl-C.
pub(super) async fn run(global: &Global, arguments: &Events) -> Result<(), Failure> {
    let client = global.client()?;
    let mut to = match &arguments.app {
        Some(app) => path::admin(&["apps", app, "events"]),
        None => path::admin(&["events"]),
    };
    if !arguments.follow {
        let page: Value = client.read(filtered(client.request(Method::GET, &to), arguments)).await?;
        for event in page.get("items").and_then(Value::as_array).into_iter().flatten() {
            show(global.output, event);
        }
        return Ok(());
    }
    to.push_str("/stream");
    let mut last = None;
    let mut heard = false;
    loop {
        tokio::select! {
            followed = follow(&client, &to, arguments, global.output, &mut last, &mut heard) => match followed {
                // The first attempt tells whether there is a server at all.
                Err(failure) if !heard || failure.exit != Exit::NotReached => return Err(failure),
                Err(_) | Ok(()) => sleep(RECONNECT_AFTER).await,
            },
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// One connection's worth, from where the one before it ended.
async fn follow(
    client: &Client,
    to: &str,
    arguments: &Events,
    output: Output,
    last: &mut Option<String>,
    heard: &mut bool,
) -> Result<(), Failure> {
    let mut request = filtered(client.request(Method::GET, to), arguments).header("accept", "text/event-stream");
    if let Some(id) = &*last {
        request = request.header("last-event-id", id);
    }
    let response = client.send(request).await?;
    *heard = true;
    let mut parser = sse::Parser::default();
    let mut body = response.bytes_stream();
    while let Some(chunk) = body.next().await {
        for frame in parser.push(&chunk.map_err(|error| client.broken(&error))?) {
            if let Some(id) = &frame.id {
                *last = Some(id.clone());
            }
            match frame.event.as_str() {
                "up-to-date" => {}
                "reset" | "lagged" | "closed" => {
                    print::aside(&format!("{QUIET}{}: {}{QUIET:#}\n", frame.event, frame.data));
                }
                _ => match serde_json::from_str(&frame.data) {
                    Ok(event) => show(output, &event),
                    Err(_) => print::aside(&format!("{QUIET}not understood: {}{QUIET:#}\n", frame.data)),
                },
            }
        }
    }
    Ok(())
}

fn filtered(request: RequestBuilder, arguments: &Events) -> RequestBuilder {
    let given = [("kind", &arguments.kind), ("subject", &arguments.subject)];
    let pairs: Vec<_> = given.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect();
    request.query(&pairs)
}

fn show(output: Output, event: &Value) {
    if output == Output::Json {
        print::object(event);
        return;
    }
    let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
    let time = text("time");
    // The date is the same on most lines, the day's time is what one looks for.
    let clock = time.split_once('T').map_or(time, |(_, clock)| clock.trim_end_matches('Z'));
    let data = event.get("data").map(ToString::to_string).unwrap_or_default();
    let short: String = data.chars().take(DATA_CHARS).collect();
    let more = if short.len() < data.len() { "…" } else { "" };
    let (kind, subject) = (text("type"), text("subject"));
    print::text(&format!("{QUIET}{clock}{QUIET:#}  {kind:22} {subject}  {QUIET}{short}{more}{QUIET:#}\n"));
}
