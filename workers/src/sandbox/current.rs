//! The run on this thread: what SDK functions find when a script calls them.
//!
//! One run a thread at a time, though scripts of one run may run each other (`nested`). Functions are registered once for all scripts and look here for whose call it is,
//! so that a call costs no registration and no engine.

use std::{any::Any, cell::RefCell, sync::Arc, time::Instant};

use picloud_core::run::{LogLine, Program};
use rand::Rng as _;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use rhai::{Dynamic, EvalAltResult, Position};
use ulid::Ulid;

use super::{cells::Cells, data::Data, input::Input, meter, run::Sandbox};

thread_local! {
    static RUN: RefCell<Option<Box<Run>>> = const { RefCell::new(None) };
}

/// Everything a run's calls need.
pub(super) struct Run {
    /// What runs it, for the scripts that it runs itself.
    pub sandbox: Sandbox,
    pub program: Arc<Program>,
    pub input: Input,
    pub data: Box<dyn Data>,
    pub started: Instant,
    pub logs: Vec<LogLine>,
    pub logs_dropped: u32,
    pub log_bytes: usize,
    pub cells: Cells,
    /// The variables that closures of this program capture.
    pub captured: Arc<[Box<str>]>,
    /// `ctx`, once the script has asked for it.
    pub context: Option<Dynamic>,
    /// The decoded body, when it had to be decoded before the script began.
    pub body: Option<Dynamic>,
    /// Decides which accesses of variables are looked at.
    pub accesses: u32,
    /// The scripts that wait for the present one to end, by their names.
    pub callers: Vec<Arc<str>>,
    random: Option<ChaCha12Rng>,
}

impl Run {
    pub(super) fn new(
        sandbox: Sandbox,
        program: Arc<Program>,
        input: Input,
        data: Box<dyn Data>,
        captured: Arc<[Box<str>]>,
    ) -> Self {
        Self {
            sandbox,
            program,
            input,
            data,
            started: Instant::now(),
            logs: Vec::new(),
            logs_dropped: 0,
            log_bytes: 0,
            cells: Cells::default(),
            captured,
            context: None,
            body: None,
            accesses: 0,
            callers: Vec::new(),
            random: None,
        }
    }

    /// The run's randomness: the same seed makes the same run.
    pub(super) fn random(&mut self) -> &mut ChaCha12Rng {
        self.random.get_or_insert_with(|| ChaCha12Rng::from_seed(self.input.seed))
    }

    /// A name that sorts by time. The run's own clock and randomness: repeated, the run makes the same names.
    pub(super) fn ulid(&mut self) -> Ulid {
        let now_ms = u64::try_from(self.input.now.timestamp_millis()).unwrap_or(0);
        let mut random = [0; 16];
        self.random().fill_bytes(&mut random[..10]);
        Ulid::from_parts(now_ms, u128::from_le_bytes(random))
    }

    /// Hands the data back as what it was.
    pub(super) fn into_data<D: Data>(self: Box<Self>) -> D {
        let data: Box<dyn Any> = self.data;
        *data.downcast().expect("a run's data keeps the type it came with")
    }
}

/// Makes `run` the one on this thread.
pub(super) fn enter(run: Box<Run>) {
    RUN.with(|current| current.replace(Some(run)));
}

/// Takes the run off this thread.
pub(super) fn leave() -> Option<Box<Run>> {
    RUN.with(RefCell::take)
}

/// Does something with the run on this thread. `work` must not call back into the interpreter.
pub(super) fn with<T>(work: impl FnOnce(&mut Run) -> T) -> Result<T, Box<EvalAltResult>> {
    RUN.with(|current| match current.borrow_mut().as_mut() {
        Some(run) => Ok(work(run)),
        None => Err(thrown("there is no run on this thread")),
    })
}

/// Asks the run's data for something; its errors end the run or are thrown.
pub(super) fn with_data<T>(
    work: impl FnOnce(&mut dyn Data) -> Result<T, super::data::DataError>,
) -> Result<T, Box<EvalAltResult>> {
    // Not watched: what the database driver allocates is not the script's doing.
    with(|run| super::memory::unwatched(|| work(&mut *run.data)))?.map_err(meter::data_error)
}

/// Lets other runs compute when it is their turn. Not while the run is in the middle of a call.
pub(super) fn breathe() {
    RUN.with(|current| {
        if let Ok(run) = current.try_borrow()
            && let Some(run) = run.as_ref()
        {
            super::memory::unwatched(|| run.data.breathe());
        }
    });
}

/// An error that a script may catch. The message names the call and the value.
pub(super) fn thrown(message: impl Into<String>) -> Box<EvalAltResult> {
    EvalAltResult::ErrorRuntime(message.into().into(), Position::NONE).into()
}
