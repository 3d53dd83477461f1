//! `ulid::`: ids that sort by time.

use rand::Rng as _;
use ulid::Ulid;

use crate::sandbox::{current::with, registry::Registry};

pub(in crate::sandbox) fn register(registry: &mut Registry) {
    registry.add("new() -> string", "A new ULID of the run's clock and randomness: 26 letters and digits.", || {
        with(|run| {
            let now_ms = u64::try_from(run.input.now.timestamp_millis()).unwrap_or(0);
            let mut random = [0; 16];
            run.random().fill_bytes(&mut random[..10]);
            Ulid::from_parts(now_ms, u128::from_le_bytes(random)).to_string()
        })
    });
}
