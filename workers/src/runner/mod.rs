//! Takes a call from its beginning to its durable end.
//!
//! A run is one transaction: what it wrote is committed with its completion event, if what it read still holds. When it does
//! not, the run is repeated, holding the turn for the keys it read, until its time is up. What the caller gets is in the log.
//!
//! [`Runner`] is the way in. A `Course` is one call on its way through all its tries, `Attempt` one of these. `replay` runs a
//! recorded run again, in a world of its own.

mod attempt;
mod course;
mod enqueue;
mod letters;
mod outside;
mod patience;
mod recording;
mod replay;
mod setup;
mod source;
mod told;
mod traced;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use futures::{FutureExt as _, future::BoxFuture};
use picloud_core::{
    id::AppId,
    keys::{DataKey, Keyring},
    limits::Limits,
    log::{Committer, Node, read::Reader},
    run::{Call, Diagnostic, Finished, Invoker, Owed, Unavailable},
    trace::Tracer,
};
use picloud_projections::setup::LiveSetup;
use sqlx::PgPool;
use tokio::{runtime::Handle, time::timeout_at};
use tokio_util::task::TaskTracker;
use tracing::error;

use self::{
    attempt::{Run, STARTED_AFTER},
    course::Course,
    patience::Patience,
};
use crate::{
    http::Client,
    pool::{Pool, StillRunning},
    sandbox::Sandbox,
    turns::Turns,
};

/// Runs scripts on this node. Cheap to clone.
#[derive(Clone)]
pub struct Runner {
    inner: Arc<Inner>,
}

/// What a runner leans on.
pub struct RunnerParts {
    /// Compiles and runs.
    pub sandbox: Sandbox,
    /// Where scripts compute.
    pub pool: Pool,
    /// Where what they did goes.
    pub committer: Committer,
    /// By what right.
    pub node: Node,
    /// What recordings are under.
    pub keyring: Keyring,
    /// Where they read.
    pub database: PgPool,
    /// How their apps are set up.
    pub setup: LiveSetup,
    /// How they call others.
    pub http: Client,
    /// Where their way is told.
    pub tracer: Tracer,
}

struct Inner {
    parts: RunnerParts,
    /// The log as it was.
    reader: Reader,
    turns: Turns,
    /// After it, a run that goes on is told to the log.
    patience: Patience,
    handle: Handle,
    /// All calls on their way; closed when no more are taken.
    courses: TaskTracker,
}

impl Runner {
    /// A runner on the present tokio runtime.
    #[must_use]
    pub fn new(parts: RunnerParts) -> Self {
        let handle = Handle::current();
        let patience = Patience::new(STARTED_AFTER, &handle);
        let reader = Reader::new(parts.database.clone());
        let inner = Inner { parts, reader, turns: Turns::default(), patience, handle, courses: TaskTracker::new() };
        Self { inner: Arc::new(inner) }
    }

    /// Takes no more calls and waits until the end of each that was taken is durable. The committer must outlive this.
    /// Blocks: not to be called on a runtime's thread.
    ///
    /// # Errors
    /// When some have not ended by the deadline.
    pub fn drain(&self, deadline: Instant) -> Result<(), StillRunning> {
        let Inner { parts, handle, courses, .. } = &*self.inner;
        courses.close();
        // Within the runtime: timers belong to one.
        if handle.block_on(async { timeout_at(deadline.into(), courses.wait()).await }).is_err() {
            let queued = parts.pool.load().queued;
            return Err(StillRunning { running: courses.len().saturating_sub(queued), queued });
        }
        parts.pool.join(deadline)
    }

    /// Takes a call to its end on the caller's own task, which has to stay until then. A task of its own costs a wake-up or two.
    ///
    /// # Errors
    /// As [`Invoker::invoke`].
    pub(crate) async fn run(&self, call: Call) -> Result<Finished, Unavailable> {
        let Inner { courses, .. } = &*self.inner;
        if courses.is_closed() {
            return Err(Unavailable::ShuttingDown);
        }
        let run = courses.track_future(Arc::clone(&self.inner).run(call));
        AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|_| {
            // What it said went to where panics are told.
            error!("A run panicked");
            Err(Unavailable::Log)
        })
    }
}

impl Invoker for Runner {
    fn invoke(&self, call: Call) -> BoxFuture<'static, Result<Finished, Unavailable>> {
        let inner = Arc::clone(&self.inner);
        if inner.courses.is_closed() {
            return async { Err(Unavailable::ShuttingDown) }.boxed();
        }
        // A task of its own: whoever asked may go away, the run does not. In a box: it is large, and is moved several times
        // before it lies where it runs.
        let task = self.inner.courses.spawn_on(Box::pin(inner.run(call)), &self.inner.handle);
        task.map(|ended| {
            ended.unwrap_or_else(|panic| {
                error!(%panic, "A run's task ended before the run");
                Err(Unavailable::Log)
            })
        })
        .boxed()
    }

    fn enqueue(&self, owed: Owed) -> BoxFuture<'static, Result<(), Unavailable>> {
        let inner = Arc::clone(&self.inner);
        let has_claim = owed.call.idempotency.is_some();
        let enqueued = self.inner.courses.track_future(async move { inner.enqueue(owed).await });
        if !has_claim {
            // Nothing is to be settled after it: who goes away has it owed or not, and did not hear of it.
            return enqueued.boxed();
        }
        // A task of its own, as a run has: its caller's claim is settled by it.
        let task = self.inner.handle.spawn(enqueued);
        task.map(|ended| ended.unwrap_or(Err(Unavailable::Log))).boxed()
    }

    fn validate(&self, source: &str, limits: &Limits) -> Vec<Diagnostic> {
        self.inner.parts.sandbox.validate(source, limits)
    }
}

impl Inner {
    async fn run(self: Arc<Self>, call: Call) -> Result<Finished, Unavailable> {
        let app = call.program.app;
        let key = match self.parts.keyring.known(app) {
            Some(key) => key,
            None => self.key(app).await?,
        };
        Course::new(self, Run::new(call, key)).run_to_its_end().await
    }

    async fn key(&self, app: AppId) -> Result<Arc<DataKey>, Unavailable> {
        self.parts.keyring.app(app).await.map_err(|error| {
            error!(%error, app.id = %app, "Failed to get an app's data key");
            Unavailable::Log
        })
    }
}
