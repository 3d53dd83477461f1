//! What the run on this thread has used up, and the one place that ends it.
//!
//! The interpreter reports every step to [`step`]; native functions report their own work to [`spend`]. Whichever
//! finds a limit passed notes it here, once, and from then on every step is refused: nothing a script catches, and no
//! native function that swallows errors, brings the run back.

use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use picloud_core::limits::Limits;
use rhai::{Dynamic, EvalAltResult, Position};

use super::{current, data::DataError, memory};

/// What a thread that runs scripts needs of stack.
pub const STACK_BYTES: usize = 16 * 1024 * 1024;

/// How far down the interpreter may go; what is below is for native functions and for dropping values.
const STACK_FOR_CALLS: usize = STACK_BYTES / 2;
/// How far below the interpreter an allocation may be before it counts as one inside a deeply nested value.
const STACK_FOR_VALUES: usize = 256 * 1024;
/// Steps between looks at the clock. A look costs about a step, and a step may take a millisecond.
const STEPS_BETWEEN_LOOKS: u64 = 16;
/// Bytes allocated after which the clock is looked at whatever the number of steps.
const CHURN_BETWEEN_LOOKS: usize = 256 * 1024;
/// Units of native work (about a byte copied or an item visited) between looks at the clock.
const WORK_BETWEEN_LOOKS: usize = 64 * 1024;

/// What a run on a thread with others to serve may have: about a tenth of a millisecond.
mod short {
    use std::time::Duration;

    pub(super) const OPERATIONS: u64 = 1000;
    pub(super) const MEMORY_BYTES: usize = 1024 * 1024;
    /// Of a common thread's 2 MiB.
    pub(super) const STACK_FOR_CALLS: usize = 512 * 1024;
    /// Far more than the work takes: a thread may be kept from its processor for a while.
    pub(super) const TIME: Duration = Duration::from_millis(2);
}

/// How much of its limits a run may use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    /// All of them, on a thread of its own.
    Whole,
    /// Little of them: the thread has others to serve.
    Short,
}

/// Why a run may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Over {
    TimedOut,
    Operations,
    Memory,
    Limit { name: &'static str, message: String },
    NotANumber(String),
    Diverged(String),
    Forbidden(String),
    Cancelled,
    Conflict,
    Unavailable,
}

struct Meter {
    running: Cell<bool>,
    over: Cell<bool>,
    span: Cell<Span>,
    limits: Cell<Limits>,
    deadline: Cell<Option<Instant>>,
    operations: Cell<u64>,
    /// Steps of scripts that ran within the present one, and of those that it runs within: the interpreter counts anew in each.
    elsewhere: Cell<u64>,
    max_operations: Cell<u64>,
    memory_start: Cell<isize>,
    memory_line: Cell<isize>,
    stack_line: Cell<usize>,
    churn_seen: Cell<usize>,
    work: Cell<usize>,
    cancelled: RefCell<Option<Arc<AtomicBool>>>,
    why: RefCell<Option<Over>>,
}

thread_local! {
    static METER: Meter = const {
        Meter {
            running: Cell::new(false),
            over: Cell::new(false),
            span: Cell::new(Span::Whole),
            limits: Cell::new(Limits::DEFAULT),
            deadline: Cell::new(None),
            operations: Cell::new(0),
            elsewhere: Cell::new(0),
            max_operations: Cell::new(0),
            memory_start: Cell::new(0),
            memory_line: Cell::new(isize::MAX),
            stack_line: Cell::new(0),
            churn_seen: Cell::new(0),
            work: Cell::new(0),
            cancelled: RefCell::new(None),
            why: RefCell::new(None),
        }
    };
}

/// What was used up when a run ended.
pub(super) struct Used {
    pub operations: u64,
    pub peak_memory_bytes: usize,
    pub over: Option<Over>,
}

