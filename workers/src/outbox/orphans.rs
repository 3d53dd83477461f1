//! Items that a dead node had leased: its attempts count as failed, and others go on with them.

use std::time::Duration;

use picloud_core::{
    event::FailureReason,
    keys::Keyring,
    log::{Commit, CommitError, Committer, Node, Read, Rejected, outbox},
    run::Failure,
};
use picloud_projections::setup::Setup;
use sqlx::PgPool;
use tracing::warn;

use super::settlement::{self, Tried, about};

/// Why items could not be taken over. What is left is found again the next time.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// They could not be looked up.
    #[error("failed to look for items of dead nodes")]
    Database(#[from] sqlx::Error),
    /// The word of it could not be written.
    #[error("failed to append what became of an item of a dead node")]
    Commit(#[from] CommitError),
}

/// Takes items over from nodes whose right to write was revoked; returns how many. Meant for one node at a time, after
/// whatever the dead ones were committing is settled.
///
/// # Errors
/// [`TakeOverError`].
pub async fn take_over(
    pool: &PgPool,
    committer: &Committer,
    node: &Node,
    keyring: &Keyring,
    setup: &Setup,
) -> Result<usize, TakeOverError> {
    let orphans = outbox::orphans(pool).await?;
    let mut taken = 0;
    for item in &orphans {
        let app = setup.apps.get(&item.app);
        let script = app.and_then(|app| app.scripts.iter().find(|script| script.id == item.enqueued.script));
        let tried = Tried {
            invocation: None,
            script: script.map_or("", |script| script.name.as_str()),
            version: script.and_then(|script| Some(script.active.as_ref()?.version)),
            duration: Duration::ZERO,
        };
        let failure = Failure {
            reason: FailureReason::Abandoned,
            message: "the node that ran it went away".to_owned(),
            line: None,
            column: None,
            limit: None,
            retry: None,
        };
        let events = match settlement::failed(keyring, item, tried, &failure).await {
            Ok(events) => events,
            // One that cannot be read must not keep the others.
            Err(error) => {
                warn!(%error, outbox.item = %item.enqueued.item, "Failed to settle an item of a dead node");
                continue;
            }
        };
        let events = events.into_iter().map(|event| about(item, event)).collect();
        // Somebody may have cancelled it since it was looked up.
        let reads = vec![Read::Owed { item: item.enqueued.item }];
        match committer.commit(Commit { reads, ..Commit::new(node.authority(), events) }).await {
            Ok(_) => taken += 1,
            Err(CommitError::Rejected(Rejected::Stale)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(taken)
}
