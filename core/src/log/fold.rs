//! Reduces events, in order, to one final write a row.
//!
//! Pure: the same events give the same rows however they are cut into batches. The committer sends the result along with
//! the events; replay uses the same reduction. Time is the database's and stands still within a batch: whoever folds what
//! was committed at different times begins a new one whenever `at` changes, for an increase begins anew on what has expired.

use std::collections::{HashMap, hash_map::Entry};

use chrono::{DateTime, Utc};

use crate::{
    event::{
        Event, kv,
        outbox::{Attempt, Enqueued},
    },
    id::{AppId, InvocationId, OutboxId},
    state::kv::Write,
};

/// A row of `state.kv`, by its key.
pub type KvKey<'a> = (AppId, &'a str, &'a str);

/// How far down and up a row's value goes while it is increased, measured from where it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The least of the sums; may be positive.
    pub low: i64,
    /// The greatest of the sums; may be negative.
    pub high: i64,
}

/// The last write of a row, and which event of the batch (from 1) made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Final<'a> {
    /// What becomes of the row.
    pub write: Write<'a>,
    /// The event's place in the batch.
    pub offset: i32,
    /// What must fit on top of the row as it was before the batch, whatever was written over it afterwards.
    pub base: Option<Span>,
}

/// An event that cannot be folded on top of those before it: it increases what was set to something else than an integer, or
/// past the range of one. Nothing has been taken in. It may fit on top of what the database has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CannotFollow;

/// The rows that a batch of events changes.
#[derive(Debug, Default)]
pub struct Folded<'a> {
    /// Key-value entries.
    pub kv: HashMap<KvKey<'a>, Final<'a>>,
    /// Whatever was increased as it lay in the database, once for each increase, in order.
    pub increased: Vec<KvKey<'a>>,
    /// Runs that began and did not end in this batch.
    pub begun: HashMap<InvocationId, (AppId, i32)>,
    /// Runs that ended and had not begun in this batch.
    pub ended: Vec<InvocationId>,
    /// Items of the outbox.
    pub outbox: HashMap<OutboxId, OutboxFinal<'a>>,
}

/// What becomes of an item of the outbox.
#[derive(Debug, Default)]
pub struct OutboxFinal<'a> {
    /// It came to be in this batch: the event's place in it, and what it says.
    pub enqueued: Option<(i32, &'a Enqueued)>,
    /// Attempts that failed, in order, and when it is due again.
    pub failed: Vec<&'a Attempt>,
    /// When it is due after the last of them.
    pub due_at: Option<DateTime<Utc>>,
    /// It is over.
    pub ending: Option<Ending>,
}

/// How an item ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// An attempt succeeded.
    Delivered,
    /// It is a dead letter.
    Dead,
    /// Somebody took it back.
    Cancelled,
}

