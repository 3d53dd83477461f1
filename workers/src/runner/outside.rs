//! Calls outside for a run: made once the log knows that it began, by a task of their own, while its thread waits.

use std::sync::Arc;

use picloud_core::trace::Context;
use reqwest::header::{HeaderName, HeaderValue};
use tokio::time::timeout_at;
use tokio_util::task::AbortOnDropHandle;
use tracing::error;

use super::{Inner, attempt::Run, source::Database, told::Told, traced::Calling};
use crate::{
    effects::{Outcome, Outside, SourceError},
    http::{Failure, HOPS, Request, TRACEPARENT},
    pool::{MAX_HOPS, Permit},
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What a run's calls need.
pub(super) struct World {
    pub inner: Arc<Inner>,
    pub run: Arc<Run>,
}

impl Outside for Database {
    fn call(
        &mut self,
        number: usize,
        request: &Arc<Request>,
        max_body_bytes: usize,
    ) -> Result<Option<Outcome>, SourceError> {
        let Some(permit) = &self.permit else { return Err(SourceError::Unavailable) };
        self.begins_durably(permit)?;
        let World { inner, run } = &self.outside;
        if run.hops >= MAX_HOPS {
            return Ok(Some(Err(Failure::TooDeep.to_string())));
        }
        let (http, app, run, request) = (inner.parts.http.clone(), self.app, Arc::clone(run), Arc::clone(request));
        let tracer = inner.parts.tracer.clone();
        let calling = Calling::begin(&tracer, &run, &request);
        let context = calling.as_ref().map(Calling::context);
        let call = async move { http.call(app, labelled(&request, &run, number, context), max_body_bytes).await };
        // Not on the run's thread: what is allocated on one and freed on another would be counted wrongly as the script's.
        let task = AbortOnDropHandle::new(self.handle.spawn(call));
        let deadline = self.deadline.into();
        let outcome = match permit.wait(|| self.handle.block_on(async { timeout_at(deadline, task).await })) {
            Ok(Ok(outcome)) => Some(outcome.map_err(|failure| failure.to_string())),
            Ok(Err(panic)) => {
                error!(
                    %panic,
                    invocation.id = %self.outside.run.call.invocation,
                    trace_id = %self.outside.run.trace(),
                    "A call of a script ended badly"
                );
                Some(Err("internal error".to_owned()))
            }
            Err(_) => None,
        };
        if let Some(calling) = calling {
            calling.end(&tracer, outcome.as_ref());
        }
        Ok(outcome)
    }
}

impl Database {
    /// Waits until the log knows that the run began: after a crash it is known who may have called.
    fn begins_durably(&self, permit: &Permit) -> Result<(), SourceError> {
        let World { inner, run } = &self.outside;
        if run.told.try_lock().is_ok_and(|told| *told == Told::Yes) {
            return Ok(());
        }
        let (inner, run) = (Arc::clone(inner), Arc::clone(run));
        // A task: what is on its way to the log is not called back when the run's time is up meanwhile.
        let told = self.handle.spawn(async move { inner.tell(&run).await });
        let deadline = self.deadline.into();
        match permit.wait(|| self.handle.block_on(async { timeout_at(deadline, told).await })) {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false) | Err(_)) => Err(SourceError::Unavailable),
            Err(_) => Err(SourceError::Deadline),
        }
    }
}

/// The call with the platform's own headers.
fn labelled(request: &Request, run: &Run, number: usize, context: Option<Context>) -> Request {
    let mut request = request.clone();
    let key = format!("{}-{number}", run.call.invocation);
    let key = HeaderValue::try_from(key).expect("ids and numbers are plain text");
    request.headers.entry(IDEMPOTENCY_KEY).or_insert(key);
    if let Some(context) = context {
        let context = HeaderValue::try_from(context.to_string()).expect("hexadecimal is plain text");
        request.headers.entry(TRACEPARENT).or_insert(context);
    }
    request.headers.insert(HOPS, HeaderValue::from(u16::from(run.hops) + 1));
    request
}
