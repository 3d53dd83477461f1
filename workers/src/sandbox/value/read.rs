//! JSON into values, refused while it is read: depth, lengths and memory are looked at item by item.

use std::{cell::RefCell, fmt};

use picloud_core::limits::Limits;
use rhai::{Array, Dynamic, Map};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::sandbox::{memory, meter};

/// Why a text did not become a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is no JSON; says where and why.
    #[error("{0}")]
    Invalid(String),
    /// It is JSON, but passes a limit.
    #[error("{message}")]
    Limit {
        /// The limit's name in [`Limits`].
        name: &'static str,
        /// What is allowed.
        message: String,
    },
    /// The run was ended while it was read (deadline, memory, cancelled).
    #[error("the run is over")]
    Over,
}

/// Reads one JSON value. Whole numbers within 64 bits stay whole; larger ones become floats.
///
/// # Errors
/// [`ReadError`] says what is wrong with the text or which limit it passes.
pub fn read_json(text: &[u8], limits: &Limits) -> Result<Dynamic, ReadError> {
    memory::unwatched(|| {
        let refused = RefCell::new(None);
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let seed = Value { limits, depth: limits.max_value_depth, refused: &refused };
        let read = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
        read.map_err(|error| refused.take().unwrap_or_else(|| not_json(&error, limits)))
    })
}

fn not_json(error: &serde_json::Error, limits: &Limits) -> ReadError {
    let message = error.to_string();
    // serde_json's own guard is the same limit, met one level earlier or later.
    if message.starts_with("recursion limit exceeded") { too_deep(limits) } else { ReadError::Invalid(message) }
}

fn too_deep(limits: &Limits) -> ReadError {
    let message = format!("the JSON nests deeper than {} levels", limits.max_value_depth);
    ReadError::Limit { name: "max_value_depth", message }
}

#[derive(Clone, Copy)]
struct Value<'l> {
    limits: &'l Limits,
    /// How many more levels may be opened.
    depth: usize,
    /// Why reading stopped: serde's errors carry text only.
    refused: &'l RefCell<Option<ReadError>>,
}

impl<'l> Value<'l> {
    fn refuse<E: serde::de::Error>(&self, why: ReadError) -> E {
        self.refused.replace(Some(why));
        E::custom("refused")
    }

    fn limit<E: serde::de::Error>(&self, name: &'static str, message: String) -> E {
        self.refuse(ReadError::Limit { name, message })
    }

    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..*self }),
            None => Err(self.refuse(too_deep(self.limits))),
        }
    }

    fn work<E: serde::de::Error>(&self, units: usize) -> Result<(), E> {
        meter::spend(units).map_err(|_| self.refuse(ReadError::Over))
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Dynamic;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Dynamic, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Dynamic;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Dynamic, E> {
        Ok(Dynamic::UNIT)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Dynamic, E> {
        Ok(i64::try_from(value).map_or_else(|_| Dynamic::from_float(value as f64), Dynamic::from_int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Dynamic, E> {
        let allowed = self.limits.max_string_bytes;
        if text.len() > allowed {
            return Err(self.limit("max_string_bytes", format!("the JSON has a string longer than {allowed} bytes")));
        }
        self.work(text.len())?;
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Dynamic, A::Error> {
        let inner = self.deeper()?;
        let mut array = Array::new();
        while let Some(item) = items.next_element_seed(inner)? {
            if array.len() >= self.limits.max_array_len {
                let allowed = self.limits.max_array_len;
                return Err(self.limit("max_array_len", format!("the JSON has an array of more than {allowed} items")));
            }
            self.work(size_of::<Dynamic>())?;
            array.push(item);
        }
        Ok(Dynamic::from_array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Dynamic, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<std::borrow::Cow<'de, str>>()? {
            let value = entries.next_value_seed(inner)?;
            if key.len() > self.limits.max_string_bytes {
                return Err(A::Error::custom("a key is too long"));
            }
            map.insert(key.as_ref().into(), value);
            if map.len() > self.limits.max_map_len {
                let allowed = self.limits.max_map_len;
                return Err(self.limit("max_map_len", format!("the JSON has an object of more than {allowed} entries")));
            }
            self.work(key.len() + 4 * size_of::<Dynamic>())?;
        }
        Ok(Dynamic::from_map(map))
    }
}
