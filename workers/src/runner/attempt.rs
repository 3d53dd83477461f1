//! One try of a run: everything that happens on the script's own thread.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use chrono::{DateTime, SubsecRound as _, Utc};
use picloud_core::{
    event::{Actor, ActorKind, Event, FailureReason, invocation},
    id::{EventId, InvocationId, NodeEpoch, OutboxId},
    keys::DataKey,
    log::{Broadcast, NewEvent, Read},
    outbox::Item,
    run::{Answer, Call, Failure, Finished, LogLine, Request},
};
use serde_json::value::RawValue;
use tokio::{
    sync::{Mutex, SetOnce},
    time::sleep_until,
};

use super::{Inner, outside::World, patience::Patience, recording::Recorder, source::Database, told::Told};
use crate::{
    effects::{Calls, Effects, Origin, Wanted},
    http::HOPS,
    pool::{MAX_HOPS, Permit},
    redact,
    sandbox::{Ended, Input, PrincipalInfo, Report},
};

/// After how long a run that goes on is told to the log; shorter ones are told of with their end.
pub(super) const STARTED_AFTER: Duration = Duration::from_millis(20);

/// The largest body of a run that is tried where it was asked for.
const SHORT_BODY_BYTES: usize = 16 * 1024;

/// A call as all its tries see it.
pub(super) struct Run {
    pub call: Call,
    pub key: Arc<DataKey>,
    /// How many calls of scripts to scripts of this platform it stands in.
    pub hops: u8,
    /// Whether the log knows that it began; locked while it is told.
    pub told: Mutex<Told>,
    /// What it has called outside.
    calls: Calls,
    request: Arc<Request>,
    event: Option<Arc<RawValue>>,
    actor_json: Arc<str>,
    /// The event that says it began; what it does follows from that.
    started: EventId,
    /// The clock that its script sees: when it was asked for.
    pub now: DateTime<Utc>,
    seed: [u8; 32],
    cancelled: Arc<AtomicBool>,
    /// When its first try got a thread: its time is counted from there, not from when it was asked for.
    began: SetOnce<Instant>,
}

/// What a try came to.
pub(super) enum Attempt {
    /// It ended, well or badly; not yet durable.
    Ended(Box<Tried>),
    /// What it read changed while it ran.
    Conflict(Vec<Read>),
    /// The database was away.
    Unavailable,
}

/// A try that ended.
pub(super) struct Tried {
    /// What the caller gets once it is durable.
    pub finished: Finished,
    /// What it leaves in the log, its end last.
    pub events: Vec<NewEvent>,
    /// What all of it was based on; empty when nothing has to be checked.
    pub reads: Vec<Read>,
    /// What is told to whoever listens, and stored nowhere.
    pub broadcasts: Vec<Broadcast>,
}

impl Tried {
    pub fn timed_out(&self) -> bool {
        matches!(&self.finished.result, Err(failure) if failure.reason == FailureReason::TimedOut)
    }
}

impl Run {
    pub fn new(mut call: Call, key: Arc<DataKey>) -> Self {
        Self {
            key,
            hops: hops(&call.request),
            told: Mutex::default(),
            calls: Calls::default(),
            request: Arc::new(std::mem::take(&mut call.request)),
            event: call.event.take().map(Arc::from),
            actor_json: serde_json::to_string(&call.actor).expect("actors are plain data").into(),
            started: EventId::generate(),
            // What scripts and recordings show: microseconds, as the log's own times.
            now: Utc::now().trunc_subsecs(6),
            seed: rand::random(),
            cancelled: Arc::default(),
            began: SetOnce::new(),
            call,
        }
    }

    /// When it must be over; never, before it began.
    pub fn deadline(&self) -> Instant {
        self.began() + Duration::from_millis(self.call.program.limits.timeout_ms)
    }

    pub fn is_late(&self) -> bool {
        Instant::now() >= self.deadline()
    }

    /// How long it has lasted, all its tries included.
    pub fn lasted(&self) -> Duration {
        self.began().elapsed()
    }

    fn began(&self) -> Instant {
        self.began.get().copied().unwrap_or_else(Instant::now)
    }

    /// Resolves when it has lasted for so long that the log is to know of it.
    pub async fn lasts(&self, patience: &Patience) {
        if self.began.get().is_none() {
            // Not woken when it begins: nearly every run has ended by then.
            patience.is_over().await;
        }
        let began = *self.began.wait().await;
        sleep_until((began + STARTED_AFTER).into()).await;
    }

