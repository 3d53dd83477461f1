//! `ulid::`: ids that sort by time.

use crate::sandbox::{current::with, registry::Registry};

pub(in crate::sandbox) fn register(registry: &mut Registry) {
    registry.add("new() -> string", "A new ULID of the run's clock and randomness: 26 letters and digits.", || {
        with(|run| run.ulid().to_string())
    });
}
