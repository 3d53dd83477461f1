//! Functions of strings that grow or take apart.

use rhai::{Array, Dynamic, EvalAltResult, INT, ImmutableString};

use crate::sandbox::{meter, registry::Registry};

type Refused = Box<EvalAltResult>;
type Text = ImmutableString;

/// How often a padding is put together before it is appended.
const PADDINGS_AT_ONCE: usize = 1024;

pub(super) fn register(registry: &mut Registry) {
    replace_functions(registry);
    registry
        .add_changing(
            "pad(string: string, len: int, character: char)",
            "Adds a character to the end until the string has so many characters.",
            |text: &mut Text, len: INT, character: char| pad(text, len, character.encode_utf8(&mut [0; 4])),
        )
        .add_changing(
            "pad(string: string, len: int, padding: string)",
            "Adds a string to the end until the string has at least so many characters.",
            |text: &mut Text, len: INT, padding: &str| pad(text, len, padding),
        )
        .add("to_chars(string: string) -> array", "The characters.", |text: &str| collect(text.chars()))
        .add("split(string: string) -> array", "The words between white space.", |text: &mut Text| {
            collect(text.split_whitespace())
        })
        .add(
            "split(string: string, delimiter: string) -> array",
            "The parts between delimiters.",
            |text: &mut Text, by: &str| collect(text.split(by)),
        )
        .add(
            "split(string: string, delimiter: char) -> array",
            "The parts between delimiters.",
            |text: &mut Text, by: char| collect(text.split(by)),
        )
        .add(
            "split(string: string, delimiter: string, parts: int) -> array",
            "The parts between delimiters, at most so many: the last has the rest.",
            |text: &mut Text, by: &str, parts: INT| collect(text.splitn(count(parts), by)),
        )
        .add(
            "split(string: string, delimiter: char, parts: int) -> array",
            "The parts between delimiters, at most so many: the last has the rest.",
            |text: &mut Text, by: char, parts: INT| collect(text.splitn(count(parts), by)),
        )
        .add(
            "split_rev(string: string, delimiter: string) -> array",
            "The parts between delimiters, last first.",
            |text: &mut Text, by: &str| collect(text.rsplit(by)),
        )
        .add(
            "split_rev(string: string, delimiter: char) -> array",
            "The parts between delimiters, last first.",
            |text: &mut Text, by: char| collect(text.rsplit(by)),
        )
        .add(
            "split_rev(string: string, delimiter: string, parts: int) -> array",
            "The parts between delimiters, last first, at most so many.",
            |text: &mut Text, by: &str, parts: INT| collect(text.rsplitn(count(parts), by)),
        )
        .add(
            "split_rev(string: string, delimiter: char, parts: int) -> array",
            "The parts between delimiters, last first, at most so many.",
            |text: &mut Text, by: char, parts: INT| collect(text.rsplitn(count(parts), by)),
        );
}

fn replace_functions(registry: &mut Registry) {
    const DOC: &str = "Replaces all occurrences in the string.";
    registry
        .add_changing(
            "replace(string: string, find: string, by: string)",
            DOC,
            |text: &mut Text, find: &str, by: &str| replace(text, find, by),
        )
        .add_changing(
            "replace(string: string, find: string, by: char)",
            DOC,
            |text: &mut Text, find: &str, by: char| replace(text, find, by.encode_utf8(&mut [0; 4])),
        )
        .add_changing(
            "replace(string: string, find: char, by: string)",
            DOC,
            |text: &mut Text, find: char, by: &str| replace(text, find.encode_utf8(&mut [0; 4]), by),
        )
        .add_changing("replace(string: string, find: char, by: char)", DOC, |text: &mut Text, find: char, by: char| {
            replace(text, find.encode_utf8(&mut [0; 4]), by.encode_utf8(&mut [0; 4]))
        });
}

fn replace(text: &mut Text, find: &str, by: &str) -> Result<(), Refused> {
    let mut result = String::new();
    let mut copied = 0;
    for (at, found) in text.match_indices(find) {
        let before = &text[copied..at];
        meter::spend(8 + before.len() + by.len())?;
        meter::string_fits(result.len() + before.len() + by.len())?;
        result.push_str(before);
        result.push_str(by);
        copied = at + found.len();
    }
    if result.is_empty() && copied == 0 {
        return Ok(());
    }
    meter::string_fits(result.len() + text.len() - copied)?;
    result.push_str(&text[copied..]);
    *text = result.into();
    Ok(())
}

fn pad(text: &mut Text, len: INT, padding: &str) -> Result<(), Refused> {
    let characters = text.chars().count();
    let missing = usize::try_from(len).unwrap_or(0).saturating_sub(characters);
    if missing == 0 || padding.is_empty() {
        return Ok(());
    }
    let times = missing.div_ceil(padding.chars().count());
    meter::string_fits(times.saturating_mul(padding.len()).saturating_add(text.len()))?;
    meter::reserve(padding.len().saturating_mul(times.min(PADDINGS_AT_ONCE)))?;
    let mut result = String::with_capacity(text.len() + times * padding.len());
    result.push_str(text);
    let chunk = padding.repeat(times.min(PADDINGS_AT_ONCE));
    let mut left = times;
    while left > 0 {
        let now = left.min(PADDINGS_AT_ONCE);
        meter::spend(now * padding.len())?;
        result.push_str(&chunk[..now * padding.len()]);
        left -= now;
    }
    *text = result.into();
    Ok(())
}

fn collect<T: Into<Dynamic>>(parts: impl Iterator<Item = T>) -> Result<Array, Refused> {
    let mut array = Array::new();
    for part in parts {
        meter::array_fits(array.len() + 1)?;
        meter::spend(size_of::<Dynamic>())?;
        array.push(part.into());
    }
    Ok(array)
}

fn count(parts: INT) -> usize {
    usize::try_from(parts).unwrap_or(0)
}
