//! Path patterns: exact `/greet`, param `/users/:id`, prefix `/files/*`.
//!
//! Paths are compared segment by segment, each percent-decoded once: `/gr%65et` is `/greet`, while the `%2F` of `/a%2Fb`
//! makes no second segment. A slash at the end counts: `/greet/` is another path than `/greet`.

use std::{borrow::Cow, fmt};

use percent_encoding::percent_decode_str;

use super::{InvalidPattern, is_reserved};

/// Bounds the depth of the search.
const MAX_SEGMENTS: usize = 32;
const MAX_BYTES: usize = 1024;
const RESERVED_REASON: &str = "the platform itself answers below /api/v1/execute/, /api/v1/outbox/, \
    /api/v1/email-inbound/ and /realtime/, and at /healthz, /readyz and /version";

/// One part of a path between two slashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Itself; empty only as the last one, after a slash at the end.
    Literal(Box<str>),
    /// Any one segment that is not empty, under this name.
    Param(Box<str>),
}

/// What a pattern is made of, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathKind {
    /// Everything below: `/files/*`. May hold params before the star.
    Prefix,
    /// Some segments vary: `/users/:id`.
    Param,
    /// One path: `/greet`.
    Exact,
}

/// How specific a pattern is: of two that match one path, the greater wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathRank {
    /// Exact before param before prefix.
    pub kind: PathKind,
    /// Literal segments before the first that varies.
    pub leading: usize,
    /// Of a prefix: its segments, params included. Otherwise 0, since what matches one path is equally long.
    pub prefix: usize,
}

/// A route's path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    text: Box<str>,
    segments: Box<[Segment]>,
    is_prefix: bool,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`InvalidPattern`] naming the character that cannot be, also for paths that are the platform's own.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let wrong = |at, reason| Err(InvalidPattern::at("path", text, at, reason));
        if !text.starts_with('/') {
            return wrong(0, "a path begins with /");
        }
        if text.len() > MAX_BYTES {
            return wrong(text.floor_char_boundary(MAX_BYTES), "a path has at most 1024 bytes");
        }
        let mut segments = Vec::new();
        let mut at = 1;
        let mut is_prefix = false;
        for part in text[1..].split('/') {
            let is_last = at + part.len() == text.len();
            if part == "*" && is_last {
                is_prefix = true;
            } else if segments.len() == MAX_SEGMENTS {
                return wrong(at, "a path has at most 32 segments");
            } else {
                segments.push(segment(text, part, at, is_last, &segments)?);
            }
            at += part.len() + 1;
        }
        let pattern = Self { text: text.into(), segments: segments.into(), is_prefix };
        if is_reserved(pattern.leading_text()) {
            return wrong(0, RESERVED_REASON);
        }
        Ok(pattern)
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its segments, without a prefix's star.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> PathKind {
        if self.is_prefix {
            PathKind::Prefix
        } else if self.leading() == self.segments.len() {
            PathKind::Exact
        } else {
            PathKind::Param
        }
    }

    /// How specific it is.
    #[must_use]
    pub fn rank(&self) -> PathRank {
        let prefix = if self.is_prefix { self.segments.len() } else { 0 };
        PathRank { kind: self.kind(), leading: self.leading(), prefix }
    }

    /// Whether some path matches both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let shared = self.segments.iter().zip(&other.segments).all(|(one, two)| one.meets(two));
        shared
            && match (self.is_prefix, other.is_prefix) {
                (true, true) => true,
                (false, false) => self.segments.len() == other.segments.len(),
                (true, false) => self.has_below(other),
                (false, true) => other.has_below(self),
            }
    }

    /// Whether a path of `longer`'s shape can lie strictly below this prefix.
    fn has_below(&self, longer: &Self) -> bool {
        match longer.segments.get(self.segments.len()..) {
            None | Some([]) => false,
            // A lone empty segment is the slash at the end: the prefix itself, not something below it.
            Some([Segment::Literal(last)]) => !last.is_empty(),
            Some(_) => true,
        }
    }

    fn leading(&self) -> usize {
        self.segments.iter().take_while(|segment| matches!(segment, Segment::Literal(_))).count()
    }

    /// What every path that matches begins with.
    fn leading_text(&self) -> &str {
        match self.kind() {
            PathKind::Exact => &self.text,
            PathKind::Param | PathKind::Prefix => {
                let literals = self.segments.iter().map_while(|segment| match segment {
                    Segment::Literal(text) => Some(text.len() + 1),
                    Segment::Param(_) => None,
                });
                &self.text[..1 + literals.sum::<usize>()]
            }
        }
    }
}

impl Segment {
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(one), Self::Literal(two)) => one == two,
            (Self::Literal(text), Self::Param(_)) | (Self::Param(_), Self::Literal(text)) => !text.is_empty(),
            (Self::Param(_), Self::Param(_)) => true,
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn segment(text: &str, part: &str, at: usize, is_last: bool, before: &[Segment]) -> Result<Segment, InvalidPattern> {
    let wrong = |at, reason| Err(InvalidPattern::at("path", text, at, reason));
    if let Some(name) = part.strip_prefix(':') {
        for (offset, character) in name.char_indices() {
            let fits =
                character.is_ascii_alphabetic() || character == '_' || (offset > 0 && character.is_ascii_digit());
            if !fits {
                return wrong(
                    at + 1 + offset,
                    "a param is named with letters, digits and _, and takes a whole segment",
                );
            }
        }
        if name.is_empty() {
            return wrong(at, "a param has a name, as in /users/:id");
        }
        if before.iter().any(|earlier| matches!(earlier, Segment::Param(taken) if **taken == *name)) {
            return wrong(at, "a param of this name stands before it already");
        }
        return Ok(Segment::Param(name.into()));
    }
    if part.is_empty() && !is_last {
        return wrong(at, "a segment between two slashes is missing");
    }
    if part == "." || part == ".." {
        return wrong(at, "clients resolve . and .. before they ask");
    }
    for (offset, character) in part.char_indices() {
        if let Some(reason) = objection(character) {
            return wrong(at + offset, reason);
        }
    }
    Ok(Segment::Literal(part.into()))
}

fn objection(character: char) -> Option<&'static str> {
    match character {
        '*' => Some("a star stands alone at the end, as in /files/*"),
        ':' => Some("a param takes a whole segment, as in /users/:id"),
        '{' | '}' | '<' | '>' | '[' | ']' => Some("a param is written as in /users/:id"),
        '?' | '#' => Some("a path ends before the query"),
        '%' => Some("write the character itself: paths are compared decoded"),
        '\\' | '^' | '`' | '|' | '"' => Some("this character is not part of a path"),
        _ if character.is_whitespace() || character.is_control() => Some("a path has no blanks or control characters"),
        _ => None,
    }
}

/// Percent-decodes once; what is not UTF-8 then stays as it came.
#[must_use]
pub fn decode(text: &str) -> Cow<'_, str> {
    // Most paths have nothing to decode: one look for `%` and no allocation.
    if text.as_bytes().contains(&b'%') {
        percent_decode_str(text).decode_utf8().unwrap_or(Cow::Borrowed(text))
    } else {
        Cow::Borrowed(text)
    }
}
