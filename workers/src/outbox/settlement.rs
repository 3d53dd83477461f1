//! What the end of an attempt means for its item: the events that go into the log with it.

use std::time::Duration;

use chrono::{SubsecRound as _, Utc};
use picloud_core::{
    event::{
        Actor, Event,
        dead_letter::{self, HandlerEnded, Reason},
        outbox::{self, Attempt},
    },
    id::{DeadLetterId, InvocationId, VersionId},
    keys::{CannotOpen, Keyring, KeyringError, Purpose},
    log::NewEvent,
    outbox::{Item, Next, Plain, fingerprint},
    run::Failure,
};

/// Why the end of an attempt cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum SettlementError {
    /// A key is not to be had.
    #[error("failed to get a key for a dead letter")]
    Keyring(#[from] KeyringError),
    /// What the item holds cannot be read.
    #[error("what the item holds cannot be read")]
    CannotOpen(#[from] CannotOpen),
}

/// What is known of a script when an attempt at an item ends.
#[derive(Clone, Copy, Debug)]
pub struct Tried<'a> {
    /// The run; none when none began.
    pub invocation: Option<InvocationId>,
    /// What the script is called.
    pub script: &'a str,
    /// Which version ran.
    pub version: Option<VersionId>,
    /// How long it ran.
    pub duration: Duration,
}

/// An attempt succeeded.
#[must_use]
pub fn delivered(item: &Item, invocation: InvocationId) -> Vec<Event> {
    let done = outbox::Delivered { item: item.enqueued.item, attempt: item.attempt(), invocation };
    let handled = item.enqueued.handles.map(|dead_letter| {
        let ended = HandlerEnded { dead_letter, item: item.enqueued.item, invocation: Some(invocation), error: None };
        ended.into()
    });
    std::iter::once(done.into()).chain(handled).collect()
}

/// An attempt failed: there will be another, or the item is a letter.
///
/// # Errors
/// When the letter cannot be sealed.
pub async fn failed(
    keyring: &Keyring,
    item: &Item,
    tried: Tried<'_>,
    failure: &Failure,
) -> Result<Vec<Event>, SettlementError> {
    let now = Utc::now().trunc_subsecs(6);
    let attempt = Attempt {
        number: item.attempt(),
        invocation: tried.invocation,
        at: now,
        reason: failure.reason,
        error: failure.message.clone(),
        duration_us: u64::try_from(tried.duration.as_micros()).unwrap_or(u64::MAX),
    };
    match item.after_failure(failure.reason, failure.retry, rand::random(), now) {
        Next::Again { due_at } => Ok(vec![outbox::Rescheduled { item: item.enqueued.item, attempt, due_at }.into()]),
        // In a box, as all that is rare and large in what every attempt may come to.
        Next::Letter(reason) => Box::pin(letter(keyring, item, tried, reason, attempt)).await,
    }
}

/// There is nothing more to be tried.
///
/// # Errors
/// When the letter cannot be sealed.
pub async fn letter(
    keyring: &Keyring,
    item: &Item,
    tried: Tried<'_>,
    reason: Reason,
    last: Attempt,
) -> Result<Vec<Event>, SettlementError> {
    let enqueued = &item.enqueued;
    if let Some(dead_letter) = enqueued.handles {
        // There is a letter already, and it stays in sight: that nobody could take care of it makes no second one.
        let ended =
            HandlerEnded { dead_letter, item: enqueued.item, invocation: tried.invocation, error: Some(last.error) };
        return Ok(vec![outbox::Exhausted { item: enqueued.item, dead_letter }.into(), ended.into()]);
    }
    let id = DeadLetterId::generate();
    let plain = match item.event(&[]) {
        Some(event) => Plain::Event(event),
        None => Plain::open(&enqueued.payload, enqueued.item, &*keyring.app(item.app).await?)?,
    };
    let plain = serde_json::to_vec(&plain).expect("payloads are plain data");
    let payload = keyring.seal_apart(item.app, Purpose::Payload, id.to_string().as_bytes(), &plain).await?;
    let error = last.error.clone();
    let mut attempts = item.failed.clone();
    attempts.push(last);
    let created = dead_letter::Created {
        dead_letter: id,
        item: enqueued.item,
        source: enqueued.source,
        script: enqueued.script,
        script_name: tried.script.to_owned(),
        version: tried.version,
        lane: enqueued.lane.clone(),
        priority: enqueued.priority,
        retry: enqueued.retry,
        enqueued_at: item.enqueued_at,
        reason,
        fingerprint: fingerprint(tried.script, &error),
        error,
        attempts,
        payload,
    };
    Ok(vec![outbox::Exhausted { item: enqueued.item, dead_letter: id }.into(), created.into()])
}

/// An event about an item that no run of it says.
#[must_use]
pub fn about(item: &Item, event: Event) -> NewEvent {
    // A letter bears the name of whoever made its item be owed: in that it runs when it is tried again.
    let actor = if matches!(event, Event::DeadLetterCreated(_)) { &item.actor } else { &Actor::SYSTEM };
    let event = NewEvent::new(Some(item.app), actor, event);
    NewEvent { cause: Some(item.event), root: Some(item.chain()), depth: item.depth, ..event }
}
