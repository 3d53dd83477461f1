//! Looks a value over without recursing further than its limits allow.

use picloud_core::limits::Limits;
use rhai::{Array, Blob, Dynamic, FnPtr, ImmutableString, Map};

use super::Kind;

/// Which limit a value passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    String,
    Array,
    Map,
    Depth,
}

/// Looks at no more than `budget` values inside `value`; the first that passes a limit is the answer.
pub fn inspect(value: &Dynamic, limits: &Limits, budget: usize) -> Option<Misfit> {
    let mut left = budget;
    look(value, limits, limits.max_value_depth, &mut left)
}

fn look(value: &Dynamic, limits: &Limits, depth: usize, left: &mut usize) -> Option<Misfit> {
    if *left == 0 {
        return None;
    }
    *left -= 1;
    match Kind::of(value) {
        Kind::Text => {
            let text = value.read_lock::<ImmutableString>()?;
            (text.len() > limits.max_string_bytes).then_some(Misfit::String)
        }
        Kind::Blob => {
            let blob = value.read_lock::<Blob>()?;
            (blob.len() > limits.max_string_bytes).then_some(Misfit::String)
        }
        Kind::Array => {
            let array = value.read_lock::<Array>()?;
            if array.len() > limits.max_array_len {
                return Some(Misfit::Array);
            }
            inside(array.iter(), limits, depth, left)
        }
        Kind::Map => {
            let map = value.read_lock::<Map>()?;
            if map.len() > limits.max_map_len {
                return Some(Misfit::Map);
            }
            inside(map.values(), limits, depth, left)
        }
        Kind::Function => {
            let function = value.read_lock::<FnPtr>()?;
            // A cell that a closure shares may hold the closure itself: it is no level of this value.
            inside(function.curry().iter().filter(|curried| !curried.is_shared()), limits, depth, left)
        }
        Kind::Unit | Kind::Bool | Kind::Int | Kind::Float | Kind::Char | Kind::Other => None,
    }
}

fn inside<'v>(
    mut items: impl Iterator<Item = &'v Dynamic>,
    limits: &Limits,
    depth: usize,
    left: &mut usize,
) -> Option<Misfit> {
    let Some(depth) = depth.checked_sub(1) else { return Some(Misfit::Depth) };
    items.find_map(|item| look(item, limits, depth, left))
}
