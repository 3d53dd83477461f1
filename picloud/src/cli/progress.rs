//! A bar for who sits at a terminal; for nobody else.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};

/// Counts things of a kind, at which rate, and how long it takes still.
pub(super) fn bar(of: &str) -> ProgressBar {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    bar.set_style(style(of));
    bar
}

/// Counts bytes of which nobody knows how many will come.
pub(super) fn bytes() -> ProgressBar {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{spinner} {bytes}  {bytes_per_sec:.dim}");
    bar.set_style(style.expect("the template is ours"));
    bar
}

/// Goes on with things of another kind.
pub(super) fn style(of: &str) -> ProgressStyle {
    let template = format!("{{bar:30}} {{human_pos}}/{{human_len}} {of}  {{per_sec:.dim}}  {{eta:.dim}} left");
    ProgressStyle::with_template(&template).expect("the template is ours")
}
