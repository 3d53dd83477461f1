//! One run, from the first look at its body to the last cell it leaves behind.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use picloud_core::{
    event::FailureReason,
    limits::Limits,
    run::{Answer, Diagnostic, Failure, Program},
};
use rhai::{Dynamic, ParseError, Position, Scope};
use tracing::error;

use super::{
    body,
    compiled::{Cache, Compiled},
    current::{self, Run},
    data::Data,
    engine::Library,
    failure,
    input::{Ended, Input, Report},
    meter::{self, Over, Span},
    registry::FunctionDoc,
    response, validate,
};

/// Runs scripts. Cloning is cheap; all clones share their compiled programs.
#[derive(Clone)]
pub struct Sandbox {
    shared: Arc<Shared>,
}

struct Shared {
    library: Library,
    programs: Cache,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").finish_non_exhaustive()
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// Sets up the interpreter with everything that scripts can call.
    #[must_use]
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared { library: Library::new(), programs: Cache::new() }) }
    }

    /// Everything wrong with a source, in order of place. Empty: it may be uploaded.
    #[must_use]
    pub fn validate(&self, source: &str, limits: &Limits) -> Vec<Diagnostic> {
        validate::validate(&self.shared.library, source, limits)
    }

    /// All functions that scripts can call and that PiCloud adds or changes.
    #[must_use]
    pub fn reference(&self) -> Vec<FunctionDoc> {
        self.shared.library.docs.clone()
    }

    /// The signatures of all functions that scripts can call, the language's own included, sorted.
    #[must_use]
    pub fn signatures(&self) -> Vec<String> {
        let mut signatures = self.shared.library.engine(&Limits::DEFAULT).gen_fn_signatures(true);
        signatures.sort_unstable();
        signatures.dedup();
        signatures
    }

    /// Runs a program on the calling thread, which needs a stack of [`super::STACK_BYTES`], and hands the data back.
    ///
    /// Runs do not nest: a thread has one at a time. Within it scripts may run each other.
    pub fn run<D: Data>(&self, program: &Arc<Program>, input: Input, data: D) -> (Report, D) {
        let compiled = match self.compiled(program) {
            Ok(compiled) => compiled,
            Err(error) => return (never_began(validate::failure(&error)), data),
        };
        let (report, data, _) = self.perform(&compiled, program, input, data, Span::Whole);
        (report, data)
    }

    /// Runs a program on the calling thread, which may have others to serve and only a common stack, if the run is a short
    /// one: some hundred steps that touch little. None, when it is not, and then nothing has happened: the program is to
    /// be run by [`Sandbox::run`]. `data` must not block, and answers [`DataError::Unavailable`] where it would.
    ///
    /// [`DataError::Unavailable`]: super::DataError::Unavailable
    pub fn run_short<D: Data>(
        &self,
        program: &Arc<Program>,
        input: impl FnOnce() -> (Input, D),
    ) -> Option<(Report, D)> {
        let compiled = self.known(program)?;
        if !compiled.may_be_short() {
            return None;
        }
        let (input, data) = input();
        let (report, data, ended_by) = self.perform(&compiled, program, input, data, Span::Short);
        // Whichever bound it was: the whole run says what it comes to.
        match ended_by {
            None => return Some((report, data)),
            Some(Bound::Time) => compiled.was_late(),
            Some(Bound::Other) => compiled.was_long(),
        }
        None
    }

    /// A program that was compiled lately.
    pub(super) fn known(&self, program: &Program) -> Option<Arc<Compiled>> {
        self.shared.programs.known(program.version)
    }

    /// A program, compiled.
    pub(super) fn compiled(&self, program: &Program) -> Result<Arc<Compiled>, Box<ParseError>> {
        self.shared.programs.get(&self.shared.library, program)
    }

    /// Runs a compiled program; says, too, by which bound it was ended.
    fn perform<D: Data>(
        &self,
        compiled: &Compiled,
        program: &Arc<Program>,
        input: Input,
        data: D,
        span: Span,
    ) -> (Report, D, Option<Bound>) {
        let captured = Arc::clone(&compiled.captured);
        let (deadline, cancelled) = (input.deadline, Arc::clone(&input.cancelled));
        let sandbox = self.clone();
        current::enter(Box::new(Run::new(sandbox, Arc::clone(program), input, Box::new(data), captured)));
        meter::start(&program.limits, deadline, cancelled, span);

        let outcome = catch_unwind(AssertUnwindSafe(|| evaluate(compiled, &program.limits)));
        let outcome = outcome.unwrap_or_else(|panic| {
            let what = panic_text(&*panic);
            error!(script.name = %program.name, script.version = %program.version, "A run panicked: {what}");
            (Err(Ended::Failed(failure::internal())), Position::NONE)
        });
        finish(outcome)
    }
}

/// What a run was ended by before it was over.
enum Bound {
    /// The clock, which goes on while others compute.
    Time,
    Other,
}

/// A result, and where the script was when it ended.
type Outcome = (Result<Answer, Ended>, Position);

fn evaluate(compiled: &Compiled, limits: &Limits) -> Outcome {
    if let Err(ended) = check_body(limits) {
        return (Err(ended), Position::NONE);
    }
    let mut scope = Scope::new();
    match compiled.engine.eval_ast_with_scope::<Dynamic>(&mut scope, &compiled.ast) {
        Ok(value) => (response::answer(&value, limits).map_err(Ended::Failed), Position::NONE),
        Err(error) => (Err(Ended::Failed(failure::thrown(&error))), failure::innermost(&error).1),
    }
}

/// Decodes the body when that can fail, so that a script never begins on a broken one.
fn check_body(limits: &Limits) -> Result<(), Ended> {
    let Ok(request) = current::with(|run| Arc::clone(&run.input.request)) else { return Ok(()) };
    if !body::may_be_bad(&request) {
        return Ok(());
    }
    let decoded = body::decode_body(&request, limits).map_err(|error| Ended::BadInput(error.0))?;
    // There is a run on this thread: it was just asked for its request.
    let _ = current::with(|run| run.body = Some(decoded));
    Ok(())
}

fn finish<D: Data>((result, position): Outcome) -> (Report, D, Option<Bound>) {
    let mut run = current::leave().expect("the run that was entered is on this thread");
    // The script's values go before the meter stops: `stop` reads the peak, and nothing may grow after it.
    drop(run.context.take());
    drop(run.body.take());
    std::mem::take(&mut run.cells).empty();
    let used = meter::stop();
    // Whatever the interpreter made of it (an error that a native function swallowed, too): over is over.
    // What may not be done may not be done by a longer run either.
    let ended_by = match used.over {
        None | Some(Over::Forbidden(_)) => None,
        Some(Over::TimedOut) => Some(Bound::Time),
        Some(_) => Some(Bound::Other),
    };
    let result = match used.over {
        Some(over) => Err(failure::over(over, position)),
        None => result,
    };
    let report = Report {
        result,
        logs: std::mem::take(&mut run.logs),
        logs_dropped: run.logs_dropped,
        operations: used.operations,
        peak_memory_bytes: used.peak_memory_bytes,
    };
    (report, run.into_data(), ended_by)
}

fn never_began(failure: Failure) -> Report {
    debug_assert_eq!(failure.reason, FailureReason::Threw, "a source that does not compile is the script's fault");
    Report {
        result: Err(Ended::Failed(failure)),
        logs: Vec::new(),
        logs_dropped: 0,
        operations: 0,
        peak_memory_bytes: 0,
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}
