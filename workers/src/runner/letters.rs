//! Dead letters for a run.

use picloud_core::{
    event::{Actor, outbox::Payload},
    id::{DeadLetterId, OutboxId},
    log::Position,
    outbox::Plain,
};
use picloud_projections::dead_letters::{self, Filter, Letter};

use super::source::Database;
use crate::{
    effects::{Letters, SourceError},
    letters::held,
};

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
        self.wait(held(&self.outside.inner.parts.keyring, self.app, &letter.created))
    }

    fn seal_again(&self, item: OutboxId, plain: Plain) -> Payload {
        plain.seal(item, &self.outside.run.key)
    }

    fn actor(&self) -> Actor {
        self.outside.run.call.actor.clone()
    }
}
