//! Asking the person at the terminal. Where there is none, stdin is the answer.

use std::io::{BufRead as _, IsTerminal as _, stdin};

use super::print;
use crate::failure::Failure;

/// Whether somebody is there to be asked.
pub(super) fn is_possible() -> bool {
    stdin().is_terminal()
}

/// A line that may be seen.
pub(super) fn line(question: &str) -> Result<String, Failure> {
    if is_possible() {
        print::aside(question);
    }
    read_line()
}

/// Whether the person agrees. Nothing typed is no.
pub(super) fn confirm(question: &str) -> Result<bool, Failure> {
    print::aside(question);
    let mut text = String::new();
    let read = stdin().lock().read_line(&mut text);
    read.map_err(|error| Failure::failed(format!("failed to read stdin: {error}")))?;
    Ok(matches!(text.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// A line that nobody else sees.
pub(super) fn secret(question: &str) -> Result<String, Failure> {
    if !is_possible() {
        return read_line();
    }
    rpassword::prompt_password(question)
        .map_err(|error| Failure::failed(format!("failed to read what was typed: {error}")))
}

/// A new password, typed twice where it is not seen.
pub(super) fn new_password() -> Result<String, Failure> {
    let password = secret("New password: ")?;
    if is_possible() && secret("Once more: ")? != password {
        return Err(Failure::failed("the two are not the same").next("try again"));
    }
    Ok(password)
}

fn read_line() -> Result<String, Failure> {
    let mut text = String::new();
    let read = stdin().lock().read_line(&mut text);
    read.map_err(|error| Failure::failed(format!("failed to read stdin: {error}")))?;
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    if text.is_empty() { Err(Failure::usage("nothing was typed, and stdin is empty")) } else { Ok(text) }
}
