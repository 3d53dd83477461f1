//! `pubsub::`: messages to whoever listens.

use picloud_core::{
    capability::Capability,
    keys::Grant,
    name::{self, MAX_TOPIC_BYTES},
};
use rhai::{Array, Dynamic, EvalAltResult, ImmutableString, Map};

use serde_json::value::RawValue;

use super::{
    options::{Options, shortened},
    stored::stored,
};
use crate::sandbox::{
    current::{thrown, with, with_data},
    meter,
    registry::Registry,
    rights::need,
    value::Room,
};

pub(in crate::sandbox) fn register(registry: &mut Registry) {
    registry.add(
        "publish(topic: string, value: ?)",
        "Publishes a value, of at most `max_kv_value_bytes` as JSON, to a topic: names joined by dots, like `orders.paid`. \
         Triggers of kind `topic` run for it once the run has committed.",
        |topic: &str, value: Dynamic| publish(topic, &value),
    );
    registry.add(
        "broadcast(topic: string, value: ?)",
        "Tells a value to whoever listens to a topic from outside once the run has committed. Nothing of it is stored: triggers do not \
         run for it, and who comes back later has missed it.",
        |topic: &str, value: Dynamic| broadcast(topic, &value),
    );
    registry
        .add(
            "subscriber_token(topics: ?)",
            "A token with which a topic, all below one (`room.*`), or several in an array, can be listened to from outside, if they are \
             registered for that: as `Authorization: Bearer`, or `?token=`. It is good for an hour.",
            |topics: Dynamic| subscriber_token(&topics, &Map::new()),
        )
        .add(
            "subscriber_token(topics: ?, options: map)",
            "As `subscriber_token(topics)`, with the option `#{ttl_s}`: for how many seconds it is good, up to a week.",
            |topics: Dynamic, options: Map| subscriber_token(&topics, &options),
        );
}

fn publish(topic: &str, value: &Dynamic) -> Result<(), Box<EvalAltResult>> {
    let message = message("pubsub::publish", topic, value)?;
    with_data(|data| data.publish(topic, message))
}

fn broadcast(topic: &str, value: &Dynamic) -> Result<(), Box<EvalAltResult>> {
    let message = message("pubsub::broadcast", topic, value)?;
    with_data(|data| data.broadcast(topic, message))
}

/// What is said to a topic, if it may be said and there can be such a topic.
fn message(call: &'static str, topic: &str, value: &Dynamic) -> Result<Box<RawValue>, Box<EvalAltResult>> {
    need(call, Capability::AppTopicPublish)?;
    if !name::is_topic(topic) {
        return Err(thrown(format!(
            "{call}: `{}` is no topic: give names ({}) joined by dots, up to {MAX_TOPIC_BYTES} bytes",
            shortened(topic),
            name::RULE
        )));
    }
    stored(value, room(), || format!("{call}: the message to `{topic}`"))
}

fn subscriber_token(topics: &Dynamic, options: &Map) -> Result<String, Box<EvalAltResult>> {
    const CALL: &str = "pubsub::subscriber_token";
    need(CALL, Capability::AppManageTopics)?;
    let options = Options::of(CALL, options, &["ttl_s"])?;
    let ttl_s = options.int("ttl_s", 1..=Grant::MAX_TTL_S)?;
    let wanted = names(topics).ok_or_else(|| {
        thrown(format!("{CALL}: `topics` must be a string, or an array of strings: give names of topics"))
    })?;
    let now = with(|run| run.input.now)?;
    let grant = Grant::new(wanted, ttl_s, now).map_err(|invalid| thrown(format!("{CALL}: {invalid}")))?;
    with_data(|data| data.subscriber_token(&grant))
}

/// The texts of a string, or of an array of strings.
fn names(value: &Dynamic) -> Option<Vec<String>> {
    if let Some(name) = value.read_lock::<ImmutableString>() {
        return Some(vec![name.to_string()]);
    }
    let names = value.read_lock::<Array>()?;
    names.iter().map(|name| Some(name.read_lock::<ImmutableString>()?.to_string())).collect()
}

/// A message may be as long as a value that is kept: the log keeps it, too.
pub(super) fn room() -> Room {
    Room { bytes: meter::limits().max_kv_value_bytes, limit: "max_kv_value_bytes" }
}
