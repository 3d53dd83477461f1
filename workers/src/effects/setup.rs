//! How the run's app is set up: the seam to whoever keeps that in memory.

/// How one app is set up, as a run sees it. Nothing waits here.
pub trait Setup: Send + 'static {
    /// Whether anybody takes messages from a queue.
    fn has_consumer(&self, queue: &str) -> bool;
}
