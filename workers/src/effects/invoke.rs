//! Other scripts of the app, as a run asks for them.

use std::sync::Arc;

use picloud_core::{
    event::outbox::{Enqueued, Source as OwedBy},
    retry::RetryPolicy,
    run::Program,
};

use super::{Effects, Setup, Source, said::payload_bytes};
use crate::{
    invoked,
    sandbox::{DataError, Later},
};

impl<S: Source + Setup> Effects<S> {
    /// What may be paused: it waits then.
    pub(super) fn to_be_owed(&self, script: &str) -> Result<Arc<Program>, DataError> {
        self.source.script(script).map(|found| found.program).map_err(DataError::Refused)
    }

    pub(super) fn owe(&mut self, later: Later) -> Result<(), DataError> {
        let Later { item, script, args, key, due_at } = later;
        let payload = self.source.seal(item, invoked::request(args));
        let size_bytes = payload_bytes(&payload);
        let lane = key.map(|key| format!("{script}/{key}"));
        let enqueued = Enqueued {
            item,
            source: OwedBy::Invoke,
            script,
            version: None,
            lane,
            priority: 0,
            due_at,
            retry: RetryPolicy::default(),
            payload,
            is_watched: false,
            replay_of: None,
            handles: None,
        };
        self.say(enqueued, size_bytes)
    }
}
