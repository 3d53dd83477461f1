//! `random::`: from the run's recorded seed, so that a repeated run draws the same.

use rand::{Rng as _, RngExt as _, distr::Alphanumeric};
use rhai::{Array, Blob, Dynamic, EvalAltResult, INT};

use crate::sandbox::{
    current::{thrown, with},
    meter,
    registry::Registry,
};

type Refused = Box<EvalAltResult>;

pub(in crate::sandbox) fn register(registry: &mut Registry) {
    registry
        .add(
            "int(from: int, to: int) -> int",
            "A whole number between the two, both included.",
            |from: INT, to: INT| {
                if from > to {
                    return Err(thrown(format!("random::int: {from} is more than {to}")));
                }
                with(|run| run.random().random_range(from..=to))
            },
        )
        .add("float() -> float", "A number from 0.0 up to, but not, 1.0.", || with(|run| run.random().random::<f64>()))
        .add("bytes(len: int) -> blob", "So many random bytes, fit for keys and tokens.", |len: INT| {
            let mut bytes: Blob = vec![0; length("random::bytes", len)?];
            with(|run| run.random().fill_bytes(&mut bytes))?;
            Ok::<_, Refused>(bytes)
        })
        .add("string(len: int) -> string", "So many random letters and digits.", |len: INT| {
            let len = length("random::string", len)?;
            with(|run| -> String { (0..len).map(|_| char::from(run.random().sample(Alphanumeric))).collect() })
        })
        .add("choose(items: array) -> ?", "One of the items; `()` when there are none.", |items: &mut Array| {
            if items.is_empty() {
                return Ok(Dynamic::UNIT);
            }
            with(|run| run.random().random_range(0..items.len())).map(|index| items[index].clone())
        });
}

fn length(call: &str, len: INT) -> Result<usize, Refused> {
    let len = usize::try_from(len).map_err(|_| thrown(format!("{call}: {len} is no length")))?;
    meter::string_fits(len)?;
    meter::spend(len)?;
    Ok(len)
}
