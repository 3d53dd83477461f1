//! `queue::`: messages that are worked on, each until it succeeds.

use chrono::{DateTime, TimeDelta, Utc};
use picloud_core::{capability::Capability, event::message::Sent, name};
use rhai::{Dynamic, EvalAltResult, INT, Map};

use super::{
    options::{Options, shortened},
    pubsub,
    stored::stored,
};
use crate::sandbox::{
    current::{thrown, with, with_data},
    registry::Registry,
    rights::need,
};

type Refused = Box<EvalAltResult>;

const CALL: &str = "queue::send";
/// A month or so: what is further off is better kept with its date.
const MAX_DELAY_S: INT = 30 * 24 * 60 * 60;
const MAX_PRIORITY: INT = 100;
const MAX_KEY_BYTES: usize = 255;

pub(in crate::sandbox) fn register(registry: &mut Registry) {
    registry
        .add(
            "send(queue: string, value: ?)",
            "Sends a value, of at most `max_kv_value_bytes` as JSON, to a queue. Each trigger of kind `queue` for it runs once \
             the run has committed, and again until it succeeds; without any the call throws.",
            |queue: &str, value: Dynamic| send(queue, &value, &Map::new()),
        )
        .add(
            "send(queue: string, value: ?, options: map)",
            "As `send(queue, value)`, with options `#{delay_s, key, priority}`: not before so many seconds, up to 30 days, have \
             passed since the run began; one at a time and in order with messages of the same key (up to 255 bytes); \
             before messages of a lower priority, from -100 to 100, usually 0.",
            |queue: &str, value: Dynamic, options: Map| send(queue, &value, &options),
        );
}

fn send(queue: &str, value: &Dynamic, options: &Map) -> Result<(), Refused> {
    need(CALL, Capability::AppTopicPublish)?;
    if !name::is_name(queue) {
        return Err(thrown(format!("{CALL}: `{}` is no name of a queue: use {}", shortened(queue), name::RULE)));
    }
    let options = Options::of(CALL, options, &["delay_s", "key", "priority"])?;
    let (due_at, key) = (due_at(&options)?, key(CALL, &options)?);
    let priority = options.int("priority", -MAX_PRIORITY..=MAX_PRIORITY)?.unwrap_or(0);
    let priority = i16::try_from(priority).expect("it is between -100 and 100");
    let message = stored(value, pubsub::room(), || format!("{CALL}: the message to `{queue}`"))?;
    with_data(|data| data.send(Sent { queue: queue.to_owned(), message, key, priority, due_at }))
}

/// When work with these options is due; none is at once.
pub(super) fn due_at(options: &Options<'_>) -> Result<Option<DateTime<Utc>>, Refused> {
    match options.int("delay_s", 0..=MAX_DELAY_S)? {
        None | Some(0) => Ok(None),
        Some(delay_s) => Ok(Some(with(|run| run.input.now)? + TimeDelta::seconds(delay_s))),
    }
}

/// What puts work with these options in line.
pub(super) fn key(call: &str, options: &Options<'_>) -> Result<Option<String>, Refused> {
    let Some(key) = options.text("key")? else { return Ok(None) };
    if key.is_empty() || key.len() > MAX_KEY_BYTES || key.contains('\0') {
        let shown = shortened(&key.escape_debug().to_string());
        return Err(thrown(format!(
            "{call}: `key` is `{shown}`: it must have 1 to {MAX_KEY_BYTES} bytes and no U+0000"
        )));
    }
    Ok(Some(key.to_string()))
}