    /// The event that says that it began.
    pub fn started_event(&self, node: NodeEpoch) -> NewEvent {
        let program = &self.call.program;
        let request = self.event.is_none().then_some(&*self.request);
        let item = self.call.item.as_deref();
        let mut event = self.event(invocation::Started {
            invocation: self.call.invocation,
            script: program.script,
            version: program.version,
            invocation_type: self.call.kind,
            route: self.call.route,
            trigger: item.and_then(|item| item.enqueued.source.trigger()),
            item: item.map(|item| item.enqueued.item),
            attempt: item.map_or(1, Item::attempt),
            node,
            recording: self.recorder().request(request, self.now, &self.seed),
        });
        event.id = self.started;
        event.cause = item.map(|item| item.event);
        event
    }

    /// The event that says that it failed.
    pub fn failed_event(&self, failure: &Failure, duration: Duration, runs: u32) -> NewEvent {
        self.event(invocation::Failed {
            invocation: self.call.invocation,
            reason: failure.reason,
            message: failure.message.clone(),
            line: failure.line,
            limit: failure.limit.map(str::to_owned),
            duration_us: micros(duration),
            runs,
        })
    }

    /// The event that says what it called outside, if it did and no try tells of it.
    pub fn called_event(&self) -> Option<NewEvent> {
        let recording = self.recorder().calls(&self.calls)?;
        Some(self.event(invocation::Journaled { invocation: self.call.invocation, recording }))
    }

    /// Runs the script once, on this thread.
    pub fn attempt(self: &Arc<Self>, inner: &Arc<Inner>, permit: &Permit, runs: u32) -> Attempt {
        // Set already by an earlier try, or now.
        let _ = self.began.set(Instant::now());
        permit.ends_by(self.deadline());
        let effects = self.effects(inner, Some(permit.clone()));
        let (report, effects) = inner.parts.sandbox.run(&self.call.program, self.input(), effects);
        self.came_to(report, effects, runs)
    }

    /// Runs the script, for the first time, on a thread that has others to serve, if it is so short that handing it to one
    /// of its own would take longer. None, when it is not: then it has not begun.
    pub fn attempt_here(self: &Arc<Self>, inner: &Arc<Inner>) -> Option<Attempt> {
        if self.request.body.len() > SHORT_BODY_BYTES {
            return None;
        }
        let began = Instant::now();
        let program = &self.call.program;
        let input = || (self.input(), self.effects(inner, None));
        let (report, effects) = inner.parts.sandbox.run_short(program, input)?;
        let _ = self.began.set(began);
        Some(self.came_to(report, effects, 1))
    }

    fn effects(self: &Arc<Self>, inner: &Arc<Inner>, permit: Option<Permit>) -> Effects<Database> {
        let program = &self.call.program;
        let database = Database {
            pool: inner.parts.database.clone(),
            committer: inner.parts.committer.clone(),
            handle: inner.handle.clone(),
            permit,
            app: program.app,
            deadline: self.deadline(),
            outside: World { inner: Arc::clone(inner), run: Arc::clone(self) },
        };
        Effects::new(database, program.app, &program.limits, self.now).after(self.calls.clone())
    }

    fn came_to(&self, report: Report, effects: Effects<Database>, runs: u32) -> Attempt {
        let Report { result, logs, logs_dropped, operations, peak_memory_bytes: _ } = report;
        let result = match result {
            Err(Ended::Conflict) => return Attempt::Conflict(effects.reads()),
            Err(Ended::Unavailable) => return Attempt::Unavailable,
            Err(Ended::BadInput(message)) => Err(failure(FailureReason::BadInput, message)),
            Err(Ended::Failed(failure)) => {
                let message = redact::text(&failure.message, effects.secrets()).into_owned();
                Err(Failure { message, ..failure })
            }
            Ok(answer) => match effects.calls_left_out() {
                Some(message) => Err(failure(FailureReason::Conflict, message)),
                None => Ok(answer),
            },
        };
        let duration = self.lasted();
        let logs = redact::lines(logs, effects.secrets());
        let finished = Finished { result, logs, duration_us: micros(duration), operations };
        Attempt::Ended(Box::new(self.tried(finished, logs_dropped, effects, duration, runs)))
    }

    fn input(&self) -> Input {
        Input {
            request: Arc::clone(&self.request),
            kind: self.call.kind,
            invocation: self.call.invocation,
            request_id: self.call.request_id,
            principal: principal(&self.call.actor),
            rights: self.call.rights,
            event: self.event.clone(),
            now: self.now,
            seed: self.seed,
            deadline: self.deadline(),
            cancelled: Arc::clone(&self.cancelled),
        }
    }

