//! The method of a route, and what a path allows.

use std::{collections::BTreeSet, fmt};

use super::InvalidPattern;

/// Longer than any method in use.
const MAX_LEN: usize = 32;

/// Which methods a route answers. Named ranks before any.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MethodPattern {
    /// Whatever comes, `OPTIONS` excepted: that one the platform answers unless a route names it.
    Any,
    /// This one, in upper case. `GET` answers `HEAD` too where no route names `HEAD`.
    Named(Box<str>),
}

impl MethodPattern {
    /// Reads a method in any case; none and `ANY` are any.
    ///
    /// # Errors
    /// [`InvalidPattern`] for what cannot be a method.
    pub fn parse(text: Option<&str>) -> Result<Self, InvalidPattern> {
        let Some(text) = text else { return Ok(Self::Any) };
        if text.is_empty() {
            return Err(InvalidPattern::at("method", text, 0, "name a method, such as GET, or ANY"));
        }
        if let Some((at, _)) = text.char_indices().find(|(_, c)| !c.is_ascii_alphabetic() && !"-_".contains(*c)) {
            return Err(InvalidPattern::at("method", text, at, "a method is letters only, such as GET, or ANY"));
        }
        if text.len() > MAX_LEN {
            return Err(InvalidPattern::at("method", text, MAX_LEN, "a method has at most 32 letters"));
        }
        let upper = text.to_ascii_uppercase();
        Ok(match upper.as_str() {
            "ANY" => Self::Any,
            "CONNECT" => {
                return Err(InvalidPattern::at("method", text, 0, "CONNECT asks for a tunnel and is not served"));
            }
            _ => Self::Named(upper.into()),
        })
    }

    /// The name; none is any.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Any => None,
            Self::Named(name) => Some(name),
        }
    }
}

impl fmt::Display for MethodPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("ANY"))
    }
}

/// The methods a path answers. Its text is the `allow` header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// Whether some route answers any method.
    pub any: bool,
    /// The methods that routes name.
    pub named: BTreeSet<String>,
}

impl Allow {
    /// Whether no route matches at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.any && self.named.is_empty()
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all: BTreeSet<&str> = self.named.iter().map(String::as_str).collect();
        all.insert("OPTIONS");
        if self.any {
            all.extend(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]);
        }
        if all.contains("GET") {
            all.insert("HEAD");
        }
        for (index, method) in all.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            f.write_str(method)?;
        }
        Ok(())
    }
}
