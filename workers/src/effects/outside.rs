//! Calls outside: the seam to whoever makes them, and the journal that outlives the try of a run that made them.
//!
//! A call cannot be taken back. A run that is repeated, since what it had read has changed, gets the answers of the calls
//! that it has made already, each by its number; when it would now call differently, it ends.

use std::sync::Arc;

use parking_lot::Mutex;
use picloud_core::run::Record;
use serde::{Serialize, Serializer};

use super::{Effects, Source, SourceError};
use crate::{
    http::{Answer, Request},
    recorded::{Body, Headers, MAX_BODY_BYTES},
    sandbox::DataError,
};

/// Makes calls for one run. A call blocks the run's thread; whoever implements this gives the permit back meanwhile.
pub trait Outside: Send + 'static {
    /// Makes the `number`-th call of the run, once the log knows that the run began. What went wrong out there is in the
    /// outcome; none, when the run's time was up before there was one.
    ///
    /// # Errors
    /// [`SourceError`], when the call was not made.
    fn call(
        &mut self,
        number: usize,
        request: &Arc<Request>,
        max_body_bytes: usize,
    ) -> Result<Option<Outcome>, SourceError>;
}

/// What became of a call: an answer, or why there is none, as the script is told.
pub type Outcome = Result<Answer, String>;

/// A call that was made.
#[derive(Clone, Debug)]
pub struct Called {
    /// Counted from 1.
    number: usize,
    method: String,
    url: String,
    /// As messages show it.
    shown: String,
    request_sha256: [u8; 32],
    outcome: Outcome,
}

/// The calls that a run has made, in all its tries. Clones are the same journal.
#[derive(Clone, Debug, Default)]
pub struct Calls(Arc<Mutex<Vec<Arc<Called>>>>);

impl Calls {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is kept of them, for a recording.
    #[must_use]
    pub fn recalled(&self, record: Record) -> Vec<RecalledCall> {
        self.0.lock().iter().map(|call| RecalledCall::new(call, record)).collect()
    }

    /// What was called, in order.
    #[must_use]
    pub fn made(&self) -> Vec<String> {
        self.0.lock().iter().map(|call| format!("{} {}", call.method, call.url)).collect()
    }

    fn get(&self, number: usize) -> Option<Arc<Called>> {
        self.0.lock().get(number - 1).map(Arc::clone)
    }

    fn push(&self, call: &Arc<Called>) {
        self.0.lock().push(Arc::clone(call));
    }

    /// What all answers take together.
    fn size_bytes(&self) -> usize {
        self.0.lock().iter().map(|call| call.size_bytes()).sum()
    }
}

impl Called {
    fn new(number: usize, request: &Request, outcome: Outcome) -> Self {
        Self {
            number,
            method: request.method.to_string(),
            url: request.url.to_string(),
            shown: request.shown(),
            request_sha256: request.digest(),
            outcome,
        }
    }

    fn size_bytes(&self) -> usize {
        self.url.len() + self.outcome.as_ref().map_or_else(String::len, Answer::size_bytes)
    }

    /// About what it adds to a recording.
    fn recorded_bytes(&self, record: Record) -> usize {
        let body = self.outcome.as_ref().map_or(0, |answer| answer.body.len());
        let left = record == Record::Headers || body > MAX_BODY_BYTES;
        if left { self.size_bytes() - body } else { self.size_bytes() }
    }
}

/// A call as a recording has it.
#[derive(Clone, Debug)]
pub struct RecalledCall {
    call: Arc<Called>,
    record: Record,
}

impl RecalledCall {
    pub(super) fn new(call: &Arc<Called>, record: Record) -> Self {
        Self { call: Arc::clone(call), record }
    }
}

impl Serialize for RecalledCall {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Call<'a> {
            call: usize,
            method: &'a str,
            url: &'a str,
            request_sha256: String,
            #[serde(flatten)]
            outcome: Told<'a>,
        }
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Told<'a> {
            Answer {
                status: u16,
                headers: Headers<'a>,
                #[serde(flatten)]
                body: Body<'a>,
            },
            Failure {
                error: &'a str,
            },
        }
        let Called { number, method, url, request_sha256, outcome, shown: _ } = &*self.call;
        let outcome = match outcome {
            Ok(answer) => Told::Answer {
                status: answer.status,
                headers: Headers(&answer.headers),
                body: Body::of(&answer.body, self.record),
            },
            Err(error) => Told::Failure { error },
        };
        let request_sha256 = hex::encode(request_sha256);
        Call { call: *number, method, url, request_sha256, outcome }.serialize(serializer)
    }
}

impl<S: Source + Outside> Effects<S> {
    /// Makes a call, or answers it as it was answered before.
    pub(super) fn call(&mut self, request: &Arc<Request>) -> Result<Answer, DataError> {
        let number = self.budget.call()?;
        let call = match self.calls.get(number) {
            Some(earlier) if earlier.request_sha256 == request.digest() => earlier,
            Some(earlier) => {
                return Err(DataError::Diverged(format!(
                    "the script ran again, since others changed what it had read; its call {number} was {} and is {} \
                     now: what was called cannot be taken back",
                    earlier.shown,
                    request.shown()
                )));
            }
            None => self.make(number, request)?,
        };
        let order = self.tick();
        self.called.push((order, Arc::clone(&call)));
        call.outcome.clone().map_err(DataError::Refused)
    }

    fn make(&mut self, number: usize, request: &Arc<Request>) -> Result<Arc<Called>, DataError> {
        // Whoever calls for the wrong reason cannot be made to not have called.
        if self.validated < self.asked {
            self.validate()?;
            self.validated = self.asked;
        }
        let room = self.budget.answer_room(self.calls.size_bytes())?;
        let outcome = self.source.call(number, request, room)?;
        let is_answered = outcome.is_some();
        // It may have arrived all the same: it is told of.
        let outcome = outcome.unwrap_or_else(|| Err("the run's time was up before it was answered".to_owned()));
        let call = Arc::new(Called::new(number, request, outcome));
        self.calls.push(&call);
        if is_answered { Ok(call) } else { Err(DataError::Deadline) }
    }
}

impl<S: Source> Effects<S> {
    /// Goes on with the calls that earlier tries of the run have made.
    #[must_use]
    pub fn after(mut self, calls: Calls) -> Self {
        self.calls = calls;
        self
    }

    /// How the run, which is over, called less than an earlier try of it, if it did.
    #[must_use]
    pub fn calls_left_out(&self) -> Option<String> {
        let (made, now) = (self.calls.len(), self.called.len());
        (made > now).then(|| {
            format!(
                "the script ran again, since others changed what it had read; it had made {made} calls outside, and \
                 would make {now} now: what was called cannot be taken back"
            )
        })
    }

    /// What it has called outside, in this try and those before.
    #[must_use]
    pub const fn calls(&self) -> &Calls {
        &self.calls
    }

    /// About what its calls add to a recording.
    pub(super) fn called_bytes(&self, record: Record) -> usize {
        self.calls.0.lock().iter().map(|call| call.recorded_bytes(record)).sum()
    }
}