impl Ending {
    /// As it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

impl<'a> Folded<'a> {
    /// Takes in the next event.
    ///
    /// # Errors
    /// [`CannotFollow`], when a new batch must begin before it.
    pub fn take(&mut self, app: Option<AppId>, event: &'a Event, offset: i32) -> Result<(), CannotFollow> {
        let Some(app) = app else { return Ok(()) };
        match event {
            Event::KvSet(kv::Set { collection, key, .. }) | Event::KvDeleted(kv::Deleted { collection, key }) => {
                if let Some(write) = Write::of(event) {
                    self.overwrite((app, collection, key), write, offset);
                }
            }
            Event::KvIncreased(by) => self.increase((app, &by.collection, &by.key), by.by, offset)?,
            Event::InvocationStarted(started) => {
                self.begun.insert(started.invocation, (app, offset));
            }
            Event::InvocationCompleted(completed) => self.end(completed.invocation),
            Event::InvocationFailed(failed) => self.end(failed.invocation),
            Event::OutboxEnqueued(enqueued) => {
                self.outbox.entry(enqueued.item).or_default().enqueued = Some((offset, enqueued));
            }
            Event::OutboxRescheduled(rescheduled) => {
                let item = self.outbox.entry(rescheduled.item).or_default();
                item.failed.push(&rescheduled.attempt);
                item.due_at = Some(rescheduled.due_at);
            }
            Event::OutboxDelivered(delivered) => self.settle(delivered.item, Ending::Delivered),
            Event::OutboxExhausted(exhausted) => self.settle(exhausted.item, Ending::Dead),
            Event::OutboxCancelled(cancelled) => self.settle(cancelled.item, Ending::Cancelled),
            Event::DeadLetterCreated(_)
            | Event::DeadLetterReplayed(_)
            | Event::DeadLetterResolved(_)
            | Event::DeadLetterHandlerEnded(_)
            | Event::MessagePublished(_)
            | Event::MessageSent(_)
            // It says what is so already.
            | Event::KvSnapshot(_)
            // Written by statements of their own: what is said again is rare.
            | Event::OutboxCarriedForward(_)
            | Event::CronCarriedForward(_)
            | Event::PartitionArchived(_)
            | Event::CronFired(_)
            | Event::TriggerCreated(_)
            | Event::TriggerUpdated(_)
            | Event::TriggerEnabled(_)
            | Event::TriggerDisabled(_)
            | Event::TriggerPaused(_)
            | Event::TriggerResumed(_)
            | Event::TriggerDeleted(_)
            | Event::QueueConfigured(_)
            | Event::QueuePaused(_)
            | Event::QueueResumed(_)
            | Event::TopicRegistered(_)
            | Event::TopicDeleted(_)
            | Event::TopicKeyRotated(_)
            | Event::ScriptPaused(_)
            | Event::ScriptResumed(_)
            | Event::DeadLetterPurged(_)
            | Event::JobStarted(_)
            | Event::JobProgressed(_)
            | Event::JobCancellationRequested(_)
            | Event::JobEnded(_)
            | Event::InvocationLogged(_)
            | Event::InvocationJournaled(_)
            | Event::AppCreated(_)
            | Event::DomainClaimed(_)
            | Event::DomainReleased(_)
            | Event::EnvSet(_)
            | Event::EnvDeleted(_)
            | Event::HttpExceptionAllowed(_)
            | Event::HttpExceptionRemoved(_)
            | Event::ScriptDeployed(_)
            | Event::ScriptActivated(_)
            | Event::ScriptDeleted(_)
            | Event::RouteBound(_)
            | Event::RouteUpdated(_)
            | Event::RouteUnbound(_)
            | Event::ApiKeyMinted(_)
            | Event::ApiKeyRevoked(_)
            | Event::AppRenamed(_)
            | Event::AppPaused(_)
            | Event::AppResumed(_)
            | Event::AppDeleted(_)
            | Event::AppPurged(_)
            | Event::AccountCreated(_)
            | Event::AccountRenamed(_)
            | Event::AccountEmailChanged(_)
            | Event::AccountRoleGranted(_)
            | Event::AccountLinkIssued(_)
            | Event::AccountPasswordSet(_)
            | Event::AccountTotpEnabled(_)
            | Event::AccountTotpDisabled(_)
            | Event::AccountRecoveryCodeUsed(_)
            | Event::AccountDeactivated(_)
            | Event::AccountReactivated(_)
            | Event::MemberGranted(_)
            | Event::MemberRemoved(_)
            | Event::MasterKeyRotated(_)
            | Event::AlertChannelSet(_)
            | Event::AlertChannelRemoved(_)
            | Event::AlertRaised(_)
            | Event::AlertRecovered(_)
            | Event::AlertRescheduled(_)
            | Event::AlertDelivered(_)
            | Event::AlertFailed(_)
            | Event::BackupFailed(_)
            | Event::BackupTaken(_)
            | Event::BackupRestored(_)
            | Event::OutboxPaused(_)
            | Event::OutboxResumed(_)
            | Event::SealSealed(_)
            | Event::SessionOpened(_)
            | Event::SessionClosed(_)
            | Event::ProjectionRebuilt(_) => {}
        }
        Ok(())
    }

    fn overwrite(&mut self, key: KvKey<'a>, write: Write<'a>, offset: i32) {
        // An increase that was written over must have been possible all the same.
        let base = self.kv.get(&key).and_then(|earlier| earlier.base);
        self.kv.insert(key, Final { write, offset, base });
    }

    fn increase(&mut self, key: KvKey<'a>, by: i64, offset: i32) -> Result<(), CannotFollow> {
        match self.kv.entry(key) {
            Entry::Vacant(vacant) => {
                let base = Some(Span { low: by, high: by });
                vacant.insert(Final { write: Write::Add(by), offset, base });
                self.increased.push(key);
            }
            Entry::Occupied(mut earlier) => {
                let earlier = earlier.get_mut();
                let write = earlier.write.increased(by).ok_or(CannotFollow)?;
                if let (Write::Add(sum), Some(span)) = (&write, &mut earlier.base) {
                    *span = Span { low: span.low.min(*sum), high: span.high.max(*sum) };
                    self.increased.push(key);
                }
                earlier.write = write;
                earlier.offset = offset;
            }
        }
        Ok(())
    }

    fn settle(&mut self, item: OutboxId, ending: Ending) {
        self.outbox.entry(item).or_default().ending = Some(ending);
    }

    fn end(&mut self, invocation: InvocationId) {
        if self.begun.remove(&invocation).is_none() {
            self.ended.push(invocation);
        }
    }
}

#[cfg(test)]
mod tests;
