//! Stored data for a run: blocks the run's thread, gives its permit back meanwhile, and never waits past its deadline.

use std::{fmt, future::Future, time::Instant};

use picloud_core::{
    id::AppId,
    keys::Grant,
    log::{Committer, Position, Read},
};
use picloud_projections::{
    dead_letters,
    kv::{self, Entry},
};
use sqlx::PgPool;
use tokio::{runtime::Handle, time::timeout_at};
use tracing::warn;

use super::outside::World;
use crate::{
    effects::{Source, SourceError, Stored},
    pool::Permit,
};

/// Reads the database for one run.
pub(super) struct Database {
    pub pool: PgPool,
    pub committer: Committer,
    pub handle: Handle,
    /// The right to compute that is given back while waiting; without one there is no waiting.
    pub permit: Option<Permit>,
    pub app: AppId,
    pub deadline: Instant,
    /// For calls outside.
    pub outside: World,
}

impl Database {
    /// Waits for an answer, without the right to compute and no longer than the run may last.
    pub(super) fn wait<T, E: fmt::Display>(
        &self,
        question: impl Future<Output = Result<T, E>>,
    ) -> Result<T, SourceError> {
        let Some(permit) = &self.permit else { return Err(SourceError::Unavailable) };
        let deadline = self.deadline.into();
        match permit.wait(|| self.handle.block_on(async { timeout_at(deadline, question).await })) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                warn!(%error, "Failed to read stored data for a run");
                Err(SourceError::Unavailable)
            }
            Err(_) => Err(SourceError::Deadline),
        }
    }
}

impl Source for Database {
    fn get(&mut self, collection: &str, key: &str) -> Result<(Stored, Position), SourceError> {
        // Taken before: what the answer shows is at least as new.
        let head = self.committer.head();
        let entry = self.wait(kv::get(&self.pool, self.app, collection, key))?;
        Ok((entry.map(stored).unwrap_or_default(), head))
    }

    fn list(
        &mut self,
        collection: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<(String, Stored)>, Position), SourceError> {
        let head = self.committer.head();
        let entries = self.wait(kv::list(&self.pool, self.app, collection, prefix, after, limit))?;
        Ok((entries.into_iter().map(|mut entry| (std::mem::take(&mut entry.key), stored(entry))).collect(), head))
    }

    fn check(&mut self, reads: &[Read]) -> Result<Position, SourceError> {
        let head = self.committer.head();
        // What was listed only the committer can check exactly; it does, when the run commits.
        let holds = self.wait(async {
            Ok::<_, sqlx::Error>(
                kv::still_hold(&self.pool, reads).await? && dead_letters::still_hold(&self.pool, reads).await?,
            )
        })?;
        if holds { Ok(head) } else { Err(SourceError::Conflict) }
    }

    fn subscriber_token(&mut self, grant: &Grant) -> Result<String, SourceError> {
        let keyring = &self.outside.inner.parts.keyring;
        let key = match keyring.known_topic_key(self.app) {
            Some(known) => known,
            None => self.wait(keyring.topic_key(self.app))?,
        };
        Ok(key.sign(self.app, grant))
    }

    fn breathe(&self) {
        if let Some(permit) = &self.permit {
            permit.breathe();
        }
    }

    fn pause(&self, sleep: &mut dyn FnMut()) -> Result<(), SourceError> {
        let Some(permit) = &self.permit else { return Err(SourceError::Unavailable) };
        permit.wait(sleep);
        Ok(())
    }
}

fn stored(entry: Entry) -> Stored {
    Stored { value: Some(entry.value), version: entry.version, expires_at: entry.expires_at }
}
