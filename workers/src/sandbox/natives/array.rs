//! Functions of arrays that copy, grow or compare.

use rhai::{Array, Dynamic, EvalAltResult, INT};

use crate::sandbox::{meter, registry::Registry, value::compare};

type Refused = Box<EvalAltResult>;

/// About what one item of an array weighs, in work.
const ITEM: usize = size_of::<Dynamic>();

pub(super) fn register(registry: &mut Registry) {
    registry
        .add("==(a: array, b: array) -> bool", "Whether both have equal items in the same order.", equal)
        .add("!=(a: array, b: array) -> bool", "Whether the arrays differ.", |a: &mut Array, b: Array| {
            equal(a, b).map(|equal| !equal)
        })
        .add(
            "contains(array: array, value: ?) -> bool",
            "Whether an item equals the value.",
            |a: &mut Array, v: Dynamic| Ok::<_, Refused>(position(a, &v, 0)? >= 0),
        )
        .add(
            "index_of(array: array, value: ?) -> int",
            "Where the first item is that equals the value; -1 when there is none.",
            |array: &mut Array, value: Dynamic| position(array, &value, 0),
        )
        .add(
            "index_of(array: array, value: ?, start: int) -> int",
            "Where the first item from `start` on is that equals the value; -1 when there is none.",
            |array: &mut Array, value: Dynamic, start: INT| position(array, &value, start),
        )
        .add("+(a: array, b: array) -> array", "The items of both.", |mut a: Array, b: Array| {
            append(&mut a, b).map(|()| a)
        })
        .add_changing("push(array: array, item: ?)", "Adds an item to the end.", |array: &mut Array, item: Dynamic| {
            meter::array_fits(array.len() + 1)?;
            array.push(item);
            Ok::<_, Refused>(())
        })
        .add_changing("append(array: array, other: array)", "Adds the items of another array to the end.", append)
        .add_changing("+=(array: array, other: array)", "Adds the items of another array to the end.", append)
        .add_changing(
            "insert(array: array, index: int, item: ?)",
            "Puts an item at a place; a negative index counts from the end, one past it adds at the end.",
            |array: &mut Array, index: INT, item: Dynamic| {
                meter::array_fits(array.len() + 1)?;
                meter::spend((array.len() + 1) * ITEM)?;
                array.insert(place(array.len(), index), item);
                Ok::<_, Refused>(())
            },
        )
        .add_changing("pad(array: array, len: int, item: ?)", "Adds copies of an item until the array is so long.", pad)
        .add_changing(
            "splice(array: array, start: int, len: int, other: array)",
            "Replaces a part of the array by the items of another.",
            splice,
        )
        .add_changing("dedup(array: array)", "Removes items that equal the one before them.", dedup);
}

fn equal(a: &mut Array, b: Array) -> Result<bool, Refused> {
    compare::equal_arrays(a, &b)
}

fn position(array: &Array, value: &Dynamic, start: INT) -> Result<INT, Refused> {
    for (index, item) in array.iter().enumerate().skip(place(array.len(), start)) {
        if compare::equal(item, value)? {
            return Ok(INT::try_from(index).unwrap_or(INT::MAX));
        }
    }
    Ok(-1)
}

fn append(array: &mut Array, other: Array) -> Result<(), Refused> {
    meter::array_fits(array.len() + other.len())?;
    meter::spend(other.len() * ITEM)?;
    array.extend(other);
    Ok(())
}

fn pad(array: &mut Array, len: INT, item: Dynamic) -> Result<(), Refused> {
    let Ok(len) = usize::try_from(len) else { return Ok(()) };
    meter::array_fits(len)?;
    while array.len() < len {
        // A copy of an array or a map is a deep one: it is looked at after each how much memory is left.
        meter::spend(ITEM)?;
        meter::reserve(0)?;
        array.push(item.clone());
    }
    Ok(())
}

fn splice(array: &mut Array, start: INT, len: INT, other: Array) -> Result<(), Refused> {
    let start = place(array.len(), start);
    let len = usize::try_from(len).unwrap_or(0).min(array.len() - start);
    meter::array_fits(array.len() - len + other.len())?;
    meter::spend((array.len() + other.len()) * ITEM)?;
    array.splice(start..start + len, other);
    Ok(())
}

fn dedup(array: &mut Array) -> Result<(), Refused> {
    let mut kept: Array = Vec::with_capacity(array.len());
    for item in std::mem::take(array) {
        match kept.last() {
            Some(last) if compare::equal(last, &item)? => (),
            _ => kept.push(item),
        }
    }
    *array = kept;
    Ok(())
}

/// Where an index of a script points: negative ones count from the end, all stay inside.
fn place(len: usize, index: INT) -> usize {
    match usize::try_from(index) {
        Ok(index) => index.min(len),
        Err(_) => len.saturating_sub(usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)),
    }
}
