//! Shows who sits at a terminal that something takes its time. What is quick is not announced.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::timeout;

/// What comes sooner was not waited for.
const NOTICEABLE: Duration = Duration::from_millis(400);

/// Waits for work; while it takes long, says for what and for how long already. On stderr, and only at a terminal.
pub async fn with_patience<T>(what: &str, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let mut work = pin!(work);
    if let Ok(done) = timeout(NOTICEABLE, &mut work).await {
        return done;
    }
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}").expect("the template is ours");
    let bar = ProgressBar::new_spinner().with_elapsed(began.elapsed()).with_style(style).with_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    let done = work.await;
    bar.finish_and_clear();
    done
}
