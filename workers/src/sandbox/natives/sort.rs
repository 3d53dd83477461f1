//! Sorting, by a merge sort of our own: the standard library's may panic when a script's comparison contradicts
//! itself, and cannot be stopped when the run is over.

use std::cmp::Ordering;

use rhai::{Array, Dynamic, EvalAltResult, FnPtr, NativeCallContext};

use crate::sandbox::{current::thrown, meter, registry::Registry, value::compare};

type Refused = Box<EvalAltResult>;

pub(super) fn register(registry: &mut Registry) {
    registry
        .add_changing(
            "sort(array: array)",
            "Sorts numbers, strings, chars or bools, smallest first.",
            |a: &mut Array| sort(a, natural("sort")),
        )
        .add_changing(
            "sort_desc(array: array)",
            "Sorts numbers, strings, chars or bools, largest first.",
            |a: &mut Array| sort(a, reversed("sort_desc")),
        )
        .add("order(array: array) -> array", "A sorted copy, smallest first.", |a: &mut Array| {
            sorted(a, natural("order"))
        })
        .add("order_desc(array: array) -> array", "A sorted copy, largest first.", |a: &mut Array| {
            sorted(a, reversed("order_desc"))
        });
    for signature in ["sort(array: array, compare: function)", "sort_by(array: array, compare: function)"] {
        registry.add_changing(
            signature,
            "Sorts by a function of two items whose result is negative, 0 or positive, or whether the first is less.",
            |context: NativeCallContext, array: &mut Array, by: FnPtr| sort(array, scripted(&context, &by)),
        );
    }
    for signature in
        ["order(array: array, compare: function) -> array", "order_by(array: array, compare: function) -> array"]
    {
        registry.add(
            signature,
            "A copy sorted by a function of two items.",
            |context: NativeCallContext, array: &mut Array, by: FnPtr| sorted(array, scripted(&context, &by)),
        );
    }
}

type Compared = Result<Ordering, Refused>;

fn natural(call: &'static str) -> impl FnMut(&Dynamic, &Dynamic) -> Compared {
    move |a, b| compare::order(call, a, b)
}

fn reversed(call: &'static str) -> impl FnMut(&Dynamic, &Dynamic) -> Compared {
    move |a, b| compare::order(call, b, a)
}

fn scripted<'c>(
    context: &'c NativeCallContext<'c>,
    by: &'c FnPtr,
) -> impl FnMut(&Dynamic, &Dynamic) -> Compared + use<'c> {
    move |a, b| {
        let result: Dynamic = by.call_within_context(context, (a.clone(), b.clone()))?;
        if let Ok(order) = result.as_int() {
            return Ok(order.cmp(&0));
        }
        match result.as_bool() {
            Ok(true) => Ok(Ordering::Less),
            // Not less: whether it is equal or greater makes no difference to a stable merge.
            Ok(false) => Ok(Ordering::Equal),
            Err(other) => Err(thrown(format!("sort: the comparison gave {other}, not an int or a bool"))),
        }
    }
}

fn sorted(array: &mut Array, order: impl FnMut(&Dynamic, &Dynamic) -> Compared) -> Result<Array, Refused> {
    meter::spend(array.len() * size_of::<Dynamic>())?;
    let mut copy = array.clone();
    sort(&mut copy, order).map(|()| copy)
}

/// A stable bottom-up merge sort. On an error the array keeps all its items, in some order.
fn sort(array: &mut Array, mut order: impl FnMut(&Dynamic, &Dynamic) -> Compared) -> Result<(), Refused> {
    let len = array.len();
    let mut width = 1;
    while width < len {
        let mut merged: Array = Vec::with_capacity(len);
        let mut failed = None;
        let mut rest = std::mem::take(array).into_iter();
        while rest.len() > 0 {
            let mut left = rest.by_ref().take(width).collect::<Vec<_>>().into_iter().peekable();
            let mut right = rest.by_ref().take(width).collect::<Vec<_>>().into_iter().peekable();
            while let (Some(a), Some(b)) = (left.peek(), right.peek())
                && failed.is_none()
            {
                match meter::spend(8).and_then(|()| order(b, a)) {
                    // Only a right item that is strictly less overtakes: equal ones stay as they were.
                    Ok(Ordering::Less) => merged.extend(right.next()),
                    Ok(_) => merged.extend(left.next()),
                    Err(error) => failed = Some(error),
                }
            }
            merged.extend(left);
            merged.extend(right);
        }
        *array = merged;
        if let Some(error) = failed {
            return Err(error);
        }
        width *= 2;
    }
    Ok(())
}
