//! Host names: how a request's is read, and the patterns that apps and routes claim.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::InvalidPattern;

/// Reads a `Host` header (or an `:authority`): lower case, without port and trailing dot. None when it is no host.
#[must_use]
pub fn normalise_host(header: &str) -> Option<Cow<'_, str>> {
    if let Some(bracketed) = header.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        let is_port = port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        return (port.is_empty() || is_port)
            .then(|| address.parse::<Ipv6Addr>().ok())?
            .map(|address| Cow::Owned(format!("[{address}]")));
    }
    let (name, port) = header.split_once(':').unwrap_or((header, ""));
    let name = name.strip_suffix('.').unwrap_or(name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty()
        || name.len() > 253
        || !name.bytes().all(plain)
        || !port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    Some(match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    })
}

/// Which hosts are meant. An exact name ranks before a wildcard, a longer wildcard before a shorter one, any comes last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Whatever host leads to the app.
    Any,
    /// One name, lower case, or an address.
    Exact(Box<str>),
    /// Every name below this one, however deep; `*.example.com` is kept as `example.com`.
    Below(Box<str>),
}

impl HostPattern {
    /// Reads `shop.example.com`, `*.example.com`, an address, or (none) any.
    ///
    /// # Errors
    /// [`InvalidPattern`] naming the character that cannot be.
    pub fn parse(text: Option<&str>) -> Result<Self, InvalidPattern> {
        let Some(text) = text else { return Ok(Self::Any) };
        if text.starts_with('[') {
            let address = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            let address = address.and_then(|address| address.parse::<Ipv6Addr>().ok()).ok_or_else(|| {
                InvalidPattern::at("host", text, 0, "what stands in brackets must be an IPv6 address, such as [::1]")
            })?;
            return Ok(Self::Exact(format!("[{address}]").into()));
        }
        let (name, offset) = text.strip_prefix("*.").map_or((text, 0), |name| (name, 2));
        check_name(text, name, offset)?;
        let name: Box<str> = name.to_ascii_lowercase().into();
        Ok(if offset == 0 { Self::Exact(name) } else { Self::Below(name) })
    }

    /// Whether a normalised host is meant.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => host == &**name,
            Self::Below(name) => host
                .strip_suffix(&**name)
                .and_then(|below| below.strip_suffix('.'))
                .is_some_and(|below| !below.is_empty()),
        }
    }
}

fn check_name(text: &str, name: &str, offset: usize) -> Result<(), InvalidPattern> {
    let wrong = |at: usize, reason| Err(InvalidPattern::at("host", text, offset + at, reason));
    let mut label = 0;
    for (at, character) in name.char_indices() {
        match character {
            '.' if at == label => return wrong(at, "a name between two dots is missing"),
            '.' => label = at + 1,
            '*' => return wrong(at, "a wildcard stands alone in front, as in *.example.com"),
            ':' => return wrong(at, "a host is given without a port"),
            '-' if at == label => return wrong(at, "a name may not begin with a hyphen"),
            _ if character.is_ascii_alphanumeric() || matches!(character, '-' | '_') => {}
            _ if character.is_alphanumeric() => return wrong(at, "write international names in their xn-- form"),
            _ => return wrong(at, "a host has letters, digits, hyphens and dots"),
        }
        if at >= label + 63 {
            return wrong(at, "a name between two dots has at most 63 characters");
        }
        if at >= 253 {
            return wrong(at, "a host has at most 253 characters");
        }
    }
    if label == name.len() {
        return wrong(name.len(), "a host name is missing");
    }
    let last = &name[label..];
    if last.bytes().all(|byte| byte.is_ascii_digit()) && (offset > 0 || name.parse::<Ipv4Addr>().is_err()) {
        return wrong(label, "a name that ends in a number must be an IPv4 address");
    }
    Ok(())
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

/// Values by host pattern, found best first. Used for hosts that lead to apps and for the hosts of an app's routes.
#[derive(Clone, Debug)]
pub struct HostMap<V> {
    exact: HashMap<Box<str>, V>,
    below: HashMap<Box<str>, V>,
    any: Option<V>,
}

impl<V> Default for HostMap<V> {
    fn default() -> Self {
        Self { exact: HashMap::new(), below: HashMap::new(), any: None }
    }
}

impl<V> HostMap<V> {
    /// Puts a value under a pattern; answers the one it replaces.
    pub fn insert(&mut self, pattern: HostPattern, value: V) -> Option<V> {
        match pattern {
            HostPattern::Any => self.any.replace(value),
            HostPattern::Exact(name) => self.exact.insert(name, value),
            HostPattern::Below(name) => self.below.insert(name, value),
        }
    }

    /// The value under a pattern, made when it is not there.
    pub fn entry(&mut self, pattern: HostPattern) -> &mut V
    where
        V: Default,
    {
        match pattern {
            HostPattern::Any => self.any.get_or_insert_default(),
            HostPattern::Exact(name) => self.exact.entry(name).or_default(),
            HostPattern::Below(name) => self.below.entry(name).or_default(),
        }
    }

    /// The values of all patterns that match a normalised host, best first.
    pub fn matching<'m>(&'m self, host: &'m str) -> impl Iterator<Item = &'m V> {
        let mut rest = if self.below.is_empty() { None } else { Some(host) };
        let below = std::iter::from_fn(move || {
            loop {
                rest = rest?.split_once('.').map(|(_, parent)| parent);
                if let Some(value) = rest.and_then(|parent| self.below.get(parent)) {
                    return Some(value);
                }
            }
        });
        self.exact.get(host).into_iter().chain(below).chain(&self.any)
    }

    /// The value of the best pattern that matches a normalised host.
    #[must_use]
    pub fn best(&self, host: &str) -> Option<&V> {
        // Written out: the iterator of `matching` would borrow the host for as long as the value.
        if let Some(value) = self.exact.get(host) {
            return Some(value);
        }
        let mut rest = host;
        while let (false, Some((_, parent))) = (self.below.is_empty(), rest.split_once('.')) {
            if let Some(value) = self.below.get(parent) {
                return Some(value);
            }
            rest = parent;
        }
        self.any.as_ref()
    }
}
