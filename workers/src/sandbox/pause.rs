//! A script that waits: without the right to compute, and never longer than its run lasts.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use rhai::EvalAltResult;

use super::{
    current::{with, with_data},
    meter,
};

/// How long a run that was cancelled may go on waiting.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Waits for a while, or until the run is over: then the error ends it.
pub(super) fn pause(how_long: Duration) -> Result<(), Box<EvalAltResult>> {
    if how_long.is_zero() {
        return Ok(());
    }
    let (deadline, cancelled) = with(|run| (run.input.deadline, Arc::clone(&run.input.cancelled)))?;
    let until = Instant::now().checked_add(how_long).map_or(deadline, |until| until.min(deadline));
    with_data(|data| {
        data.pause(&mut || {
            while !cancelled.load(Ordering::Relaxed) {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                thread::sleep(left.min(BETWEEN_LOOKS));
            }
        })
    })?;
    meter::look()
}
