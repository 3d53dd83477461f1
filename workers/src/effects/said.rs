//! What a run says once and for all: each is an event of its own, in its place among the run's writes.

use picloud_core::event::{
    Event,
    message::{Published, Sent},
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
        let order = self.tick();
        self.said.push((order, event.into()));
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
