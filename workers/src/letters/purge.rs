//! Letters that were closed long ago go: what they held cannot be read any more, wherever it lies.

use std::collections::HashMap;

use picloud_core::{
    event::{Actor, dead_letter::Purged},
    id::{AppId, DeadLetterId},
    keys::{Keyring, KeyringError},
    log::{Commit, CommitError, Committer, NewEvent, Node, Read},
};
use picloud_projections::dead_letters::{self, Closed};
use sqlx::PgPool;

/// How many go in one commit.
const BATCH: usize = 100;

/// How many commits are made at one time: what is left goes the next time.
const BATCHES: usize = 20;

/// Why letters could not be purged. What is left is found again the next time.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// They could not be looked up.
    #[error("failed to look for letters to be purged")]
    Database(#[from] sqlx::Error),
    /// Their keys could not be erased.
    #[error("failed to erase the keys of letters")]
    Keyring(#[from] KeyringError),
    /// The word of it could not be written.
    #[error("failed to append that letters were purged")]
    Commit(#[from] CommitError),
}

/// Purges letters that were closed thirty days ago or more; returns how many. Meant for one node at a time.
///
/// # Errors
/// [`PurgeError`].
pub async fn purge(pool: &PgPool, committer: &Committer, node: &Node, keyring: &Keyring) -> Result<usize, PurgeError> {
    let mut purged = 0;
    for _ in 0..BATCHES {
        let closed = dead_letters::closed_long_ago(pool, BATCH).await?;
        if closed.is_empty() {
            break;
        }
        let mut by_app: HashMap<AppId, Vec<&Closed>> = HashMap::new();
        for letter in &closed {
            by_app.entry(letter.app).or_default().push(letter);
        }
        for (app, letters) in by_app {
            // The keys first: a letter without one is found again, a key without its letter is not.
            let keys: Vec<_> = letters.iter().map(|letter| letter.key).collect();
            keyring.erase_apart(app, &keys).await?;
            let events = letters.iter().map(|letter| gone(app, letter.id)).collect();
            let reads =
                letters.iter().map(|letter| Read::DeadLetter { dead_letter: letter.id, version: letter.position });
            committer.commit(Commit { reads: reads.collect(), ..Commit::new(node.authority(), events) }).await?;
            purged += letters.len();
        }
    }
    Ok(purged)
}

fn gone(app: AppId, dead_letter: DeadLetterId) -> NewEvent {
    NewEvent::new(Some(app), &Actor::SYSTEM, Purged { dead_letter })
}
