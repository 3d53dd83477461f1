//! How values become text. The text of an array may be a million times the array: strings in it are shared.

use rhai::{Array, Dynamic, FnPtr, ImmutableString, Map};

use crate::sandbox::{registry::Registry, value::show};

type Text = ImmutableString;

pub(super) fn register(registry: &mut Registry) {
    for signature in ["print(value: ?) -> string", "to_string(value: ?) -> string"] {
        registry
            .add(signature, "The value as text.", |value: &mut Dynamic| -> Text { show::to_text(value) })
            .add(signature, "The array as text.", |value: &mut Array| -> Text { show::to_text(&value.clone().into()) })
            .add(signature, "The map as text.", |value: &mut Map| -> Text { show::to_text(&value.clone().into()) });
    }
    for signature in ["debug(value: ?) -> string", "to_debug(value: ?) -> string"] {
        registry
            .add(signature, "The value as text, strings in quotes.", |value: &mut Dynamic| -> Text {
                show::to_debug(value)
            })
            .add(signature, "The array as text.", |value: &mut Array| -> Text { show::to_debug(&value.clone().into()) })
            .add(signature, "The map as text.", |value: &mut Map| -> Text { show::to_debug(&value.clone().into()) })
            .add(signature, "The function as text.", |_: &mut FnPtr| -> Text { "function".into() });
    }
}
