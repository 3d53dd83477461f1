//! The memory that the bodies of all requests of a node may take together.
//!
//! A body is in memory from its first piece to the end of its run, whatever becomes of its client. Without a common bound, as
//! many large ones as there may be connections, and runs that wait, would be held at once.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Kind, Problem};

/// What is counted in: small enough to be fair, and a semaphore counts far enough.
const UNIT: usize = 1 << 10;

/// What every body has for nothing: connections, and runs that may wait, bound it well enough.
const FREE: usize = 16 << 10;

/// When a refused request may come again.
const RETRY_S: u64 = 1;

/// Room for bodies. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct BodyMemory {
    free: Arc<Semaphore>,
}

/// Room that one body has; it is given back with the last clone of the body.
#[derive(Debug, Default)]
pub(super) struct Room(Option<OwnedSemaphorePermit>);

impl BodyMemory {
    pub(super) fn new(bytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS))) }
    }

    /// Makes a body's room large enough for it.
    pub(super) fn enlarge(&self, room: &mut Room, bytes: usize) -> Result<(), Problem> {
        let has = room.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = bytes.saturating_sub(FREE).div_ceil(UNIT).saturating_sub(has);
        if missing == 0 {
            return Ok(());
        }
        let units = u32::try_from(missing).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.free).try_acquire_many_owned(units).map_err(|_| full())?;
        match &mut room.0 {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

impl Room {
    /// The body, which keeps its room for as long as anybody holds it.
    pub(super) fn hold(self, body: Bytes) -> Bytes {
        struct Held(Bytes, #[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);
        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        match self.0 {
            Some(permit) => Bytes::from_owner(Held(body, permit)),
            None => body,
        }
    }
}

fn full() -> Problem {
    let detail = "the requests of this node hold as much memory as they may; nothing was run, try again shortly";
    Problem::new(Kind::QueueFull, detail).retry_after(RETRY_S)
}
