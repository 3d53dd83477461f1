//! `pubsub::`: messages to whoever listens.

use picloud_core::{
    capability::Capability,
    name::{self, MAX_TOPIC_BYTES},
};
use rhai::{Dynamic, EvalAltResult};

use super::{options::shortened, stored::stored};
use crate::sandbox::{
    current::{thrown, with_data},
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
}

fn publish(topic: &str, value: &Dynamic) -> Result<(), Box<EvalAltResult>> {
    need("pubsub::publish", Capability::AppTopicPublish)?;
    if !name::is_topic(topic) {
        return Err(thrown(format!(
            "pubsub::publish: `{}` is no topic: give names ({}) joined by dots, up to {MAX_TOPIC_BYTES} bytes",
            shortened(topic),
            name::RULE
        )));
    }
    let message = stored(value, room(), || format!("pubsub::publish: the message to `{topic}`"))?;
    with_data(|data| data.publish(topic, message))
}

/// A message may be as long as a value that is kept: the log keeps it, too.
pub(super) fn room() -> Room {
    Room { bytes: meter::limits().max_kv_value_bytes, limit: "max_kv_value_bytes" }
}
