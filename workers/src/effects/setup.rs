//! How the run's app is set up: the seam to whoever keeps that in memory.

use std::sync::Arc;

use picloud_core::{
    event::outbox::Payload,
    id::{OutboxId, ScriptId},
    run::{Program, Request, Rights},
};

/// How one app is set up, as a run sees it. Nothing waits here.
pub trait Setup: Send + 'static {
    /// Whether anybody takes messages from a queue.
    fn has_consumer(&self, queue: &str) -> bool;

    /// A script by its name.
    ///
    /// # Errors
    /// Why there is none that could be run, and what to do about it.
    fn script(&self, name: &str) -> Result<Invocable, String>;

    /// A script's id by its name, whatever it is.
    ///
    /// # Errors
    /// That there is none.
    fn script_id(&self, name: &str) -> Result<ScriptId, String>;

    /// What an item holds whose run is to get a request.
    fn seal(&self, item: OutboxId, request: Request) -> Payload;
}

/// A script that another may run.
#[derive(Clone, Debug)]
pub struct Invocable {
    /// The version that is active.
    pub program: Arc<Program>,
    /// What it may do at most, in the name of whoever this run acts for.
    pub rights: Rights,
    /// Whether it may not run now.
    pub is_paused: bool,
}
