//! A recorded run, run again in a world made of its recording: the same interpreter and the same overlay over stored data, but
//! what is stored is what was recorded, and nothing is committed.
//!
//! - `history` reads from the log what the run left there, `learnt` what lies in it encrypted.
//! - [`Recording`] answers the script; what it is asked for and does not have is told.
//! - `readable` and `difference` compare what came of it with what had come of it then.

mod difference;
mod history;
mod learnt;
mod readable;
mod recording;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use futures::{FutureExt as _, future::BoxFuture};
use picloud_core::{
    event::FailureReason,
    id::{AppId, DeadLetterId, ScriptId, VersionId},
    replay::{Candidate, CannotReplay, Course, Failed, Lacking, Replay, Replayed, Replayer},
    run::{Failure, InvocationType, Record, Unavailable},
};
use picloud_projections::{dead_letters, scripts, setup::App};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use self::{
    history::{End, History, away},
    learnt::Learnt,
    recording::{Home, KnownLetter, Listing, Recording, World},
};
use super::{
    Inner, Runner,
    attempt::{failure, hops, principal},
    recording::Output,
};
use crate::{
    effects::{Effects, Invocable},
    letters::held,
    outbox::happened,
    pool::{Permit, Refused},
    sandbox::{Ended, Input, Report},
};

impl Replayer for Runner {
    fn replay(&self, wanted: Replay) -> BoxFuture<'static, Result<Replayed, CannotReplay>> {
        let inner = Arc::clone(&self.inner);
        async move { inner.replay(wanted).await }.boxed()
    }
}

impl Inner {
    async fn replay(self: Arc<Self>, wanted: Replay) -> Result<Replayed, CannotReplay> {
        let key = self.key(wanted.app).await?;
        let mut history = History::read(&self.reader, &key, &wanted).await?;
        let setup = self.parts.setup.get();
        let app = Arc::clone(setup.apps.get(&wanted.app).ok_or(CannotReplay::Gone)?);
        let began = Arc::clone(&history.began.event);
        let started = history.started.clone();
        let candidate = match wanted.candidate {
            Some(candidate) => candidate,
            None => self.as_it_was(&app, started.script, started.version).await?.ok_or(CannotReplay::NoScript)?,
        };
        if candidate.program.script != started.script {
            return Err(CannotReplay::OtherScript);
        }
        let event = match &history.item {
            Some(item) => Box::pin(happened(&self.parts.database, &self.parts.keyring, item, started.attempt)).await,
            None => Ok(None),
        };
        let event = event.map_err(|error| away(&error))?.map(Arc::from);
        let (request, left_out) = history.given.came.take().map(learnt::Came::request).unwrap_or_default();
        let lacking = left_out.map(|bytes| Lacking {
            what: format!("the body of the request, {bytes} bytes"),
            instead: "empty".to_owned(),
        });
        let Candidate { program, deployed_by } = candidate;
        let input = Input {
            kind: InvocationType::Replay,
            invocation: started.invocation,
            request_id: began.actor.request_id,
            principal: principal(&began.actor),
            rights: history.rights(setup.rights_to_run(&began.actor, app.id, &deployed_by, Utc::now())),
            event,
            now: history.given.now,
            seed: history.given.seed,
            // Counted from when it gets a thread.
            deadline: Instant::now(),
            cancelled: Arc::default(),
            request: Arc::new(request),
        };
        let home = Home {
            hops: hops(&input.request),
            request_id: input.request_id,
            actor: began.actor.clone(),
            key,
            setup,
            app,
        };
        let learnt = self.world(&home, std::mem::take(&mut history.learnt)).await?;

        let (answer, answered) = oneshot::channel();
        let (inner, timeout) = (Arc::clone(&self), Duration::from_millis(program.limits.timeout_ms));
        let job = move |permit: &Permit| {
            let deadline = Instant::now() + timeout;
            permit.ends_by(deadline);
            let lacking = lacking.into_iter().collect();
            let recording = Recording { permit: permit.clone(), home, learnt, lacking };
            let effects = Effects::new(recording, program.app, &program.limits, input.now);
            let input = Input { deadline, ..input };
            // Nobody waits any more only when the node is gone, or who asked.
            let _ = answer.send(inner.parts.sandbox.run(&program, input, effects));
        };
        self.parts.pool.submit(wanted.app, job).map_err(|refused| match refused {
            Refused::Busy => Unavailable::Busy,
            Refused::ShuttingDown => Unavailable::ShuttingDown,
        })?;
        // The answer is lost only by a panic, which the pool reports.
        let (report, effects) = answered.await.map_err(|_| Unavailable::Log)?;
        Ok(compared(&history, report, effects))
    }

