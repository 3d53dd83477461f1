//! One attempt at an item, from the item to its end in the log.

use std::{sync::Arc, time::Duration};

use chrono::{SubsecRound as _, Utc};
use picloud_core::{
    event::{
        Actor, ActorKind, FailureReason,
        dead_letter::Reason,
        outbox::{Attempt, Source},
    },
    id::{InvocationId, VersionId},
    keys::KeyringError,
    log::{Authority, Commit, CommitError},
    outbox::{Item, Plain},
    run::{Call, InvocationType, Program, Record, Request, Unavailable},
    trigger::MAX_DEPTH,
};
use picloud_projections::scripts;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{
    dispatcher::DispatcherParts,
    happened::{HappenedError, happened},
    settlement::{self, Tried, about},
};

/// How long a node's setup may be behind the log.
const CATCH_UP: Duration = Duration::from_secs(5);

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The log knows how it ended, or somebody else's attempt counts.
    Told,
    /// It did not begin: the item waits for the next one, of whichever node.
    NotBegun,
    /// It may not begin now, and nothing tells when it may.
    Paused,
}

/// What an item's script is now.
enum Found {
    /// It, and who deployed it.
    Program(Arc<Program>, Actor),
    /// Its app is paused: it waits.
    Paused,
    /// It went, or has no active version.
    Nothing(String),
}

/// Why an item cannot be made a call.
enum CannotCall {
    /// Something is away.
    Now(String),
    /// It would be the same the next time.
    Ever(String),
}

impl From<KeyringError> for CannotCall {
    fn from(error: KeyringError) -> Self {
        Self::Now(error.to_string())
    }
}

impl From<HappenedError> for CannotCall {
    fn from(error: HappenedError) -> Self {
        Self::Now(error.to_string())
    }
}

impl DispatcherParts {
    /// Sees one attempt through.
    pub(super) async fn attempt(&self, item: Arc<Item>) -> Ended {
        // Who takes care of what was too deep lies deeper still; what that causes goes no further.
        let allowed = if item.enqueued.handles.is_some() { MAX_DEPTH + 2 } else { MAX_DEPTH };
        if item.depth > allowed {
            return self.too_deep(&item).await;
        }
        let (program, deployed_by) = match self.program(&item).await {
            Ok(Found::Program(program, deployed_by)) => (program, deployed_by),
            Ok(Found::Paused) => return Ended::Paused,
            Ok(Found::Nothing(name)) => return self.nothing_to_run(&item, &name).await,
            Err(error) => {
                warn!(%error, "Failed to look up what an item is to run");
                return Ended::NotBegun;
            }
        };
        let call = match self.call(&item, &program, &deployed_by).await {
            Ok(call) => call,
            Err(CannotCall::Ever(error)) => return self.cannot_run(&item, &program, error).await,
            Err(CannotCall::Now(error)) => {
                warn!(error, outbox.item = %item.enqueued.item, "Failed to look up what an item's run gets");
                return Ended::NotBegun;
            }
        };
        match self.runner.run(call).await {
            Ok(_) => Ended::Told,
            Err(Unavailable::Unleased) => {
                debug!(outbox.item = %item.enqueued.item, "The item was taken away during an attempt");
                Ended::Told
            }
            Err(Unavailable::Busy | Unavailable::ShuttingDown | Unavailable::Log) => Ended::NotBegun,
        }
    }

    async fn program(&self, item: &Item) -> Result<Found, sqlx::Error> {
        if !self.knows(item) {
            // The log may have told the committer of it before it told this node's setup.
            let _ = timeout(CATCH_UP, self.setup.reached(self.committer.head())).await;
        }
        let setup = self.setup.get();
        let script = setup.apps.get(&item.app).and_then(|app| {
            let script = app.scripts.iter().find(|script| script.id == item.enqueued.script)?;
            Some((app, script))
        });
        let Some((app, script)) = script else { return Ok(Found::Nothing("a script that is gone".to_owned())) };
        if app.is_paused || script.is_paused {
            return Ok(Found::Paused);
        }
        let active = script.active.as_ref();
        let wanted = item.enqueued.version.filter(|version| active.is_none_or(|active| active.version != *version));
        if let Some(version) = wanted {
            let pinned = Box::pin(scripts::version(&self.database, app.id, script.id, version)).await?;
            let Some(pinned) = pinned else { return Ok(Found::Nothing(script.name.clone())) };
            let deployed_by = pinned.actor.clone();
            return Ok(Found::Program(Arc::new(pinned.program(app, script)), deployed_by));
        }
        let found = active.map(|active| Found::Program(Arc::clone(&active.program), active.deployed_by.clone()));
        Ok(found.unwrap_or_else(|| Found::Nothing(script.name.clone())))
    }

