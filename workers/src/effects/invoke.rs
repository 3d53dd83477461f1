//! Other scripts of the app, as a run asks for them.

use std::sync::Arc;

use picloud_core::{
    event::outbox::{Enqueued, Source as OwedBy},
    retry::RetryPolicy,
    run::{Program, Rights},
};

use super::{Effects, Invocable, Recalled, Setup, Source, said::payload_bytes};
use crate::{
    invoked,
    sandbox::{DataError, Later},
};

impl<S: Source + Setup> Effects<S> {
    /// A script that is a part of the run: which version it was is told, or the run could not be understood.
    pub(super) fn invoked_now(&mut self, script: &str) -> Result<(Arc<Program>, Rights), DataError> {
        let Invocable { program, rights, is_paused } = self.source.script(script).map_err(DataError::Refused)?;
        if is_paused {
            return Err(DataError::Refused(format!("`{script}` is paused: resume it")));
        }
        let order = self.tick();
        self.invoked.push((order, Recalled::Invoked { name: script.to_owned(), version: program.version }));
        Ok((program, rights))
    }

    /// What may be paused: it waits then.
    pub(super) fn invoked_later(&self, script: &str) -> Result<Arc<Program>, DataError> {
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
            carried: None,
        };
        self.say(enqueued, size_bytes)
    }
}
