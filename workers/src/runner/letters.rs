//! Dead letters for a run.

use picloud_core::{
    event::{Actor, outbox::Payload},
    id::{DeadLetterId, OutboxId},
    keys::{ApartError, CannotOpen, Purpose},
    log::Position,
    outbox::Plain,
};
use picloud_projections::dead_letters::{self, Filter, Letter};

use super::source::Database;
use crate::effects::{Letters, SourceError};

impl Letters for Database {
    fn letter(&mut self, id: DeadLetterId) -> Result<(Option<Letter>, Position), SourceError> {
        // Taken before: what the answer shows is at least as new.
        let head = self.committer.head();
        Ok((self.wait(dead_letters::find(&self.pool, self.app, id))?, head))
    }

    fn letters(
        &mut self,
        filter: &Filter,
        before: Option<DeadLetterId>,
        limit: usize,
    ) -> Result<(Vec<Letter>, Position), SourceError> {
        let head = self.committer.head();
        Ok((self.wait(dead_letters::list(&self.pool, self.app, filter, before, limit))?, head))
    }

    fn held(&mut self, letter: &Letter) -> Result<Option<Plain>, SourceError> {
        let created = &letter.created;
        let (keyring, name) = (&self.outside.inner.parts.keyring, created.dead_letter.to_string());
        self.wait(async {
            let opened = keyring.open_apart(self.app, Purpose::Payload, name.as_bytes(), &created.payload).await;
            match opened {
                Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|_| ApartError::CannotOpen(CannotOpen)),
                Err(ApartError::Erased) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn seal_again(&self, item: OutboxId, plain: Plain) -> Payload {
        plain.seal(item, &self.outside.run.key)
    }

    fn actor(&self) -> Actor {
        self.outside.run.call.actor.clone()
    }
}
