//! Whether the log knows that a run began, and telling it: once, whoever asks.

use picloud_core::log::{Commit, CommitError};
use tracing::warn;

use super::{Inner, attempt::Run};

/// Whether the log knows that the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Told {
    /// Its end will say it.
    #[default]
    NotYet,
    /// It owes the log an end.
    Yes,
    /// The answer was lost. Whatever was said now might be said twice: the run is left to whoever ends what dead nodes left.
    Unknown,
    /// There is nothing to tell any more: its end is in the log, or nothing of it ever will be.
    Over,
}

impl Inner {
    /// Makes a run's beginning durable by itself, unless it is; says whether it is now. To be awaited to its end: given up
    /// half-way, it might be told twice.
    pub(super) async fn tell(&self, run: &Run) -> bool {
        // Held while it is told: who asks meanwhile waits for the same word. Who asked for a run that has ended while it
        // waited is too late, and leaves no run in the log that never ends.
        let mut told = run.told.lock().await;
        if *told == Told::NotYet {
            let event = run.started_event(self.parts.node.epoch());
            let commit = Commit::new(self.parts.node.authority(), vec![event]);
            *told = match self.parts.committer.commit(commit).await {
                Ok(_) => Told::Yes,
                Err(CommitError::Unknown) => Told::Unknown,
                Err(error) => {
                    warn!(
                        %error,
                        invocation.id = %run.call.invocation,
                        trace_id = %run.trace(),
                        "Failed to tell the log that a run began; its end will"
                    );
                    Told::NotYet
                }
            };
        }
        *told == Told::Yes
    }
}
