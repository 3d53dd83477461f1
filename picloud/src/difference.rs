//! What a deployment changes, as the server worked it out, and as it is shown.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use picloud_core::run::{Diagnostic, Severity};
use serde::{Deserialize, Serialize};

const ADDED: Style = AnsiColor::Green.on_default();
const REMOVED: Style = AnsiColor::Red.on_default();
const CHANGED: Style = AnsiColor::Yellow.on_default();
const QUIET: Style = Style::new().dimmed();
const PLACE: Style = AnsiColor::Blue.on_default();

/// The answer to a deployment, or to the question what it would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// In the order they are made.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// What is questionable about the sources.
    #[serde(default)]
    pub diagnostics: Vec<ScriptDiagnostic>,
    /// Where the app answers now.
    #[serde(default)]
    pub urls: Vec<String>,
}

/// One thing that becomes another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What happens to it.
    pub action: Action,
    /// `app`, `domain`, `env`, `script` or `route`.
    pub kind: String,
    /// Which one.
    pub name: String,
    /// A few words: `version 3`, `→ checkout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// A unified diff of its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

/// What happens to a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It comes to be.
    Create,
    /// It changes.
    Update,
    /// It goes.
    Delete,
    /// It is as it was.
    Unchanged,
}

/// What is wrong, or questionable, with one of the sources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScriptDiagnostic {
    /// Which script.
    pub script: String,
    /// What and where.
    #[serde(flatten)]
    pub diagnostic: Diagnostic,
}

impl Difference {
    /// For a terminal: a line a change, diffs below, what did not change in one line at the end.
    #[must_use]
    pub fn show(&self) -> String {
        let mut text = String::new();
        for change in &self.changes {
            change.show(&mut text);
        }
        let unchanged = self.changes.iter().filter(|change| change.action == Action::Unchanged).count();
        match (unchanged, self.changes.len()) {
            (0, 0) => text.push_str("Nothing to change.\n"),
            (0, _) => {}
            (unchanged, all) if unchanged == all => {
                text.push_str("Nothing to change: everything is deployed already.\n");
            }
            (unchanged, _) => put(&mut text, format_args!("{QUIET}  {unchanged} unchanged{QUIET:#}\n")),
        }
        text
    }
}

impl Change {
    fn show(&self, text: &mut String) {
        let (style, mark) = match self.action {
            Action::Create => (ADDED, '+'),
            Action::Update => (CHANGED, '~'),
            Action::Delete => (REMOVED, '-'),
            Action::Unchanged => return,
        };
        put(text, format_args!("{style}{mark} {}{style:#} {}", self.kind, self.name));
        if let Some(detail) = &self.detail {
            put(text, format_args!(" {QUIET}{detail}{QUIET:#}"));
        }
        text.push('\n');
        if let Some(diff) = &self.diff {
            show_diff(text, diff);
        }
    }
}

/// A unified diff, coloured and indented.
pub fn show_diff(text: &mut String, diff: &str) {
    for line in diff.lines() {
        let style = match line.as_bytes().first() {
            Some(b'+') => ADDED,
            Some(b'-') => REMOVED,
            Some(b'@') => PLACE,
            _ => QUIET,
        };
        put(text, format_args!("    {style}{line}{style:#}\n"));
    }
}

/// A diagnostic as the compiler's readers know it: the line, and a caret below the place.
#[must_use]
pub fn show_diagnostic(file: &str, source: &str, diagnostic: &Diagnostic) -> String {
    let (style, word) = match diagnostic.severity {
        Severity::Error => (REMOVED.bold(), "error"),
        Severity::Warning => (CHANGED.bold(), "warning"),
    };
    let Diagnostic { line, column, message, .. } = diagnostic;
    let mut text = String::new();
    put(&mut text, format_args!("{style}{word}{style:#}: {message}\n"));
    let gutter = line.to_string().len();
    let blank = " ".repeat(gutter);
    put(&mut text, format_args!("{blank}{PLACE}-->{PLACE:#} {file}:{line}:{column}\n"));
    let written = usize::try_from(*line).ok().and_then(|line| source.lines().nth(line.checked_sub(1)?));
    if let Some(written) = written {
        let before = usize::try_from(column.saturating_sub(1)).unwrap_or(0);
        // Tabs stay tabs, so that the caret stands where the terminal puts the place.
        let indent: String = written.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        put(&mut text, format_args!("{blank} {PLACE}|{PLACE:#}\n"));
        put(&mut text, format_args!("{PLACE}{line} |{PLACE:#} {written}\n"));
        put(&mut text, format_args!("{blank} {PLACE}|{PLACE:#} {indent}{style}^{style:#}\n"));
    }
    text
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn change(action: Action, kind: &str, name: &str) -> Change {
        Change { action, kind: kind.to_owned(), name: name.to_owned(), detail: None, diff: None }
    }

    #[test]
    fn a_difference_shows_what_changes_and_counts_what_does_not() {
        let difference = Difference {
            changes: vec![
                change(Action::Create, "app", "shop"),
                Change {
                    detail: Some("version 3".to_owned()),
                    diff: Some("@@ -1,2 +1,2 @@\n let a = 1;\n-a\n+a + 1\n".to_owned()),
                    ..change(Action::Update, "script", "checkout")
                },
                change(Action::Unchanged, "script", "refund"),
                change(Action::Delete, "route", "GET /old"),
                change(Action::Unchanged, "env", "currency"),
            ],
            ..Difference::default()
        };
        let shown = difference.show();
        assert!(shown.contains("\u{1b}["), "it is coloured");
        insta::assert_snapshot!(plain(&shown), @r"
        + app shop
        ~ script checkout version 3
            @@ -1,2 +1,2 @@
             let a = 1;
            -a
            +a + 1
        - route GET /old
          2 unchanged
        ");
    }

    #[test]
    fn deploying_the_same_again_says_so() {
        let difference =
            Difference { changes: vec![change(Action::Unchanged, "script", "a")], ..Difference::default() };
        assert_eq!(difference.show(), "Nothing to change: everything is deployed already.\n");
    }

    #[test]
    fn a_diagnostic_points_at_its_place() {
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            line: 2,
            column: 9,
            message: "unknown function `kv::colection`: did you mean `kv::collection`?".to_owned(),
        };
        let shown = show_diagnostic("greet.rhai", "let a = 1;\nlet k = kv::colection(\"x\");\n", &diagnostic);
        insta::assert_snapshot!(plain(&shown), @r#"
    error: unknown function `kv::colection`: did you mean `kv::collection`?
     --> greet.rhai:2:9
      |
    2 | let k = kv::colection("x");
      |         ^
    "#);
    }

    #[test]
    fn a_place_past_the_end_shows_no_line() {
        let diagnostic =
            Diagnostic { severity: Severity::Warning, line: 9, column: 1, message: "unfinished".to_owned() };
        assert_eq!(plain(&show_diagnostic("a.rhai", "1", &diagnostic)), "warning: unfinished\n --> a.rhai:9:1\n");
    }
}
