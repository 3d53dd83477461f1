//! What appears in the terminal. Colours go when it is no terminal, or `NO_COLOR` is set.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;
use serde_json::Value;

use super::Output;
use crate::{failure::Failure, problem::Problem};

pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(super) const CAREFUL: Style = AnsiColor::Yellow.on_default();
pub(super) const QUIET: Style = Style::new().dimmed();

/// To stdout. A reader who closes the pipe has read enough.
pub(super) fn text(text: &str) {
    let _ = anstream::stdout().write_all(text.as_bytes());
}

/// A list as one object.
pub(super) fn list(items: &[impl Serialize]) {
    page(items, None);
}

/// A part of a list as one object.
pub(super) fn page(items: &[impl Serialize], cursor: Option<&str>) {
    #[derive(Serialize)]
    struct Page<'i, T> {
        items: &'i [T],
        cursor: Option<&'i str>,
    }
    object(&Page { items, cursor });
}

/// One thing as its object, on one line.
pub(super) fn object(thing: &impl Serialize) {
    let mut line = serde_json::to_string(thing).expect("what is printed is plain data");
    line.push('\n');
    let _ = io::stdout().write_all(line.as_bytes());
}

/// To stderr: what is not the result.
pub(super) fn aside(text: &str) {
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// A list, as a table of some of its items' members or as one object with all of them.
pub(super) fn rows(output: Output, items: &[Value], columns: &[&str]) {
    if output == Output::Json {
        list(items);
        return;
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(columns.iter().map(|column| heading(column)));
    for item in items {
        table.add_row(columns.iter().map(|column| cell(item.get(column))));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    text(&format!("{}\n", table.trim_fmt()));
}

/// A column's; `script_name` is how people know a script.
fn heading(column: &str) -> String {
    column.trim_end_matches("_name").replace('_', " ").to_uppercase()
}

/// One thing: its members below each other, or its object.
pub(super) fn thing(output: Output, thing: &Value) {
    if output == Output::Json {
        object(thing);
        return;
    }
    let members: Vec<(&String, String)> =
        thing.as_object().into_iter().flatten().map(|(name, value)| (name, cell(Some(value)))).collect();
    let width = members.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    text(&members.iter().map(|(name, value)| format!("{QUIET}{name:width$}{QUIET:#}  {value}\n")).collect::<String>());
}

/// A change that was made: its object, or a sentence about it.
pub(super) fn outcome(output: Output, changed: &Value, sentence: &str) {
    match output {
        Output::Json => object(changed),
        Output::Table => text(&format!("{sentence}\n")),
    }
}

/// A change of which there is nothing to show.
pub(super) fn done(output: Output, sentence: &str) {
    if output == Output::Table {
        text(&format!("{sentence}\n"));
    }
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(", "),
        Some(other) => other.to_string(),
    }
}

/// What anybody may have said, on its way to a terminal: control characters would paint it.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// The beginning of what somebody said, on one line.
pub(super) fn short(text: &str, most: usize) -> String {
    let line = plain(text).replace(['\n', '\t'], " ");
    match line.char_indices().nth(most) {
        None => line,
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}

/// How long something took, from microseconds.
pub(super) fn duration(us: f64) -> String {
    match us {
        us if us < 1_000.0 => format!("{us:.0} µs"),
        us if us < 10_000_000.0 => format!("{:.1} ms", us / 1_000.0),
        us => format!("{:.1} s", us / 1_000_000.0),
    }
}

/// A time's part of the day, to the millisecond: the date is the same on most lines.
pub(super) fn clock(time: &str) -> &str {
    let clock = time.split_once('T').map_or(time, |(_, clock)| clock);
    clock.get(.."00:00:00.000".len()).unwrap_or(clock)
}

/// To stderr, in the form that was asked for.
pub(super) fn failure(failure: &Failure, output: Output) {
    let text = match output {
        Output::Json => failure.to_json() + "\n",
        Output::Table => {
            let place = place(&failure.problem);
            let mut text = format!("{BAD}error:{BAD:#} {}{place}\n", failure.problem.sentence());
            if let Some(next) = &failure.next {
                text.push_str(&format!("{QUIET}next:{QUIET:#}  {next}\n"));
            }
            text
        }
    };
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// Where in a script it went wrong, if that is what went wrong.
fn place(problem: &Problem) -> String {
    let number = |name: &str| problem.more.get(name).and_then(Value::as_u64);
    match (number("line"), number("column")) {
        (Some(line), Some(column)) => format!(" (line {line}, column {column})"),
        (Some(line), None) => format!(" (line {line})"),
        (None, _) => String::new(),
    }
}
