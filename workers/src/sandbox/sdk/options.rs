//! The last argument of many calls: a map of options. A misspelt one is refused rather than ignored.

use std::ops::RangeInclusive;

use picloud_core::nearest::nearest;
use rhai::{Dynamic, EvalAltResult, INT, ImmutableString, Map};

use crate::sandbox::{
    current::thrown,
    value::{Kind, kind_name},
};

type Refused = Box<EvalAltResult>;

/// The options of one call.
pub(super) struct Options<'a> {
    call: &'static str,
    given: &'a Map,
}

impl<'a> Options<'a> {
    /// Those of a call that knows these.
    pub(super) fn of(call: &'static str, given: &'a Map, known: &[&str]) -> Result<Self, Refused> {
        let Some(unknown) = given.keys().find(|name| !known.contains(&name.as_str())) else {
            return Ok(Self { call, given });
        };
        let near =
            nearest(unknown, known.iter().copied()).map_or_else(String::new, |near| format!(", perhaps `{near}`"));
        let (unknown, known) = (shortened(unknown), known.join(", "));
        Err(thrown(format!("{call}: there is no option `{unknown}`{near}; there is {known}")))
    }

    /// A value; none where there is none, or `()`.
    pub(super) fn get(&self, name: &str) -> Option<&'a Dynamic> {
        self.given.get(name).filter(|value| !value.is_unit())
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Result<Option<ImmutableString>, Refused> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.read_lock::<ImmutableString>() {
            Some(text) => Ok(Some(text.clone())),
            None => Err(self.wrong(name, value, "a string")),
        }
    }

    /// A truth value.
    pub(super) fn bool(&self, name: &str) -> Result<Option<bool>, Refused> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_bool().map(Some).map_err(|_| self.wrong(name, value, "true or false"))
    }

    /// A whole number within bounds.
    pub(super) fn int(&self, name: &str, range: RangeInclusive<INT>) -> Result<Option<INT>, Refused> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_int() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(self.wrong(name, value, &format!("an int from {} to {}", range.start(), range.end()))),
        }
    }

    /// The error for a value that cannot be.
    pub(super) fn wrong(&self, name: &str, value: &Dynamic, wanted: &str) -> Refused {
        let given = match Kind::of(value) {
            Kind::Int => value.to_string(),
            Kind::Text => format!("`{}`", shortened(&value.to_string())),
            _ => kind_name(value).to_owned(),
        };
        thrown(format!("{}: `{name}` is {given}: it must be {wanted}", self.call))
    }
}

/// As much of a text as fits a message.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
