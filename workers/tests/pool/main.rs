//! Permits and threads: who runs when, and that nothing is lost or left.

mod ends;
mod fair;
mod here;
mod nested;
mod permits;

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    time::{Duration, Instant},
};

use picloud_workers::pool::{Pool, Settings};

/// A pool that computes one run at a time, unless a test says otherwise.
fn settings() -> Settings {
    Settings { permits: 1, stack_bytes: 256 * 1024, slice: Duration::ZERO, ..Settings::default() }
}

fn pool(settings: Settings) -> Pool {
    Pool::new(settings).expect("threads")
}

/// Long enough for anything that happens at all.
const PATIENCE: Duration = Duration::from_secs(20);

fn join(pool: &Pool) {
    pool.join(Instant::now() + PATIENCE).expect("everything ends");
}

/// A signal between a test and a job.
fn signal() -> (Sender<()>, Receiver<()>) {
    channel()
}

fn heard<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(PATIENCE).expect("it happens")
}
