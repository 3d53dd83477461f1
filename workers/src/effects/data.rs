//! The calls of a script, answered from the overlay.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use picloud_core::{
    event::message::Sent,
    id::{DeadLetterId, OutboxId},
    keys::Grant,
    log::Broadcast,
    run::{Program, Rights},
};
use serde_json::value::RawValue;

use super::{
    Effects, Letters, Outside, Setup, Source,
    overlay::Pending,
    write::{Shown, Write, is_over, number, sum},
};
use crate::{
    http::{Answer, Request},
    sandbox::{Data, DataError, KvPage, Later, LetterPage, LetterQuery},
};

impl<S: Source + Outside + Setup + Letters> Data for Effects<S> {
    fn broadcast(&mut self, topic: &str, message: Box<RawValue>) -> Result<(), DataError> {
        self.budget.write(0, topic.len() + message.get().len())?;
        self.broadcasts.push(Broadcast { app: self.app, topic: topic.to_owned(), message, at: self.now });
        Ok(())
    }

    fn subscriber_token(&mut self, grant: &Grant) -> Result<String, DataError> {
        let token = self.source.subscriber_token(grant)?;
        self.secrets.push(token.clone());
        Ok(token)
    }

    fn kv_get(&mut self, collection: &str, key: &str) -> Result<Option<Box<RawValue>>, DataError> {
        let plus = match self.pending(collection, key).map(|write| write.shown(self.now)) {
            Some(Shown::Known(value)) => return Ok(value.map(ToOwned::to_owned)),
            Some(Shown::StoredPlus(by)) => Some(by),
            None => None,
        };
        let stored = self.stored(collection, key)?;
        match plus {
            None => Ok(stored.map(ToOwned::to_owned)),
            Some(by) => sum(collection, key, stored, by).map(|sum| Some(number(sum))),
        }
    }

    fn kv_set(
        &mut self,
        collection: &str,
        key: &str,
        value: Box<RawValue>,
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<(), DataError> {
        self.write(collection, key, Write::Set { value, expires_at })
    }

    fn kv_delete(&mut self, collection: &str, key: &str) -> Result<bool, DataError> {
        // An own number is there, but only if what is stored can be added to.
        let was_there = self.kv_get(collection, key)?.is_some();
        if was_there {
            self.write(collection, key, Write::Delete)?;
        } else {
            self.budget.write(0, 0)?;
        }
        Ok(was_there)
    }

    fn kv_increment(&mut self, collection: &str, key: &str, by: i64) -> Result<(), DataError> {
        let write = match self.pending(collection, key) {
            Some(Write::Set { value, expires_at }) if !is_over(*expires_at, self.now) => {
                let value = number(sum(collection, key, Some(value), by)?);
                Write::Set { value, expires_at: *expires_at }
            }
            Some(Write::Set { .. } | Write::Delete) => Write::Set { value: number(by), expires_at: None },
            Some(Write::Increase { by: earlier }) => {
                let by = sum(collection, key, Some(&number(*earlier)), by)?;
                self.increase(collection, key, by)?
            }
            None => self.increase(collection, key, by)?,
        };
        self.write(collection, key, write)
    }

    fn kv_list(
        &mut self,
        collection: &str,
        prefix: &str,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<KvPage, DataError> {
        self.list(collection, prefix, limit, cursor)
    }

    fn publish(&mut self, topic: &str, message: Box<RawValue>) -> Result<(), DataError> {
        self.published(topic, message)
    }

    fn send(&mut self, message: Sent) -> Result<(), DataError> {
        self.sent(message)
    }

    fn program(&mut self, script: &str) -> Result<(Arc<Program>, Rights), DataError> {
        self.invoked_now(script)
    }

    fn target(&mut self, script: &str) -> Result<Arc<Program>, DataError> {
        self.invoked_later(script)
    }

    fn invoke_later(&mut self, later: Later) -> Result<(), DataError> {
        self.owe(later)
    }

    fn letter(&mut self, id: DeadLetterId) -> Result<Option<Box<RawValue>>, DataError> {
        self.read_letter(id)
    }

    fn letters(&mut self, wanted: LetterQuery) -> Result<LetterPage, DataError> {
        self.list_letters(wanted)
    }

    fn replay_letter(
        &mut self,
        id: DeadLetterId,
        item: OutboxId,
        payload: Option<Box<RawValue>>,
    ) -> Result<(), DataError> {
        self.replay(id, item, payload)
    }

    fn resolve_letter(&mut self, id: DeadLetterId, reason: String) -> Result<(), DataError> {
        self.resolve(id, reason)
    }

    fn http(&mut self, request: Request) -> Result<Answer, DataError> {
        self.call(&request.into())
    }

    fn breathe(&self) {
        self.source.breathe();
    }

    fn pause(&self, sleep: &mut dyn FnMut()) -> Result<(), DataError> {
        Ok(self.source.pause(sleep)?)
    }
}

impl<S: Source> Effects<S> {
    /// An increase of what is stored: refused here when the run has seen that it cannot be, else left to the commit.
    fn increase(&self, collection: &str, key: &str, by: i64) -> Result<Write, DataError> {
        if let Some(seen) = self.known(collection, key).and_then(|entry| entry.seen.as_ref()) {
            sum(collection, key, seen.value.as_deref(), by)?;
        }
        Ok(Write::Increase { by })
    }

    fn pending(&self, collection: &str, key: &str) -> Option<&Write> {
        Some(&self.known(collection, key)?.write.as_ref()?.write)
    }

    fn write(&mut self, collection: &str, key: &str, write: Write) -> Result<(), DataError> {
        let order = self.tick();
        let size = |write: &Write| write.size_bytes(collection, key);
        let after = size(&write);
        let entry = self.entry(collection, key);
        // What is known to be absent needs no event to go.
        let needed = !(matches!(write, Write::Delete) && entry.seen.as_ref().is_some_and(|seen| seen.value.is_none()));
        let earlier = std::mem::replace(&mut entry.write, needed.then_some(Pending { order, write }));
        let before = earlier.map_or(0, |earlier| size(&earlier.write));
        self.budget.write(before, if needed { after } else { 0 })
    }
}