/// Begins to measure a run on this thread.
pub(super) fn start(limits: &Limits, deadline: Instant, cancelled: Arc<AtomicBool>, span: Span) {
    let (max_operations, max_memory_bytes, stack_for_calls, deadline) = match span {
        Span::Whole => (limits.max_operations, limits.max_memory_bytes, STACK_FOR_CALLS, deadline),
        Span::Short => (
            limits.max_operations.min(short::OPERATIONS),
            limits.max_memory_bytes.min(short::MEMORY_BYTES),
            short::STACK_FOR_CALLS,
            deadline.min(Instant::now() + short::TIME),
        ),
    };
    memory::restart_peak();
    // A buffer that grows by doubling may have twice the room it needs: only what is beyond that is surely too long.
    memory::watch(
        limits.max_string_bytes.saturating_mul(2).saturating_add(4096),
        limits.max_array_len.saturating_mul(2 * size_of::<Dynamic>()).saturating_add(64 * 1024),
    );
    METER.with(|meter| {
        meter.running.set(true);
        meter.over.set(false);
        meter.span.set(span);
        meter.limits.set(*limits);
        meter.deadline.set(Some(deadline));
        meter.operations.set(0);
        meter.elsewhere.set(0);
        meter.max_operations.set(max_operations);
        meter.memory_start.set(memory::used());
        let allowed = isize::try_from(max_memory_bytes).unwrap_or(isize::MAX);
        meter.memory_line.set(memory::used().saturating_add(allowed));
        meter.stack_line.set(memory::stack_pointer().saturating_sub(stack_for_calls));
        meter.churn_seen.set(memory::churned());
        meter.work.set(0);
        meter.cancelled.replace(Some(cancelled));
        meter.why.replace(None);
    });
}

/// Stops measuring and says what was used.
pub(super) fn stop() -> Used {
    memory::unwatch();
    METER.with(|meter| {
        meter.running.set(false);
        meter.over.set(false);
        meter.limits.set(Limits::DEFAULT);
        meter.deadline.set(None);
        meter.memory_line.set(isize::MAX);
        meter.cancelled.replace(None);
        Used {
            operations: meter.operations.get(),
            peak_memory_bytes: usize::try_from(memory::peak() - meter.memory_start.get()).unwrap_or(0),
            over: meter.why.take(),
        }
    })
}

/// The limits of the run on this thread.
#[inline]
pub(super) fn limits() -> Limits {
    METER.with(|meter| meter.limits.get())
}

/// One step of the interpreter, the `operations`-th in the present script; `Some` ends the run.
#[inline]
pub(super) fn step(operations: u64) -> Option<Dynamic> {
    METER.with(|meter| {
        if !meter.running.get() {
            return None;
        }
        let operations = operations.saturating_add(meter.elsewhere.get());
        meter.operations.set(operations);
        let here = memory::stack_pointer();
        memory::set_deep_line(here.saturating_sub(STACK_FOR_VALUES));
        if operations > meter.max_operations.get() {
            meter.end(Over::Operations);
        }
        if here < meter.stack_line.get() {
            meter.end(too_deep_calls());
        }
        meter.look_at_memory();
        if operations.is_multiple_of(STEPS_BETWEEN_LOOKS)
            || memory::churned().wrapping_sub(meter.churn_seen.get()) > CHURN_BETWEEN_LOOKS
        {
            // First: time goes by while others compute.
            current::breathe();
            meter.look_at_clock();
        }
        meter.over.get().then_some(Dynamic::UNIT)
    })
}

/// Evaluates another script within the run: its steps are the run's.
pub(super) fn nested<T>(evaluate: impl FnOnce() -> T) -> T {
    let (before, outer) = METER.with(|meter| (meter.operations.get(), meter.elsewhere.get()));
    METER.with(|meter| meter.elsewhere.set(before));
    let result = evaluate();
    METER.with(|meter| meter.elsewhere.set(outer + (meter.operations.get() - before)));
    result
}

/// Does something that leaves allocated what is not the run's.
pub(super) fn uncounted<T>(work: impl FnOnce() -> T) -> T {
    let before = memory::used();
    let result = memory::unwatched(work);
    let kept = memory::used() - before;
    METER.with(|meter| {
        meter.memory_start.set(meter.memory_start.get() + kept);
        meter.memory_line.set(meter.memory_line.get().saturating_add(kept));
    });
    result
}

/// Whether the run's thread has others to serve.
pub(super) fn is_short() -> bool {
    METER.with(|meter| meter.span.get() == Span::Short)
}

/// Native work of about so many bytes or items; refused once the run is over.
#[inline]
pub(super) fn spend(work: usize) -> Result<(), Box<EvalAltResult>> {
    METER.with(|meter| {
        if !meter.running.get() {
            return Ok(());
        }
        let done = meter.work.get().saturating_add(work);
        if done < WORK_BETWEEN_LOOKS {
            meter.work.set(done);
        } else {
            meter.work.set(0);
            meter.end_if_short();
            meter.look_at_memory();
            meter.look_at_clock();
        }
        if meter.over.get() { Err(terminated()) } else { Ok(()) }
    })
}

/// Looks at the clock and for cancellation, after time in which nothing was computed; refused once the run is over.
pub(super) fn look() -> Result<(), Box<EvalAltResult>> {
    METER.with(|meter| {
        meter.look_at_clock();
        if meter.over.get() { Err(terminated()) } else { Ok(()) }
    })
}

