//! Waiting for what another process does: looked at again and again until it is so. A minute without it is a failure.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The first answer of `look` that is one.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited a minute for this: {what}");
        sleep(LOOK_EVERY).await;
    }
}
