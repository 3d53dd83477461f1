//! One call on its way: tried until what it read holds, told to the log when it takes long, ended durably.

use std::{collections::HashSet, pin::pin, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures::future::join;
use picloud_core::{
    event::FailureReason,
    log::{
        Authority, Broadcast, Commit, CommitError, NewEvent, Outcome, Read, Rejected,
        idempotency::{self, Kept},
    },
    run::{Failure, Finished, Unavailable},
};
use tokio::{sync::oneshot, task::yield_now, time::sleep};
use tracing::{error, warn};

use super::{
    Inner,
    attempt::{Attempt, Run, Tried, failure, micros},
    told::Told,
};
use crate::{
    outbox::settlement,
    pool::Refused,
    turns::{Key, Turn, Turns},
};

/// A run that read more keys than this contends for whole collections when it has to be repeated.
const MAX_KEYS_IN_LINE: usize = 64;

/// How often to look whether a short run may be made at once. Most that others have to go first for is over by the next look;
/// handed to a thread each, short runs would keep others from being made at once in their turn.
const LOOKS: usize = 8;

/// The longest pause between offers of a run's end to a log that is away.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// One call on its way.
pub(super) struct Course {
    inner: Arc<Inner>,
    run: Arc<Run>,
    /// How often it has been tried.
    runs: u32,
}

impl Course {
    pub fn new(inner: Arc<Inner>, run: Run) -> Self {
        Self { inner, run: Arc::new(run), runs: 0 }
    }

    pub async fn run_to_its_end(mut self) -> Result<Finished, Unavailable> {
        let mut contention = Contention::default();
        loop {
            let overtaken = match self.attempt().await? {
                Attempt::Ended(tried) if self.runs > 1 && tried.timed_out() => break,
                Attempt::Ended(tried) => match self.commit(*tried).await {
                    Ok(finished) => return Ok(finished),
                    Err((CommitError::Rejected(Rejected::Stale), reads)) => reads,
                    Err((error, _)) => return self.not_committed(error).await,
                },
                Attempt::Conflict(reads) => reads,
                Attempt::Unavailable => return Err(self.give_up(Unavailable::Log).await),
            };
            if self.run.is_late() {
                break;
            }
            let (inner, run) = (Arc::clone(&self.inner), Arc::clone(&self.run));
            let line_up = contention.line_up(&inner.turns, &overtaken, &run);
            if !self.telling(line_up).await {
                break;
            }
        }
        // Others need not wait for the word of it.
        drop(contention);
        self.fail(conflict(self.runs)).await
    }

    /// Runs the script once.
    async fn attempt(&mut self) -> Result<Attempt, Unavailable> {
        self.runs += 1;
        if self.runs == 1
            && let Some(attempt) = self.attempt_here().await
        {
            return Ok(attempt);
        }
        let (answer, answered) = oneshot::channel();
        let (inner, run, runs) = (Arc::clone(&self.inner), Arc::clone(&self.run), self.runs);
        let job = move |permit: &_| {
            let attempt = run.attempt(&inner, permit, runs);
            // Nobody waits any more only when the node is gone.
            let _ = answer.send(attempt);
        };
        let (pool, app) = (&self.inner.parts.pool, self.run.call.program.app);
        let submitted = match (runs, self.run.hops) {
            (1, 0) => pool.submit(app, job),
            (1, hops) => pool.submit_nested(app, hops, job),
            _ => pool.submit_again(app, job),
        };
        if let Err(refused) = submitted {
            let why = match refused {
                Refused::Busy => Unavailable::Busy,
                Refused::ShuttingDown => Unavailable::ShuttingDown,
            };
            return Err(self.give_up(why).await);
        }
        match self.telling(answered).await {
            Ok(attempt) => Ok(attempt),
            // The answer is lost only by a panic, which the pool reports.
            Err(_) => Err(self.give_up(Unavailable::Log).await),
        }
    }

    /// Runs the script on this task's thread, when it is its app's turn and the script a short one.
    async fn attempt_here(&self) -> Option<Attempt> {
        let Inner { parts, .. } = &*self.inner;
        for _ in 0..LOOKS {
            if let Some(tried) = parts.pool.here(self.run.call.program.app, || self.run.attempt_here(&self.inner)) {
                return tried;
            }
            yield_now().await;
        }
        None
    }

    /// Waits for something, and meanwhile tells the log that the run began, should it have lasted for long.
    async fn telling<T>(&mut self, what: impl Future<Output = T>) -> T {
        if *self.run.told.lock().await != Told::NotYet {
            return what.await;
        }
        let mut what = pin!(what);
        tokio::select! {
            biased;
            done = &mut what => return done,
            () = self.run.lasts(&self.inner.patience) => {}
        }
        let (done, _) = join(what, self.inner.tell(&self.run)).await;
        done
    }

    /// Makes a try the run's end; hands its reads back when that cannot be.
    async fn commit(&mut self, tried: Tried) -> Result<Finished, (CommitError, Vec<Read>)> {
        let Tried { finished, mut events, reads, broadcasts } = tried;
        let (ended_at, outcome) = (self.told_at(), self.outcome(&finished));
        match self.settle(finished.result.as_ref().err()).await {
            Ok(more) => events.extend(more),
            Err(error) => return Err((error, reads)),
        }
        match self.append(events, reads.clone(), outcome, broadcasts).await {
            Ok(()) => {
                self.tell_end(&finished, ended_at);
                Ok(finished)
            }
            Err(error) => Err((error, reads)),
        }
    }

    /// What the run's end means for the item that it is an attempt at.
    async fn settle(&self, failure: Option<&Failure>) -> Result<Vec<NewEvent>, CommitError> {
        let call = &self.run.call;
        let Some(item) = &call.item else { return Ok(Vec::new()) };
        let events = match failure {
            None => settlement::delivered(item, call.invocation),
            Some(failure) => {
                let tried = settlement::Tried {
                    invocation: Some(call.invocation),
                    script: &call.program.name,
                    version: Some(call.program.version),
                    duration: self.run.lasted(),
                };
                let settled = settlement::failed(&self.inner.parts.keyring, item, tried, failure).await;
                settled.map_err(|error| {
                    error!(
                        %error,
                        outbox.item = %item.enqueued.item,
                        trace_id = %self.run.trace(),
                        "Failed to settle an item of the outbox"
                    );
                    CommitError::Unavailable
                })?
            }
        };
        Ok(events.into_iter().map(|event| self.run.event(event)).collect())
    }

    async fn append(
        &mut self,
        mut events: Vec<NewEvent>,
        reads: Vec<Read>,
        outcome: Option<Outcome>,
        broadcasts: Vec<Broadcast>,
    ) -> Result<(), CommitError> {
        let parts = &self.inner.parts;
        let mut told = self.run.told.lock().await;
        match *told {
            Told::NotYet => events.insert(0, self.run.started_event(parts.node.epoch())),
            Told::Yes => {}
            Told::Unknown | Told::Over => return Err(CommitError::Unknown),
        }
        let lease = self.run.call.item.as_ref().map(|item| item.enqueued.item);
        let authority = Authority { lease, ..parts.node.authority() };
        let commit = Commit { reads, outcome, broadcasts, ..Commit::new(authority, events) };
        let committed = parts.committer.commit(commit).await;
        match committed {
            Ok(_) => *told = Told::Over,
            Err(CommitError::Unknown) => *told = Told::Unknown,
            Err(_) => {}
        }
        committed.map(|_| ())
    }

    /// Now, if the run's trace is told.
    fn told_at(&self) -> Option<DateTime<Utc>> {
        self.inner.parts.tracer.wants(self.run.trace()).then(Utc::now)
    }

    /// Tells the trace that the run's end, which came then, is durable.
    fn tell_end(&self, finished: &Finished, ended_at: Option<DateTime<Utc>>) {
        if let Some(ended_at) = ended_at {
            self.run.tell_end(&self.inner.parts.tracer, finished, self.runs, ended_at);
        }
    }

    /// What an idempotent request is to be answered from now on. A failure frees the key instead, as whoever claimed it does.
    fn outcome(&self, finished: &Finished) -> Option<Outcome> {
        let claim = self.run.call.idempotency.clone()?;
        let answer = finished.result.as_ref().ok().filter(|answer| answer.status < 500)?;
        let kept = Kept::of(Some(self.run.call.invocation), answer);
        Some(Outcome { sealed: idempotency::seal(&self.run.key, &claim.scope, &kept), claim })
    }

    /// Ends the run badly for a reason outside of it, durably.
    async fn fail(&mut self, failure: Failure) -> Result<Finished, Unavailable> {
        let (ended_at, duration) = (self.told_at(), self.run.lasted());
        let mut events = Vec::from_iter(self.run.called_event());
        events.push(self.run.failed_event(&failure, duration, self.runs));
        match self.settle(Some(&failure)).await {
            Ok(more) => events.extend(more),
            Err(error) => return Err(self.give_up(unavailable(&error)).await),
        }
        match self.append(events, Vec::new(), None, Vec::new()).await {
            Ok(()) => {
                let logs = Vec::new();
                let finished = Finished { result: Err(failure), logs, duration_us: micros(duration), operations: 0 };
                self.tell_end(&finished, ended_at);
                Ok(finished)
            }
            Err(error) => Err(self.give_up(unavailable(&error)).await),
        }
    }

    /// Its end could not be committed as it was, and a repetition would not change that.
    async fn not_committed(&mut self, error: CommitError) -> Result<Finished, Unavailable> {
        let (reason, message) = match error {
            CommitError::Rejected(Rejected::NotANumber) => {
                (FailureReason::KvNotANumber, "`increment` on a value that is no integer, or past the range of one")
            }
            CommitError::Rejected(Rejected::Invalid { constraint }) => {
                warn!(
                    constraint,
                    invocation.id = %self.run.call.invocation,
                    trace_id = %self.run.trace(),
                    "The database refused what a run wrote"
                );
                let message = "the database refused what the run wrote: look for characters or sizes it cannot store";
                (FailureReason::Threw, message)
            }
            CommitError::Rejected(Rejected::OwesTooMuch) => {
                let message = "what the run wrote and sent matches so many triggers, or is so long, that the work it owes is \
                     more than 10 000 items or 16 MiB: write or send less at once";
                (FailureReason::OverLimit, message)
            }
            CommitError::Rejected(Rejected::Unclaimed) => {
                let message = "the idempotency key was given to another attempt meanwhile: ask again for its outcome";
                (FailureReason::Conflict, message)
            }
            CommitError::Rejected(Rejected::Unleased) => return Err(self.give_up(Unavailable::Unleased).await),
            // Staleness is not final and never comes here.
            CommitError::Rejected(Rejected::Stale)
            | CommitError::Busy
            | CommitError::Unavailable
            | CommitError::Unknown
            | CommitError::Revoked => return Err(self.give_up(unavailable(&error)).await),
        };
        self.fail(failure(reason, message.to_owned())).await
    }

    /// The run wrote nothing. When the log knows that it began, it is told that it ended, as soon as it listens.
    async fn give_up(&mut self, why: Unavailable) -> Unavailable {
        let mut told = self.run.told.lock().await;
        if *told == Told::Yes {
            let failure = failure(FailureReason::Abandoned, format!("the run's end could not be committed: {why}"));
            let event = self.run.failed_event(&failure, self.run.lasted(), self.runs);
            let owed = owe(Arc::clone(&self.inner), event);
            self.inner.courses.spawn_on(owed, &self.inner.handle);
        }
        *told = Told::Over;
        why
    }
}

/// Offers an event to the log until it takes it, or until others may speak for this node.
async fn owe(inner: Arc<Inner>, event: NewEvent) {
    let parts = &inner.parts;
    let mut pause = Duration::from_millis(100);
    loop {
        let commit = Commit::new(parts.node.authority(), vec![event.clone()]);
        match parts.committer.commit(commit).await {
            Err(CommitError::Busy | CommitError::Unavailable) => sleep(pause).await,
            Ok(_) | Err(CommitError::Rejected(_) | CommitError::Unknown | CommitError::Revoked) => return,
        }
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// What a run was overtaken on, and its turns for that: held from the second try on until its commit is answered, so that
/// contenders go through one after another.
#[derive(Default)]
struct Contention {
    keys: HashSet<Key>,
    turns: Vec<Turn>,
}

impl Contention {
    /// Waits for the turns of what was read; false, when the run's time was up before they came.
    async fn line_up(&mut self, turns: &Turns, overtaken: &[Read], run: &Run) -> bool {
        let keys = keys(turns, overtaken);
        if self.keys.is_superset(&keys) {
            return true;
        }
        self.keys.extend(keys);
        // All are given back before all are taken: holding some while waiting for others could wait for ever.
        self.turns.clear();
        match turns.take_all(self.keys.iter().copied(), run.deadline().into()).await {
            Ok(taken) => {
                self.turns = taken;
                true
            }
            Err(_late) => false,
        }
    }
}

/// What a run that read this contends for.
fn keys(turns: &Turns, reads: &[Read]) -> HashSet<Key> {
    let each = reads.len() <= MAX_KEYS_IN_LINE;
    let of = |read: &Read| match read {
        Read::Kv { app, collection, key, .. } if each => Some(turns.key(&(app, "kv", collection, key))),
        Read::Kv { app, collection, .. } | Read::KvRange { app, collection, .. } => {
            Some(turns.key(&(app, "kv", collection)))
        }
        Read::Config { .. }
        | Read::DeadLetter { .. }
        | Read::Alert { .. }
        | Read::Cron { .. }
        | Read::Owed { .. }
        | Read::Lane { .. }
        | Read::LastSeal { .. } => None,
    };
    reads.iter().filter_map(of).collect()
}

/// What a caller is told of a commit that was not made, or of which nobody knows.
const fn unavailable(error: &CommitError) -> Unavailable {
    match error {
        CommitError::Busy => Unavailable::Busy,
        CommitError::Rejected(_) | CommitError::Unavailable | CommitError::Unknown | CommitError::Revoked => {
            Unavailable::Log
        }
    }
}

fn conflict(runs: u32) -> Failure {
    let times = if runs == 1 { "once".to_owned() } else { format!("{runs} times") };
    let message = format!(
        "the script ran {times}, and each time others changed what it had read, until its time was up: try again"
    );
    failure(FailureReason::Conflict, message)
}
