//! Functions that look through strings and blobs: they allocate nothing that would be counted, and what they look through
//! may be long.

use rhai::{Blob, Dynamic, EvalAltResult, INT};

use crate::sandbox::{meter, registry::Registry};

type Refused = Box<EvalAltResult>;

pub(super) fn register(registry: &mut Registry) {
    const CONTAINS: &str = "Whether it occurs in the string.";
    const FIRST: &str = "At which character it first occurs; -1 when it does not.";
    const FROM: &str = "At which character, from `start` on, it first occurs; -1 when it does not. A negative start counts from the end.";
    registry
        .add("contains(string: string, find: string) -> bool", CONTAINS, |text: &str, find: &str| {
            meter::spend(text.len())?;
            Ok::<_, Refused>(text.contains(find))
        })
        .add("contains(string: string, find: char) -> bool", CONTAINS, |text: &str, find: char| {
            meter::spend(text.len())?;
            Ok::<_, Refused>(text.contains(find))
        })
        .add(
            "contains(blob: blob, value: int) -> bool",
            "Whether a byte has the value.",
            |blob: &mut Blob, value: INT| {
                meter::spend(blob.len())?;
                Ok::<_, Refused>(blob.contains(&value.to_le_bytes()[0]))
            },
        )
        .add("index_of(string: string, find: string) -> int", FIRST, |text: &str, find: &str| index_of(text, find, 0))
        .add("index_of(string: string, find: char) -> int", FIRST, |text: &str, find: char| {
            index_of(text, find.encode_utf8(&mut [0; 4]), 0)
        })
        .add("index_of(string: string, find: string, start: int) -> int", FROM, index_of)
        .add("index_of(string: string, find: char, start: int) -> int", FROM, |text: &str, find: char, start: INT| {
            index_of(text, find.encode_utf8(&mut [0; 4]), start)
        })
        .add(
            "get(string: string, index: int) -> ?",
            "The character at a place, counted from the end when negative; `()` when there is none.",
            get,
        );
}

fn index_of(text: &str, find: &str, start: INT) -> Result<INT, Refused> {
    meter::spend(2 * text.len())?;
    let Some(from) = byte_of(text, start) else { return Ok(-1) };
    let found = text[from..].find(find).map(|at| text[..from + at].chars().count());
    Ok(found.map_or(-1, |characters| INT::try_from(characters).unwrap_or(INT::MAX)))
}

/// Where a character begins; none for one past the end. Before the beginning is the beginning.
fn byte_of(text: &str, start: INT) -> Option<usize> {
    let steps = usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX);
    if start < 0 {
        return text.char_indices().nth_back(steps - 1).map(|(at, _)| at).or(Some(0)).filter(|_| !text.is_empty());
    }
    text.char_indices().nth(steps).map(|(at, _)| at)
}

fn get(text: &str, index: INT) -> Result<Dynamic, Refused> {
    meter::spend(text.len())?;
    let steps = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
    let found = if index < 0 { text.chars().nth_back(steps - 1) } else { text.chars().nth(steps) };
    Ok(found.map_or(Dynamic::UNIT, Dynamic::from_char))
}
