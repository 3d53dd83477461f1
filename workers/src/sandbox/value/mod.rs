//! Values between JSON and the script language, and the limits on them.

pub(super) mod compare;
mod depth;
mod detached;
mod read;
pub(super) mod show;
mod write;

use std::any::TypeId;

use rhai::{Array, Blob, Dynamic, FnPtr, ImmutableString, Map};

pub(super) use depth::{Misfit, inspect};
pub(super) use detached::detached;
pub use read::{ReadError, read_json};
pub use write::{Room, WriteError, write_json, write_json_exactly, write_json_pretty};

/// What kind of value a [`Dynamic`] holds; a cell shared by closures counts as what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Unit,
    Bool,
    Int,
    Float,
    Char,
    Text,
    Array,
    Map,
    Blob,
    Function,
    Other,
}

impl Kind {
    pub(super) fn of(value: &Dynamic) -> Self {
        let id = value.type_id();
        // In the order of how often they come.
        if id == TypeId::of::<ImmutableString>() {
            Self::Text
        } else if id == TypeId::of::<i64>() {
            Self::Int
        } else if id == TypeId::of::<Map>() {
            Self::Map
        } else if id == TypeId::of::<Array>() {
            Self::Array
        } else if id == TypeId::of::<()>() {
            Self::Unit
        } else if id == TypeId::of::<bool>() {
            Self::Bool
        } else if id == TypeId::of::<f64>() {
            Self::Float
        } else if id == TypeId::of::<char>() {
            Self::Char
        } else if id == TypeId::of::<Blob>() {
            Self::Blob
        } else if id == TypeId::of::<FnPtr>() {
            Self::Function
        } else {
            Self::Other
        }
    }
}

/// A value's kind as a message to a script's author names it.
pub(super) fn kind_name(value: &Dynamic) -> &'static str {
    match Kind::of(value) {
        Kind::Unit => "()",
        Kind::Bool => "a bool",
        Kind::Int => "an int",
        Kind::Float => "a float",
        Kind::Char => "a char",
        Kind::Text => "a string",
        Kind::Array => "an array",
        Kind::Map => "a map",
        Kind::Blob => "a blob",
        Kind::Function => "a function",
        Kind::Other => "an object",
    }
}
