//! What is wrong with a pattern, and where.

use std::fmt;

/// Why a text is no pattern. Names the character at fault and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPattern {
    /// Which part of a route it was meant to be: `path`, `host` or `method`.
    pub part: &'static str,
    /// What was given, cut to a length fit for a message.
    pub given: String,
    /// The character at fault; none when something is missing at the end.
    pub character: Option<char>,
    /// Where it stands, counted in characters from 1.
    pub position: usize,
    /// What is wrong with it and what to write instead.
    pub reason: &'static str,
}

impl InvalidPattern {
    /// Points at the character that begins at byte `at` of `given`, or at its end.
    pub(super) fn at(part: &'static str, given: &str, at: usize, reason: &'static str) -> Self {
        Self {
            part,
            given: given.chars().take(200).collect(),
            character: given[at..].chars().next(),
            position: given[..at].chars().count() + 1,
            reason,
        }
    }
}

impl fmt::Display for InvalidPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, given, character, position, reason } = self;
        match character {
            Some(character) => write!(
                f,
                "{part} `{}` has `{}` at position {position}: {reason}",
                given.escape_debug(),
                character.escape_debug()
            ),
            None => write!(f, "{part} `{}` ends at position {position}: {reason}", given.escape_debug()),
        }
    }
}

impl std::error::Error for InvalidPattern {}
