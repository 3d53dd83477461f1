//! Values as text for people: what `print`, `to_string` and `${…}` show. Never longer or deeper than allowed.

use std::fmt::Write as _;

use rhai::{Array, Dynamic, ImmutableString, Map};

use super::Kind;
use crate::sandbox::{meter, sdk::retry};

/// The text of a value: a string as it is, everything in arrays and maps as it would be written in a script.
pub fn to_text(value: &Dynamic) -> ImmutableString {
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return text.clone();
    }
    let mut shown = Shown::new();
    shown.value(value, 0, false);
    shown.out.into()
}

/// The text of a value as it would be written in a script: strings in quotes.
pub fn to_debug(value: &Dynamic) -> ImmutableString {
    let mut shown = Shown::new();
    shown.value(value, 0, true);
    shown.out.into()
}

struct Shown {
    out: String,
    max_depth: usize,
}

impl Shown {
    fn new() -> Self {
        Self { out: String::new(), max_depth: meter::limits().max_value_depth }
    }

    /// Returns whether there is room for more. The interpreter ignores errors of `to_string`, so a text that grows
    /// too long is cut here, and the run is ended at its next step.
    fn value(&mut self, value: &Dynamic, depth: usize, quoted: bool) -> bool {
        match Kind::of(value) {
            Kind::Text => {
                if let Some(text) = value.read_lock::<ImmutableString>() {
                    if !self.fits(text.len()) {
                        return false;
                    }
                    if quoted {
                        let _ = write!(self.out, "{:?}", text.as_str());
                    } else {
                        self.out.push_str(&text);
                    }
                }
            }
            Kind::Array => {
                if let Some(array) = value.read_lock::<Array>() {
                    return self.array(&array, depth);
                }
            }
            Kind::Map => {
                if let Some(map) = value.read_lock::<Map>() {
                    return self.map(&map, depth);
                }
            }
            Kind::Unit if !quoted => (),
            Kind::Char if !quoted => self.out.push(value.as_char().unwrap_or_default()),
            Kind::Blob => {
                let len = value.read_lock::<rhai::Blob>().map_or(0, |blob| blob.len());
                let _ = write!(self.out, "blob of {len} bytes");
            }
            Kind::Function => self.out.push_str("function"),
            Kind::Unit | Kind::Bool | Kind::Int | Kind::Float | Kind::Char => {
                let _ = write!(self.out, "{value:?}");
            }
            Kind::Other => {
                let _ = match retry::asked(value) {
                    Some(asked) => write!(self.out, "{asked}"),
                    None => write!(self.out, "{value}"),
                };
            }
        }
        self.fits(0)
    }

    fn array(&mut self, array: &Array, depth: usize) -> bool {
        if depth >= self.max_depth {
            self.out.push('…');
            return true;
        }
        self.out.push('[');
        for (index, item) in array.iter().enumerate() {
            if index > 0 {
                self.out.push_str(", ");
            }
            if !self.value(item, depth + 1, true) {
                return false;
            }
        }
        self.out.push(']');
        true
    }

    fn map(&mut self, map: &Map, depth: usize) -> bool {
        if depth >= self.max_depth {
            self.out.push('…');
            return true;
        }
        self.out.push_str("#{");
        for (index, (key, item)) in map.iter().enumerate() {
            let _ = write!(self.out, "{}{:?}: ", if index > 0 { ", " } else { "" }, key.as_str());
            if !self.value(item, depth + 1, true) {
                return false;
            }
        }
        self.out.push('}');
        true
    }

    fn fits(&self, more: usize) -> bool {
        meter::spend(8 + more).is_ok() && meter::string_fits(self.out.len() + more).is_ok()
    }
}
