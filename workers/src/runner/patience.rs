//! Says when a while has passed, to everybody who waits for that, with one timer for all.
//!
//! Nearly every run ends before its while is over. A timer of its own would be armed and given up by each, and arming one
//! that is due before all others wakes the thread that waits for timers: that costs more than a short script.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    task::AbortHandle,
    time::{Instant, sleep_until},
};

/// How far apart two looks at who has waited for long enough are at least.
const GRAIN: Duration = Duration::from_millis(5);

/// A while, the same for all.
#[derive(Debug)]
pub(super) struct Patience {
    lasts: Duration,
    line: Arc<Line>,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct Line {
    /// In order: all wait for equally long. Who has stopped waiting stays until the while is over.
    waiting: Mutex<VecDeque<(Instant, oneshot::Sender<()>)>>,
    /// Somebody stands in line again.
    first: Notify,
}

impl Patience {
    pub(super) fn new(lasts: Duration, handle: &Handle) -> Self {
        let line = Arc::<Line>::default();
        let task = handle.spawn(call_out(Arc::clone(&line))).abort_handle();
        Self { lasts, line, task }
    }

    /// Resolves when the while, counted from now, has passed: not sooner, and up to [`GRAIN`] later.
    pub(super) async fn is_over(&self) {
        let (over, told) = oneshot::channel();
        let is_first = {
            let mut waiting = self.line.waiting.lock();
            waiting.push_back((Instant::now() + self.lasts, over));
            waiting.len() == 1
        };
        if is_first {
            self.line.first.notify_one();
        }
        // Never told only when this is dropped, and then nobody waits.
        let _ = told.await;
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn call_out(line: Arc<Line>) {
    loop {
        let next = line.waiting.lock().front().map(|(due, _)| *due);
        match next {
            None => line.first.notified().await,
            Some(due) => sleep_until(due.max(Instant::now() + GRAIN)).await,
        }
        let now = Instant::now();
        let mut waiting = line.waiting.lock();
        while waiting.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, over)) = waiting.pop_front() {
                let _ = over.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::{FutureExt as _, join_all};

    use super::*;

    const WHILE: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn everybody_is_told_once_the_while_is_over_and_not_before() {
        let patience = Patience::new(WHILE, &Handle::current());
        for _ in 0..2 {
            let began = Instant::now();
            let waits = (0..100).map(|_| patience.is_over().map(|()| began.elapsed()));
            for waited in join_all(waits).await {
                assert!(waited >= WHILE, "{waited:?}");
            }
            assert!(patience.line.waiting.lock().is_empty());
        }
    }

    #[tokio::test]
    async fn who_stops_waiting_is_passed_over() {
        let patience = Patience::new(WHILE, &Handle::current());
        assert!(patience.is_over().now_or_never().is_none());
        patience.is_over().await;
        assert!(patience.line.waiting.lock().is_empty());
    }
}
