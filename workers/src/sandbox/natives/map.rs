//! Functions of maps that grow or compare.

use rhai::{EvalAltResult, Map};

use crate::sandbox::{meter, registry::Registry, sdk::json, value::compare};

type Refused = Box<EvalAltResult>;

/// About what one entry of a map weighs, in work.
const ENTRY: usize = 64;

pub(super) fn register(registry: &mut Registry) {
    registry
        .add("==(a: map, b: map) -> bool", "Whether both have the same keys with equal values.", equal)
        .add("!=(a: map, b: map) -> bool", "Whether the maps differ.", |a: &mut Map, b: Map| {
            equal(a, b).map(|equal| !equal)
        })
        .add(
            "+(a: map, b: map) -> map",
            "The entries of both; where a key is in both, the second's.",
            |mut a: Map, b: Map| mixin(&mut a, b).map(|()| a),
        )
        .add_changing("mixin(map: map, other: map)", "Takes over all entries of another map.", mixin)
        .add_changing("+=(map: map, other: map)", "Takes over all entries of another map.", mixin)
        .add_changing(
            "fill_with(map: map, other: map)",
            "Takes over those entries of another map whose keys are missing.",
            |map: &mut Map, other: Map| {
                meter::spend(other.len() * ENTRY)?;
                for (key, value) in other {
                    map.entry(key).or_insert(value);
                }
                meter::map_fits(map.len())
            },
        )
        .add("to_json(map: map) -> string", "The map as JSON: see json::stringify.", |map: &mut Map| {
            json::stringify(&map.clone().into())
        });
}

fn equal(a: &mut Map, b: Map) -> Result<bool, Refused> {
    compare::equal_maps(a, &b)
}

fn mixin(map: &mut Map, other: Map) -> Result<(), Refused> {
    meter::spend(other.len() * ENTRY)?;
    map.extend(other);
    meter::map_fits(map.len())
}
