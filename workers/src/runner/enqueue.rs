//! A run that is owed instead of run: its caller is answered as soon as that is durable.

use picloud_core::{
    event::outbox::{self, Source},
    log::{Commit, CommitError, NewEvent, Outcome, StatusToken, idempotency},
    outbox::{Kept, Plain},
    run::{Owed, Unavailable},
};
use tracing::warn;

use super::Inner;

impl Inner {
    pub(super) async fn enqueue(&self, owed: Owed) -> Result<(), Unavailable> {
        let Owed { item, call, retry, token, answer } = owed;
        let app = call.program.app;
        let key = self.key(app).await?;
        let plain = Plain::Request(Kept::of(&call.request, call.request_id, call.record).into());
        let enqueued = outbox::Enqueued {
            item,
            source: call.route.map_or(Source::Invoke, |route| Source::AsyncRoute { route }),
            script: call.program.script,
            version: None,
            lane: None,
            priority: 0,
            due_at: None,
            retry,
            payload: plain.seal(item, &key),
            is_watched: true,
            replay_of: None,
            handles: None,
            carried: None,
        };
        let outcome = call.idempotency.map(|claim| {
            let sealed = idempotency::seal(&key, &claim.scope, &idempotency::Kept::of(None, &answer));
            Outcome { claim, sealed }
        });
        let event = NewEvent::new(Some(app), &call.actor, enqueued);
        let status_token = token.map(|hash| StatusToken { item, hash });
        let commit = Commit { outcome, status_token, ..Commit::new(self.parts.node.authority(), vec![event]) };
        match self.parts.committer.commit(commit).await {
            Ok(_) => Ok(()),
            Err(CommitError::Busy) => Err(Unavailable::Busy),
            Err(error) => {
                warn!(%error, "Failed to make a run be owed");
                Err(Unavailable::Log)
            }
        }
    }
}
