//! `regex::`: in time linear to the text, whatever the pattern. Compiled patterns are kept for a while.

use std::{num::NonZeroUsize, sync::LazyLock};

use lru::LruCache;
use parking_lot::Mutex;
use regex::{Captures, Regex, RegexBuilder};
use rhai::{Array, Dynamic, EvalAltResult, Map};

use crate::sandbox::{current::thrown, memory, meter, registry::Registry};

type Refused = Box<EvalAltResult>;

/// What one compiled pattern may weigh.
const MAX_PATTERN_BYTES: usize = 256 * 1024;
const MAX_PATTERN_TEXT: usize = 4096;
/// A match takes up to about so much work for each byte of the text.
const WORK_PER_BYTE: usize = 4;
/// The engine cannot be stopped inside a search: a search does no more at once than this takes.
const MAX_TEXT: usize = 1024 * 1024;

/// One for the process: hundreds of threads with a cache each would keep hundreds of times as much.
static COMPILED: LazyLock<Mutex<LruCache<String, Regex>>> =
    LazyLock::new(|| Mutex::new(LruCache::new(NonZeroUsize::new(64).expect("64 is not 0"))));

pub(in crate::sandbox) fn register(registry: &mut Registry) {
    registry
        .add(
            "is_match(text: string, pattern: string) -> bool",
            "Whether the pattern occurs in the text.",
            |text: &str, p: &str| searching("regex::is_match", p, text).map(|pattern| pattern.is_match(text)),
        )
        .add(
            "find(text: string, pattern: string) -> ?",
            "The first match; `()` when there is none.",
            |text: &str, p: &str| {
                let pattern = searching("regex::find", p, text)?;
                Ok::<_, Refused>(pattern.find(text).map_or(Dynamic::UNIT, |found| found.as_str().into()))
            },
        )
        .add("find_all(text: string, pattern: string) -> array", "All matches.", |text: &str, p: &str| {
            let pattern = searching("regex::find_all", p, text)?;
            let mut all = Array::new();
            for found in pattern.find_iter(text) {
                meter::array_fits(all.len() + 1)?;
                meter::spend(64 + found.len())?;
                all.push(found.as_str().into());
            }
            Ok::<_, Refused>(all)
        })
        .add(
            "captures(text: string, pattern: string) -> ?",
            "The first match's groups by number (`\"0\"` is all of it) and name, as a map; `()` when there is none.",
            |text: &str, p: &str| {
                let pattern = searching("regex::captures", p, text)?;
                Ok::<_, Refused>(pattern.captures(text).map_or(Dynamic::UNIT, |groups| groups_of(&pattern, &groups)))
            },
        )
        .add(
            "replace(text: string, pattern: string, by: string) -> string",
            "The text with all matches replaced; `$1` and `${name}` stand for groups, `$$` for `$`.",
            replace,
        );
}

fn replace(text: &str, pattern: &str, by: &str) -> Result<String, Refused> {
    let pattern = searching("regex::replace", pattern, text)?;
    let mut result = String::new();
    let mut copied = 0;
    for groups in pattern.captures_iter(text) {
        let whole = groups.get_match();
        result.push_str(&text[copied..whole.start()]);
        // Before it is made: a replacement may name a long group many times.
        let at_most = by.len().saturating_add(by.matches('$').count().saturating_mul(whole.len()));
        meter::spend(64 + at_most)?;
        meter::string_fits(result.len().saturating_add(at_most))?;
        groups.expand(by, &mut result);
        copied = whole.end();
    }
    meter::string_fits(result.len() + text.len() - copied)?;
    result.push_str(&text[copied..]);
    Ok(result)
}

fn groups_of(pattern: &Regex, groups: &Captures<'_>) -> Dynamic {
    let mut map = Map::new();
    for (index, (name, group)) in pattern.capture_names().zip(groups.iter()).enumerate() {
        let value: Dynamic = group.map_or(Dynamic::UNIT, |group| group.as_str().into());
        if let Some(name) = name {
            map.insert(name.into(), value.clone());
        }
        map.insert(index.to_string().into(), value);
    }
    Dynamic::from_map(map)
}

/// The compiled pattern, with the work of searching the text already counted.
fn searching(call: &str, pattern: &str, text: &str) -> Result<Regex, Refused> {
    if text.len() > MAX_TEXT {
        return Err(thrown(format!("{call}: the text is longer than {MAX_TEXT} bytes")));
    }
    meter::spend(text.len() * WORK_PER_BYTE)?;
    compiled(call, pattern)
}

fn compiled(call: &str, pattern: &str) -> Result<Regex, Refused> {
    if let Some(known) = COMPILED.lock().get(pattern).cloned() {
        return Ok(known);
    }
    if pattern.len() > MAX_PATTERN_TEXT {
        return Err(thrown(format!("{call}: the pattern is longer than {MAX_PATTERN_TEXT} bytes")));
    }
    meter::spend(64 * 1024)?;
    let regex = memory::unwatched(|| {
        RegexBuilder::new(pattern)
            .size_limit(MAX_PATTERN_BYTES)
            .dfa_size_limit(MAX_PATTERN_BYTES)
            .nest_limit(64)
            .build()
    })
    .map_err(|error| thrown(format!("{call}: `{}` is no pattern: {error}", shortened(pattern))))?;
    COMPILED.lock().put(pattern.to_owned(), regex.clone());
    Ok(regex)
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}
