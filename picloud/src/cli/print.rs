//! What appears in the terminal. Colours go when it is no terminal, or `NO_COLOR` is set.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::Output;
use crate::failure::Failure;

pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(super) const QUIET: Style = Style::new().dimmed();

/// To stdout. A reader who closes the pipe has read enough.
pub(super) fn text(text: &str) {
    let _ = anstream::stdout().write_all(text.as_bytes());
}

/// A list as one object.
pub(super) fn list(items: &[impl Serialize]) {
    #[derive(Serialize)]
    struct Page<'i, T> {
        items: &'i [T],
        cursor: Option<String>,
    }
    object(&Page { items, cursor: None });
}

/// One thing as its object, on one line.
pub(super) fn object(thing: &impl Serialize) {
    let mut line = serde_json::to_string(thing).expect("what is printed is plain data");
    line.push('\n');
    let _ = io::stdout().write_all(line.as_bytes());
}

/// To stderr, in the form that was asked for.
pub(super) fn failure(failure: &Failure, output: Output) {
    let text = match output {
        Output::Json => failure.to_json() + "\n",
        Output::Table => {
            let mut text = format!("{BAD}error:{BAD:#} {}\n", failure.problem.sentence());
            if let Some(next) = &failure.next {
                text.push_str(&format!("{QUIET}next:{QUIET:#}  {next}\n"));
            }
            text
        }
    };
    let _ = anstream::stderr().write_all(text.as_bytes());
}
