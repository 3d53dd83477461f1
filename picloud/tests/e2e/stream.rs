//! A stream of server-sent events, read as a client does that goes on where it stopped.

use std::time::Duration;

use picloud::sse::{Frame, Parser};
use serde_json::Value;

use crate::service::client;

/// Reads one connection to its end, from the cursor on and keeping it; each frame's event and data are handed on.
pub async fn read(
    url: &str,
    host: &str,
    cursor: &mut Option<String>,
    mut take: impl FnMut(&str, Value),
) -> reqwest::Result<()> {
    let mut request = client().get(url).header("host", host).timeout(Duration::from_secs(120));
    if let Some(cursor) = &*cursor {
        request = request.header("last-event-id", cursor);
    }
    let mut answer = request.send().await?.error_for_status()?;
    let mut parser = Parser::default();
    while let Some(piece) = answer.chunk().await? {
        for Frame { id, event, data } in parser.push(&piece) {
            take(&event, serde_json::from_str(&data).unwrap());
            *cursor = id.or_else(|| cursor.take());
        }
    }
    Ok(())
}