    /// Whether what an item is for is set up, as far as this node has heard.
    fn knows(&self, item: &Item) -> bool {
        let setup = self.setup.get();
        let Some(app) = setup.apps.get(&item.app) else { return false };
        let script = app.scripts.iter().find(|script| script.id == item.enqueued.script);
        script.is_some_and(|script| script.active.is_some())
            && match item.enqueued.source {
                Source::Trigger { trigger } => {
                    app.trigger(trigger).is_some() || app.gone_triggers.contains_key(&trigger)
                }
                Source::AsyncRoute { .. } | Source::Invoke => true,
            }
    }

    async fn call(&self, item: &Arc<Item>, program: &Arc<Program>, deployed_by: &Actor) -> Result<Call, CannotCall> {
        let key = self.keyring.app(item.app).await?;
        let plain = Plain::open(&item.enqueued.payload, item.enqueued.item, &key)
            .map_err(|error| CannotCall::Ever(format!("what the item holds cannot be read: {error}")))?;
        let (request, request_id, record) = match plain {
            Plain::Event(_) => (Request::default(), None, Record::default()),
            Plain::Request(kept) => {
                let (request_id, record) = (kept.request_id, kept.record);
                (kept.request(), request_id, record)
            }
        };
        let event = Box::pin(happened(&self.database, &self.keyring, item, item.attempt())).await?;
        let (kind, route, actor) = match item.enqueued.source {
            Source::AsyncRoute { route } => (InvocationType::AsyncHttp, Some(route), item.actor.clone()),
            Source::Invoke => (InvocationType::Invoke, None, item.actor.clone()),
            Source::Trigger { trigger } => {
                let id = Some(trigger.to_string());
                let actor = Actor { kind: ActorKind::Trigger, id, request_id: None, address: None };
                (InvocationType::Trigger, None, actor)
            }
        };
        // Those of now: between two attempts a key may be revoked, or given what it lacked.
        let rights = self.setup.get().rights_to_run(&actor, item.app, deployed_by, Utc::now());
        Ok(Call {
            invocation: InvocationId::generate(),
            request_id,
            program: Arc::clone(program),
            kind,
            route,
            actor,
            rights,
            request,
            event,
            record,
            item: Some(Arc::clone(item)),
            idempotency: None,
        })
    }

    async fn too_deep(&self, item: &Item) -> Ended {
        let setup = self.setup.get();
        let app = setup.apps.get(&item.app);
        let script = app.and_then(|app| app.scripts.iter().find(|script| script.id == item.enqueued.script));
        let name = script.map_or("a script that is gone", |script| script.name.as_str());
        let error = format!(
            "`{name}` was not run: {MAX_DEPTH} triggers lie between it and what began this, so it is taken for a circle"
        );
        self.close(item, name, None, Reason::DepthExceeded, error).await
    }

    async fn nothing_to_run(&self, item: &Item, script: &str) -> Ended {
        let error = format!("there is nothing to run: `{script}` is gone or has no active version");
        self.close(item, script, None, Reason::NothingToRun, error).await
    }

    /// Attempts after this one would fail alike.
    async fn cannot_run(&self, item: &Item, program: &Program, error: String) -> Ended {
        self.close(item, &program.name, Some(program.version), Reason::GaveUp, error).await
    }

    /// Makes an item a letter without a run.
    async fn close(
        &self,
        item: &Item,
        script: &str,
        version: Option<VersionId>,
        reason: Reason,
        error: String,
    ) -> Ended {
        let tried = Tried { invocation: None, script, version, duration: Duration::ZERO };
        let last = Attempt {
            number: item.attempt(),
            invocation: None,
            at: Utc::now().trunc_subsecs(6),
            reason: FailureReason::BadInput,
            error,
            duration_us: 0,
        };
        let events = match Box::pin(settlement::letter(&self.keyring, item, tried, reason, last)).await {
            Ok(events) => events,
            Err(error) => {
                warn!(%error, outbox.item = %item.enqueued.item, "Failed to make an item a dead letter");
                return Ended::NotBegun;
            }
        };
        let events = events.into_iter().map(|event| about(item, event)).collect();
        let authority = Authority { lease: Some(item.enqueued.item), ..self.node.authority() };
        match self.committer.commit(Commit::new(authority, events)).await {
            Ok(_) | Err(CommitError::Rejected(_) | CommitError::Revoked) => Ended::Told,
            // Given back: if it was made after all, there is nothing left to give.
            Err(CommitError::Busy | CommitError::Unavailable | CommitError::Unknown) => Ended::NotBegun,
        }
    }
}
