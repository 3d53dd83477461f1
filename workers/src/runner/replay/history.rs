//! What the log holds of one run.

use picloud_core::{
    capability::Capability,
    event::{Event, FailureReason, invocation, outbox::CarriedForward},
    keys::DataKey,
    log::{
        Position, Recorded,
        read::{Direction, Filter, Reader},
    },
    outbox::Item,
    replay::{CannotReplay, Failed, Replay},
    run::{LogLine, Rights, Unavailable},
};
use serde_json::Value;
use tracing::error;

use super::learnt::{Given, Learnt, Recordings};

/// More events than a run can leave. What lies between is others'.
const MOST: usize = 50_000;

/// One run, from its beginning to its end.
pub(super) struct History {
    pub began: Recorded,
    pub started: invocation::Started,
    pub given: Given,
    /// What owed it.
    pub item: Option<Item>,
    pub learnt: Vec<Learnt>,
    pub logs: Vec<LogLine>,
    /// What it called outside.
    pub calls: Vec<String>,
    /// What it wrote and sent.
    pub effects: Vec<Event>,
    pub end: End,
}

/// How it ended.
pub(super) enum End {
    /// What it answered, as far as that is recorded.
    Answered {
        status: u16,
        recorded: Option<Value>,
    },
    Failed(Failed),
}

impl History {
    pub async fn read(reader: &Reader, key: &DataKey, wanted: &Replay) -> Result<Self, CannotReplay> {
        let began = at(reader, wanted.began).await?;
        let Event::InvocationStarted(started) = &began.event.event else { return Err(CannotReplay::Gone) };
        let started = started.clone();
        let recordings = Recordings { key, invocation: started.invocation };
        let sealed = started.recording.as_ref().ok_or(CannotReplay::NotRecorded)?;
        let given = recordings.open("request", sealed).ok_or(CannotReplay::Erased)?;
        let item = item(reader, &began, &started).await?;

        let filter =
            Filter { app: Some(Some(wanted.app)), root: began.event.root.map(|root| root.uuid()), ..Filter::default() };
        let events = reader.list(&filter, Direction::Forward, wanted.began, wanted.ended, MOST).await;
        let events = events.map_err(|error| away(&error))?;
        let (mut learnt, mut logs, mut effects, mut end) = (Vec::new(), Vec::new(), Vec::new(), None);
        let mut replays = Vec::new();
        for recorded in events.iter().filter(|recorded| recorded.event.cause == Some(began.event.id)) {
            match &recorded.event.event {
                Event::InvocationJournaled(journaled) => {
                    let more: Option<Vec<Learnt>> = recordings.open("journal", &journaled.recording);
                    learnt.extend(more.ok_or(CannotReplay::Erased)?);
                }
                Event::InvocationLogged(logged) => logs.extend(logged.lines.iter().cloned()),
                Event::InvocationCompleted(completed) => {
                    let recorded = completed.recording.as_ref();
                    let recorded = recorded.and_then(|sealed| recordings.open("response", sealed));
                    end = Some(End::Answered { status: completed.status, recorded });
                }
                Event::InvocationFailed(failed) => {
                    let invocation::Failed { reason, message, line, .. } = failed;
                    end = Some(End::Failed(Failed { reason: *reason, message: message.clone(), line: *line }));
                }
                effect => {
                    effects.push(effect.clone());
                    if matches!(effect, Event::DeadLetterReplayed(_)) {
                        replays.push(recorded);
                    }
                }
            }
            // What follows settles its item: that is not of its doing.
            if end.is_some() {
                break;
            }
        }
        let end = end.ok_or(CannotReplay::Gone)?;
        effects.extend(replaying(reader, wanted, &replays).await?);
        let called = |learnt: &Learnt| match learnt {
            Learnt::Http(call) => Some(format!("{} {}", call.method, call.url)),
            _ => None,
        };
        let calls = learnt.iter().filter_map(called).collect();
        Ok(Self { calls, learnt, began, started, given, item, logs, effects, end })
    }
}

impl History {
    /// What the run may do, told what it might now. That is not recorded, and the key that it came with may be gone: a run that
    /// was not refused had what it took.
    pub fn rights(&self, now: Rights) -> Rights {
        let was_refused = matches!(&self.end, End::Failed(Failed { reason: FailureReason::Forbidden, .. }));
        match now {
            Rights::Principal(_) if !was_refused => Rights::Principal(Capability::ALL.iter().copied().collect()),
            now => now,
        }
    }
}

/// The items that try dead letters again, in the same commit: these are of the letters' own chains.
async fn replaying(reader: &Reader, wanted: &Replay, replays: &[&Recorded]) -> Result<Vec<Event>, CannotReplay> {
    let Some(first) = replays.first() else { return Ok(Vec::new()) };
    let filter = Filter { app: Some(Some(wanted.app)), kinds: vec!["outbox.enqueued".to_owned()], ..Filter::default() };
    let owed = reader.list(&filter, Direction::Forward, first.position, wanted.ended, MOST).await;
    let owed = owed.map_err(|error| away(&error))?;
    let of_replay = |owed: &&Recorded| replays.iter().any(|replay| owed.event.cause == Some(replay.event.id));
    Ok(owed.iter().filter(of_replay).map(|owed| owed.event.event.clone()).collect())
}

/// The item that a run was an attempt at, as it was then.
async fn item(reader: &Reader, began: &Recorded, started: &invocation::Started) -> Result<Option<Item>, CannotReplay> {
    let (Some(_), Some(owed), Some(app)) = (started.item, began.event.cause, began.event.app) else { return Ok(None) };
    let owed = reader.find(owed).await.map_err(|error| away(&error))?.ok_or(CannotReplay::Gone)?;
    let (Event::OutboxEnqueued(enqueued) | Event::OutboxCarriedForward(CarriedForward(enqueued))) = &owed.event.event
    else {
        return Err(CannotReplay::Gone);
    };
    Ok(Some(Item {
        app,
        event: owed.event.id,
        enqueued_at: enqueued.since(owed.at),
        enqueued: enqueued.clone(),
        actor: owed.event.actor.clone(),
        root: owed.event.root,
        depth: owed.event.depth,
        failed: Vec::new(),
    }))
}

async fn at(reader: &Reader, position: Position) -> Result<Recorded, CannotReplay> {
    let found = reader.at(&[position]).await.map_err(|error| away(&error))?;
    found.into_values().next().ok_or(CannotReplay::Gone)
}

pub(super) fn away(error: &(dyn std::error::Error + 'static)) -> CannotReplay {
    error!(error, "Failed to read what is to be run again");
    Unavailable::Log.into()
}
