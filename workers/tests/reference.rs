//! `docs/sdk.md` is made from what the sandbox registers: this makes it, and fails when it is stale.

use std::{fmt::Write as _, fs, path::Path};

use picloud_core::limits::Limits;
use picloud_workers::sandbox::{FunctionDoc, SDK_VERSION, Sandbox};
use serde_json::Value;

/// What is said of the whole, before the functions.
const INTRODUCTION: &str = include_str!("reference/introduction.md");

/// In the order of their use, with what each is for.
const MODULES: &[(&str, &str)] = &[
    ("kv", "Values under keys, in collections. Written when the run commits, or not at all when it throws."),
    ("pubsub", "Messages to whoever listens, published when the run commits, or not at all when it throws."),
    (
        "queue",
        "Messages that are worked on by triggers of kind `queue`, each until it succeeds or is a dead letter. Sent when the run \
         commits, or not at all when it throws.",
    ),
    (
        "invoke",
        "Other scripts of the app, by their names. Like all that a run does, what is to run later is not, when the run throws.",
    ),
    (
        "dead_letters",
        "Work that could not be done. Only for calls with a principal that has `AppDeadLetterManage`: a public call is refused. \
         What is decided is committed with the run, unless somebody else has decided meanwhile.",
    ),
    (
        "http",
        "Calls to the public internet. They happen at once and cannot be taken back: what the run has read is checked before, \
         and a run that is repeated gets the answers that it got. Each has an `idempotency-key` of the run and its number, \
         unless `headers` has one. No status is thrown, only that there was no answer; `timeout_ms` ends a call before \
         the run's time is up. At most five redirects are followed.",
    ),
    ("log", "Kept with the invocation, shown by `picloud logs`. `print` and `debug` go to `log::info`."),
    ("json", "Values as text and back."),
    ("time", "The clock stands still within a run: it shows when the run began."),
    ("random", "From a seed that is recorded with the run."),
    ("crypto", "Hashes, signatures, and comparing them without telling how much was right."),
    (
        "retry",
        "Trying again within a run, and, by throwing, what is to become of the run as a whole where it is tried again.",
    ),
    ("ulid", "Names that sort by time."),
    ("regex", "Takes time linear in the text, whatever the pattern."),
    ("base64", "Bytes as text. The `_url` forms are for URLs, without padding."),
    ("hex", "Bytes as text."),
    ("url", "Percent-encoding, and URLs taken apart."),
    (
        "",
        "Functions of strings, arrays, maps and blobs that PiCloud adds to Rhai's, or replaces so that they stay within a \
          run's limits. All that is in [the Rhai book](https://rhai.rs/book/) for these types is there, but for `eval`, \
          files, and other processes.",
    ),
];

#[test]
fn the_reference_of_the_sdk_is_as_the_sandbox_has_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sdk.md");
    let made = reference();
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        fs::write(&path, &made).expect("docs can be written");
    }
    let present = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        present == made,
        "docs/sdk.md is stale: UPDATE_DOCS=1 cargo nextest run -p picloud-workers --test reference"
    );
}

fn reference() -> String {
    let mut functions = Sandbox::new().reference();
    functions.sort_by_key(|function| function.name.clone());
    let mut text = INTRODUCTION.replace("{sdk_version}", SDK_VERSION).replace("{limits}\n", &limits());
    let known: Vec<&str> = MODULES.iter().map(|(module, _)| *module).collect();
    let new: Vec<_> = functions.iter().filter(|function| !known.contains(&owner(function))).collect();
    assert!(new.is_empty(), "say in this test what the module is for: {new:?}");
    for (module, purpose) in MODULES {
        let heading = if module.is_empty() { "Strings, arrays, maps, blobs".to_owned() } else { format!("`{module}`") };
        put(&mut text, format_args!("\n## {heading}\n\n{purpose}\n\n"));
        let mut calls: Vec<(String, &str)> =
            functions.iter().filter(|function| owner(function) == *module).map(|of| (call(of), of.doc)).collect();
        // Methods of one kind together; a function with a form for each kind of argument is told once, in its first.
        calls.sort_by_key(|(call, _)| call.split(['.', '(']).next().map(str::to_owned));
        calls.dedup_by(|later, first| later.0 == first.0);
        for (call, doc) in calls {
            put(&mut text, format_args!("- `{call}`  \n  {doc}\n"));
        }
    }
    text
}

/// Methods of a collection are told where collections are.
fn owner(function: &FunctionDoc) -> &'static str {
    if function.signature.contains("(collection: ") { "kv" } else { function.module }
}

/// As one writes it: a method after its object, an operator between its operands.
fn call(function: &FunctionDoc) -> String {
    let (call, result) = function.signature.split_once(" -> ").unwrap_or((function.signature, ""));
    let result = if result.is_empty() { String::new() } else { format!(" → {result}") };
    let parameters = call.split_once('(').map_or("", |(_, rest)| rest.trim_end_matches(')'));
    if !function.module.is_empty() {
        return format!("{}::{}({parameters}){result}", function.module, function.name);
    }
    let named: Vec<&str> = parameters.split(", ").filter(|parameter| !parameter.is_empty()).collect();
    let is_operator = !function.name.starts_with(|c: char| c.is_alphabetic());
    match &named[..] {
        [left, right] if is_operator => format!("{} {} {}{result}", kind(left), function.name, kind(right)),
        // Not of an object: it makes one, or takes anything.
        [object, rest @ ..] if object.contains(": ") && !object.ends_with(" ?") && function.name != "blob" => {
            format!("{}.{}({}){result}", object.split(':').next().unwrap_or(object), function.name, rest.join(", "))
        }
        _ => format!("{}({parameters}){result}", function.name),
    }
}

fn kind(parameter: &str) -> &str {
    parameter.split_once(": ").map_or(parameter, |(_, kind)| kind)
}

fn limits() -> String {
    let numbers = |limits: Limits| serde_json::to_value(limits).expect("limits are plain data");
    let (defaults, ceilings) = (numbers(Limits::DEFAULT), numbers(Limits::CEILING));
    let mut table = "| limit | default | ceiling |\n| --- | ---: | ---: |\n".to_owned();
    for name in Limits::NAMES {
        let shown = |limits: &Value| shown(name, limits[name].as_u64().expect("a limit is a whole number"));
        put(&mut table, format_args!("| `{name}` | {} | {} |\n", shown(&defaults), shown(&ceilings)));
    }
    table
}

/// Bytes in the unit that makes them whole, other numbers in groups of three.
fn shown(name: &str, number: u64) -> String {
    if name.ends_with("_bytes") {
        for (unit, size) in [("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if number.is_multiple_of(size) {
                return format!("{} {unit}", number / size);
            }
        }
        return format!("{number} B");
    }
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}
