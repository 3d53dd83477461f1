//! What a run says once and for all: each is an event of its own, in its place among the run's writes.

use picloud_core::event::{
    Event,
    message::{Published, Sent},
    outbox::Payload,
};
use serde_json::value::RawValue;

use super::{Effects, Setup, Source};
use crate::sandbox::DataError;

impl<S: Source> Effects<S> {
    pub(super) fn published(&mut self, topic: &str, message: Box<RawValue>) -> Result<(), DataError> {
        let size_bytes = topic.len() + message.get().len();
        self.say(Published { topic: topic.to_owned(), message }, size_bytes)
    }

    /// Takes note of an event that counts as one write.
    pub(super) fn say(&mut self, event: impl Into<Event>, size_bytes: usize) -> Result<(), DataError> {
        self.say_all([event.into()], size_bytes)
    }

    /// The same for events that one call makes together.
    pub(super) fn say_all(
        &mut self,
        events: impl IntoIterator<Item = Event>,
        size_bytes: usize,
    ) -> Result<(), DataError> {
        for event in events {
            let order = self.tick();
            self.said.push((order, event));
        }
        self.budget.write(0, size_bytes)
    }
}

impl<S: Source + Setup> Effects<S> {
    pub(super) fn sent(&mut self, sent: Sent) -> Result<(), DataError> {
        let queue = &sent.queue;
        if !self.source.has_consumer(queue) {
            return Err(DataError::Refused(format!(
                "queue::send: nobody takes messages from `{queue}`: create a trigger of kind `queue` for it, or enable one"
            )));
        }
        let size_bytes = queue.len() + sent.message.get().len() + sent.key.as_ref().map_or(0, String::len);
        self.say(sent, size_bytes)
    }
}

/// About what the payload of an item adds to a commit.
pub(super) fn payload_bytes(payload: &Payload) -> usize {
    match payload {
        Payload::Request(sealed) => sealed.ciphertext.len(),
        Payload::Event(event) => event.get().len(),
    }
}