    /// What a run learnt, with what is looked up for it: nothing waits while it runs.
    async fn world(&self, home: &Home, learnt: Vec<Learnt>) -> Result<World, CannotReplay> {
        let mut world = World::default();
        for learnt in learnt {
            match learnt {
                Learnt::Kv(read) => {
                    world.keys.insert((read.collection.clone(), read.key.clone()), read.value());
                }
                Learnt::KvRange(range) => world.ranges.push(range),
                Learnt::DeadLetter { id, letter } => {
                    let known = match letter {
                        Some(letter) => self.letter(home.app.id, id, letter).await?,
                        None => Some(None),
                    };
                    world.letters.extend(known.map(|known| (id, known)));
                }
                Learnt::DeadLetters { filter, after, ids } => world.listings.push(Listing { filter, after, ids }),
                Learnt::Invoked { name, version } => {
                    if let Some(invoked) = self.invoked(home, &name, version).await? {
                        world.invoked.insert(name, invoked);
                    }
                }
                Learnt::Http(call) => world.calls.push(Some(call)),
            }
        }
        Ok(world)
    }

    /// A letter as the run saw it; none, when it is gone since.
    async fn letter(
        &self,
        app: AppId,
        id: DeadLetterId,
        seen: learnt::Letter,
    ) -> Result<Option<KnownLetter>, CannotReplay> {
        let found = dead_letters::find(&self.parts.database, app, id).await.map_err(|error| away(&error))?;
        let Some(mut letter) = found else { return Ok(None) };
        let held = held(&self.parts.keyring, app, &letter.created).await.map_err(|error| away(&error))?;
        letter.resolved = seen.resolved(letter.resolved);
        Ok(Some(Some((letter, held))))
    }

    /// The version of a script that was run as a part of the run; none, when the script is gone.
    async fn invoked(&self, home: &Home, name: &str, version: VersionId) -> Result<Option<Invocable>, CannotReplay> {
        let Some(script) = home.app.scripts.iter().find(|script| script.name == name) else { return Ok(None) };
        let found = self.as_it_was(&home.app, script.id, version).await?;
        Ok(found.map(|Candidate { program, deployed_by }| Invocable {
            rights: home.setup.rights_to_run(&home.actor, home.app.id, &deployed_by, Utc::now()),
            program,
            is_paused: false,
        }))
    }

    /// A script as a version of it says.
    async fn as_it_was(
        &self,
        app: &App,
        script: ScriptId,
        version: VersionId,
    ) -> Result<Option<Candidate>, CannotReplay> {
        let Some(script) = app.scripts.iter().find(|known| known.id == script) else { return Ok(None) };
        let found = Box::pin(scripts::version(&self.parts.database, app.id, script.id, version)).await;
        let found = found.map_err(|error| away(&error))?;
        Ok(found.map(|version| {
            let deployed_by = version.actor.clone();
            Candidate { program: Arc::new(version.program(app, script)), deployed_by }
        }))
    }
}

/// What the run came to, beside what it had come to.
fn compared(history: &History, report: Report, effects: Effects<Recording>) -> Replayed {
    let source = effects.source();
    let (key, mut lacking) = (Arc::clone(&source.home.key), source.lacking.clone());
    let calls = effects.calls().made();
    let failed = |failure: Failure| Failed { reason: failure.reason, message: failure.message, line: failure.line };
    let (answer, failure, done) = match report.result {
        Ok(answer) => (Some(answer), None, effects.into_wanted().events),
        Err(ended) => (None, Some(failed(ended_by(ended))), Vec::new()),
    };
    let (recorded_answer, recorded_failure) = match &history.end {
        End::Answered { status, recorded } => {
            let recorded = recorded.clone().unwrap_or_else(|| {
                lacking.push(Lacking { what: "what it answered".to_owned(), instead: "its status alone".to_owned() });
                json!({ "status": status })
            });
            (Some(recorded), None)
        }
        End::Failed(failed) => (None, Some(failed.clone())),
    };
    let is_left_out = recorded_answer.as_ref().is_some_and(|answer| answer.get("body_omitted_bytes").is_some());
    if is_left_out {
        lacking.push(Lacking { what: "the body that it answered".to_owned(), instead: "its length alone".to_owned() });
    }
    let has_headers = recorded_answer.as_ref().is_none_or(|answer| answer.get("headers").is_some());
    let record = if is_left_out { Record::Headers } else { Record::Full };
    let shown = |answer: &_| match serde_json::to_value(Output::of(answer, record)) {
        Ok(shown) if has_headers => shown,
        Ok(shown) => json!({ "status": shown["status"] }),
        Err(_) => Value::Null,
    };
    let effect = |event| readable::effect(event, &key);
    let recorded = Course {
        answer: recorded_answer,
        failure: recorded_failure,
        effects: history.effects.iter().map(effect).collect(),
        logs: history.logs.iter().map(readable::line).collect(),
        calls: history.calls.clone(),
    };
    let replayed = Course {
        answer: answer.as_ref().map(shown),
        failure,
        effects: done.iter().map(effect).collect(),
        logs: report.logs.iter().map(readable::line).collect(),
        calls,
    };
    Replayed {
        invocation: history.started.invocation,
        script: history.started.script,
        version: history.started.version,
        differences: difference::differences(&recorded, &replayed),
        lacking,
        recorded,
        replayed,
    }
}

fn ended_by(ended: Ended) -> Failure {
    match ended {
        Ended::Failed(failure) => failure,
        Ended::BadInput(message) => failure(FailureReason::BadInput, message),
        // What was recorded contradicts itself where something of it is lacking.
        Ended::Conflict | Ended::Unavailable => {
            failure(FailureReason::Conflict, "what is recorded is too little to run it on".to_owned())
        }
    }
}