    fn tried(
        &self,
        finished: Finished,
        logs_dropped: u32,
        effects: Effects<Database>,
        duration: Duration,
        runs: u32,
    ) -> Tried {
        let mut events = Vec::with_capacity(2);
        events.extend(self.journaled(&effects));
        events.extend(self.logged(&finished.logs, logs_dropped));
        let asked = effects.asked();
        let secrets = effects.secrets().to_vec();
        let Wanted { events: effects, mut reads, origins, mut broadcasts } = effects.into_wanted();
        let mut wrote = false;
        match &finished.result {
            Ok(answer) => {
                wrote = !effects.is_empty();
                for effect in effects {
                    events.push(self.effect(effect, &origins, events.last()));
                }
                events.push(self.completed_event(answer, &secrets, finished.operations, duration, runs));
            }
            // A failure, too, is told only if what the script saw was so: its reads stay.
            Err(failure) => {
                events.push(self.failed_event(failure, duration, runs));
                broadcasts.clear();
            }
        }
        // What is said to others is a write to whoever hears it.
        wrote |= !broadcasts.is_empty();
        // A single answer is a picture of one moment by itself: whatever came of it alone is as if the run had been then.
        if !wrote && asked < 2 {
            reads.clear();
        }
        Tried { finished, events, reads, broadcasts }
    }

    fn completed_event(
        &self,
        answer: &Answer,
        secrets: &[String],
        operations: u64,
        duration: Duration,
        runs: u32,
    ) -> NewEvent {
        self.event(invocation::Completed {
            invocation: self.call.invocation,
            status: answer.status,
            duration_us: micros(duration),
            operations,
            runs,
            recording: Recorder { secrets, ..self.recorder() }.response(answer),
        })
    }

    fn journaled(&self, effects: &Effects<Database>) -> Option<NewEvent> {
        let recording = Recorder { secrets: effects.secrets(), ..self.recorder() }.journal(effects)?;
        Some(self.event(invocation::Journaled { invocation: self.call.invocation, recording }))
    }

    fn logged(&self, lines: &[LogLine], dropped: u32) -> Option<NewEvent> {
        let said = !lines.is_empty() || dropped > 0;
        said.then(|| {
            self.event(invocation::Logged { invocation: self.call.invocation, lines: lines.to_vec(), dropped })
        })
    }

    /// An event that the run makes, after another. What it owes lies further from what began all this than the run itself;
    /// a letter that is tried again lies where it lay, and is in the name that it was in.
    fn effect(&self, effect: Event, origins: &BTreeMap<OutboxId, Origin>, before: Option<&NewEvent>) -> NewEvent {
        let Event::OutboxEnqueued(owed) = &effect else { return self.event(effect) };
        match origins.get(&owed.item) {
            None => {
                let event = self.event(effect);
                NewEvent { depth: event.depth.saturating_add(1), ..event }
            }
            Some(Origin { actor, root, depth }) => {
                let event = NewEvent::new(Some(self.call.program.app), actor, effect);
                NewEvent { cause: before.map(|replayed| replayed.id), root: *root, depth: *depth, ..event }
            }
        }
    }

    /// What its chain is named after: itself, when it begins one.
    pub fn chain(&self) -> InvocationId {
        self.call.item.as_deref().map_or(self.call.invocation, Item::chain)
    }

    /// An event that follows from the run.
    pub fn event(&self, event: impl Into<Event>) -> NewEvent {
        let item = self.call.item.as_deref();
        let depth = item.map_or(0, |item| item.depth);
        NewEvent::with_actor_json(Some(self.call.program.app), &self.call.actor, &self.actor_json, event).following(
            Some(self.started),
            self.chain(),
            depth,
        )
    }

    fn recorder(&self) -> Recorder<'_> {
        Recorder { key: &self.key, record: self.call.record, invocation: self.call.invocation, secrets: &[] }
    }
}

/// A failure that is in no line of the script.
pub(super) const fn failure(reason: FailureReason, message: String) -> Failure {
    Failure { reason, message, line: None, column: None, limit: None, retry: None }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What a request says of the calls it stands in. Whoever says too much is allowed less.
pub(super) fn hops(request: &Request) -> u8 {
    let said = request.headers.iter().filter(|(name, _)| name == HOPS).map(|(_, value)| value.parse::<u8>());
    said.map(|hops| hops.unwrap_or(MAX_HOPS)).max().unwrap_or(0).min(MAX_HOPS)
}

pub(super) fn principal(actor: &Actor) -> Option<PrincipalInfo> {
    match actor.kind {
        ActorKind::Public | ActorKind::System => None,
        kind @ (ActorKind::Account | ActorKind::ApiKey | ActorKind::Trigger) => {
            Some(PrincipalInfo { kind, id: actor.id.clone().unwrap_or_default() })
        }
    }
}
