//! Equality and order of values, counted as work: strings are shared, so a small value can be long to compare.

use std::cmp::Ordering;

use rhai::{Array, Blob, Dynamic, EvalAltResult, ImmutableString, Map, Position};

use super::{Kind, kind_name};
use crate::sandbox::meter;

type Refused = Box<EvalAltResult>;

/// Whether two values are equal. An int equals a float of the same number; functions and objects equal nothing.
pub fn equal(a: &Dynamic, b: &Dynamic) -> Result<bool, Refused> {
    equal_at(a, b, meter::limits().max_value_depth)
}

fn equal_at(a: &Dynamic, b: &Dynamic, depth: usize) -> Result<bool, Refused> {
    meter::spend(8)?;
    Ok(match (Kind::of(a), Kind::of(b)) {
        (Kind::Unit, Kind::Unit) => true,
        (Kind::Bool, Kind::Bool) => a.as_bool() == b.as_bool(),
        (Kind::Int, Kind::Int) => a.as_int() == b.as_int(),
        (Kind::Char, Kind::Char) => a.as_char() == b.as_char(),
        (Kind::Int | Kind::Float, Kind::Int | Kind::Float) => number(a) == number(b),
        (Kind::Text, Kind::Text) => match (a.read_lock::<ImmutableString>(), b.read_lock::<ImmutableString>()) {
            (Some(a), Some(b)) => texts(&a, &b)?,
            _ => false,
        },
        (Kind::Blob, Kind::Blob) => match (a.read_lock::<Blob>(), b.read_lock::<Blob>()) {
            (Some(a), Some(b)) => a.len() == b.len() && meter::spend(a.len()).map(|()| *a == *b)?,
            _ => false,
        },
        (Kind::Array, Kind::Array) => match (a.read_lock::<Array>(), b.read_lock::<Array>()) {
            (Some(a), Some(b)) => arrays(&a, &b, deeper(depth)?)?,
            _ => false,
        },
        (Kind::Map, Kind::Map) => match (a.read_lock::<Map>(), b.read_lock::<Map>()) {
            (Some(a), Some(b)) => maps(&a, &b, deeper(depth)?)?,
            _ => false,
        },
        _ => false,
    })
}

/// Whether two strings are equal. A copy of a string is the same string, found without looking at it.
fn texts(a: &ImmutableString, b: &ImmutableString) -> Result<bool, Refused> {
    if std::ptr::eq(a.as_str(), b.as_str()) {
        return Ok(true);
    }
    meter::spend(a.len().min(b.len()))?;
    Ok(a == b)
}

fn deeper(depth: usize) -> Result<usize, Refused> {
    depth.checked_sub(1).ok_or_else(|| meter::end(meter::too_deep()))
}

/// Whether two arrays have equal items in the same order.
pub fn equal_arrays(a: &Array, b: &Array) -> Result<bool, Refused> {
    arrays(a, b, meter::limits().max_value_depth)
}

/// Whether two maps have the same keys with equal values.
pub fn equal_maps(a: &Map, b: &Map) -> Result<bool, Refused> {
    maps(a, b, meter::limits().max_value_depth)
}

fn arrays(a: &Array, b: &Array, depth: usize) -> Result<bool, Refused> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (a, b) in a.iter().zip(b) {
        if !equal_at(a, b, depth)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn maps(a: &Map, b: &Map, depth: usize) -> Result<bool, Refused> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for ((a_key, a), (b_key, b)) in a.iter().zip(b) {
        meter::spend(a_key.len())?;
        if a_key != b_key || !equal_at(a, b, depth)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The order of two values of one kind: numbers, strings, chars or bools.
pub fn order(call: &str, a: &Dynamic, b: &Dynamic) -> Result<Ordering, Refused> {
    meter::spend(8)?;
    let order = match (Kind::of(a), Kind::of(b)) {
        (Kind::Int, Kind::Int) => Some(a.as_int().cmp(&b.as_int())),
        (Kind::Int | Kind::Float, Kind::Int | Kind::Float) => Some(number(a).total_cmp(&number(b))),
        (Kind::Bool, Kind::Bool) => Some(a.as_bool().cmp(&b.as_bool())),
        (Kind::Char, Kind::Char) => Some(a.as_char().cmp(&b.as_char())),
        (Kind::Text, Kind::Text) => match (a.read_lock::<ImmutableString>(), b.read_lock::<ImmutableString>()) {
            (Some(a), Some(b)) => {
                if texts(&a, &b)? {
                    Some(Ordering::Equal)
                } else {
                    Some(a.as_str().cmp(b.as_str()))
                }
            }
            _ => None,
        },
        _ => None,
    };
    order.ok_or_else(|| {
        let message = format!(
            "{call}: {} and {} have no order; give a function that compares two items",
            kind_name(a),
            kind_name(b)
        );
        EvalAltResult::ErrorRuntime(message.into(), Position::NONE).into()
    })
}

fn number(value: &Dynamic) -> f64 {
    value.as_float().or_else(|_| value.as_int().map(|int| int as f64)).unwrap_or(f64::NAN)
}
