//! What a run did, readable, and without what is different each time: names that it drew, ciphertexts.

use picloud_core::{
    event::Event,
    keys::DataKey,
    outbox::Plain,
    replay::{Effect, Line},
    run::LogLine,
};
use serde_json::{Map, Value, json};

/// Something that a run wrote or sent.
pub(super) fn effect(event: &Event, key: &DataKey) -> Effect {
    let data = serde_json::to_value(event).ok().and_then(|mut event| match event["data"].take() {
        Value::Object(data) => Some(data),
        _ => None,
    });
    let mut data = data.unwrap_or_default();
    // Of an item its name says nothing; what it is for does.
    data.remove("item");
    let subject = match event {
        Event::OutboxEnqueued(enqueued) => {
            let plain = Plain::open(&enqueued.payload, enqueued.item, key).ok();
            data.insert("payload".to_owned(), plain.map_or(Value::Null, payload));
            enqueued.script.to_string()
        }
        event => event.subject(),
    };
    Effect { kind: event.kind().to_owned(), subject, data: Value::Object(without_nulls(data)) }
}

/// What an item's run gets.
fn payload(plain: Plain) -> Value {
    match plain {
        Plain::Event(event) => serde_json::from_str(event.get()).unwrap_or_default(),
        Plain::Request(kept) => {
            let body = kept.request().body;
            serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)))
        }
    }
}

fn without_nulls(mut data: Map<String, Value>) -> Map<String, Value> {
    data.retain(|_, value| !value.is_null());
    data
}

/// A line that it logged.
pub(super) fn line(line: &LogLine) -> Line {
    let data = line.data.as_ref().and_then(|data| serde_json::from_str(data.get()).ok());
    Line { level: line.level, message: line.message.clone(), data }
}