/// Refuses to allocate so much more when the run may not have it.
pub(super) fn reserve(bytes: usize) -> Result<(), Box<EvalAltResult>> {
    METER.with(|meter| {
        let bytes = isize::try_from(bytes).unwrap_or(isize::MAX);
        if meter.running.get() && memory::used().saturating_add(bytes) > meter.memory_line.get() {
            return Err(end(Over::Memory));
        }
        Ok(())
    })
}

/// Ends the run on this thread; the first reason stays. The error cannot be caught by the script.
pub(super) fn end(over: Over) -> Box<EvalAltResult> {
    METER.with(|meter| meter.end(over));
    terminated()
}

/// Ends the run for having passed one of its limits.
pub(super) fn over_limit(name: &'static str, message: impl Into<String>) -> Box<EvalAltResult> {
    end(Over::Limit { name, message: message.into() })
}

/// Refuses a string or blob that is too long.
pub(super) fn string_fits(bytes: usize) -> Result<(), Box<EvalAltResult>> {
    let allowed = limits().max_string_bytes;
    if bytes <= allowed { reserve(bytes) } else { Err(end(too_long_string(allowed))) }
}

/// Refuses an array that is too long.
pub(super) fn array_fits(len: usize) -> Result<(), Box<EvalAltResult>> {
    let allowed = limits().max_array_len;
    if len <= allowed { Ok(()) } else { Err(end(too_long_array(allowed))) }
}

/// Refuses a map with too many entries.
pub(super) fn map_fits(len: usize) -> Result<(), Box<EvalAltResult>> {
    let allowed = limits().max_map_len;
    if len <= allowed {
        Ok(())
    } else {
        Err(over_limit("max_map_len", format!("a map would have more than {allowed} entries")))
    }
}

/// Ends the run for nesting values too deep.
pub(super) fn too_deep() -> Over {
    let allowed = limits().max_value_depth;
    Over::Limit { name: "max_value_depth", message: format!("a value would nest deeper than {allowed} levels") }
}

/// What a failed call for stored data means to the run.
pub(super) fn data_error(error: DataError) -> Box<EvalAltResult> {
    match error {
        DataError::Refused(message) => EvalAltResult::ErrorRuntime(message.into(), Position::NONE).into(),
        DataError::Conflict => end(Over::Conflict),
        DataError::Deadline => end(Over::TimedOut),
        DataError::Cancelled => end(Over::Cancelled),
        DataError::NotANumber(message) => end(Over::NotANumber(message)),
        DataError::Diverged(message) => end(Over::Diverged(message)),
        DataError::Limit { name, message } => over_limit(name, message),
        DataError::Unavailable => end(Over::Unavailable),
    }
}

fn too_long_string(allowed: usize) -> Over {
    Over::Limit { name: "max_string_bytes", message: format!("a string or blob would be longer than {allowed} bytes") }
}

fn too_long_array(allowed: usize) -> Over {
    Over::Limit { name: "max_array_len", message: format!("an array would have more than {allowed} items") }
}

fn too_deep_calls() -> Over {
    Over::Limit { name: "max_call_depth", message: "functions and expressions nest too deep together".to_owned() }
}

fn terminated() -> Box<EvalAltResult> {
    EvalAltResult::ErrorTerminated(Dynamic::UNIT, Position::NONE).into()
}

impl Meter {
    #[cold]
    fn end(&self, over: Over) {
        self.over.set(true);
        self.why.borrow_mut().get_or_insert(over);
    }

    /// So much native work is more than a short run may do.
    fn end_if_short(&self) {
        if self.span.get() == Span::Short {
            self.end(Over::Operations);
        }
    }

    #[inline]
    fn look_at_memory(&self) {
        if memory::used() > self.memory_line.get() {
            self.end(Over::Memory);
        }
        let signs = memory::signs();
        if signs != 0 {
            self.read_signs(signs);
        }
    }

    #[cold]
    fn read_signs(&self, signs: u8) {
        let limits = self.limits.get();
        if signs & memory::LARGE_TEXT != 0 {
            self.end(too_long_string(limits.max_string_bytes));
        } else if signs & memory::LARGE_ARRAY != 0 {
            self.end(too_long_array(limits.max_array_len));
        } else {
            self.end(too_deep());
        }
    }

    fn look_at_clock(&self) {
        self.churn_seen.set(memory::churned());
        if self.deadline.get().is_some_and(|deadline| Instant::now() >= deadline) {
            self.end(Over::TimedOut);
        }
        if self.cancelled.borrow().as_ref().is_some_and(|cancelled| cancelled.load(Ordering::Relaxed)) {
            self.end(Over::Cancelled);
        }
    }
}
