//! Addresses that mail goes to. Pure; `workers/src/mail` sends.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most addresses that one message goes to.
pub const MAX_ADDRESSES: usize = 20;

/// The longest address, and what stands before its `@`, in bytes (RFC 5321).
const MAX_BYTES: usize = 254;
const MAX_LOCAL_BYTES: usize = 64;

/// What may stand before the `@` besides letters and digits.
const MARKS: &[u8] = b".!#$%&'*+-/=?^_`{|}~";

/// An address: `name@host`. Nothing in it needs quoting, and nothing in it can end a line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(String);

/// Why something is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no address for mail: give one like `ops@example.com`, in ASCII and without a name before it", .0.escape_debug())]
pub struct InvalidAddress(String);

impl Address {
    /// Reads an address that somebody gave. Its host is brought into lower case.
    ///
    /// # Errors
    /// When it is none, or one of the rare forms (quoted, or with a bare IP address) that few servers take.
    pub fn read(text: &str) -> Result<Self, InvalidAddress> {
        let text = text.trim();
        let invalid = || InvalidAddress(text.chars().take(100).collect());
        let (local, host) = text.split_once('@').ok_or_else(invalid)?;
        let is_address = text.len() <= MAX_BYTES && is_local(local) && is_host(host);
        if is_address { Ok(Self(format!("{local}@{}", host.to_ascii_lowercase()))) } else { Err(invalid()) }
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the `@`, and behind it.
    #[must_use]
    pub fn parts(&self) -> (&str, &str) {
        self.0.split_once('@').expect("it was checked when it was read")
    }

    /// What stands behind the `@`.
    #[must_use]
    pub fn host(&self) -> &str {
        self.parts().1
    }

    /// As it may stand in the log, which nothing is erased from: `o…@example.com`.
    #[must_use]
    pub fn masked(&self) -> String {
        let (local, host) = self.parts();
        format!("{}…@{host}", &local[..1])
    }
}

fn is_local(local: &str) -> bool {
    (1..=MAX_LOCAL_BYTES).contains(&local.len())
        && local.bytes().all(|byte| byte.is_ascii_alphanumeric() || MARKS.contains(&byte))
        && local.split('.').all(|part| !part.is_empty())
}

fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(is_label)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Address {
    type Error = InvalidAddress;

    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        Self::read(&text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_that_needs_no_quoting() {
        for (given, read) in [
            ("ops@example.com", "ops@example.com"),
            (" Anna.O'Neill+pi@Mail.Example.COM ", "Anna.O'Neill+pi@mail.example.com"),
            ("root@localhost", "root@localhost"),
        ] {
            assert_eq!(Address::read(given).map(String::from).as_deref(), Ok(read));
        }
        let long = format!("{}@example.com", "x".repeat(65));
        for none in [
            "",
            "ops",
            "@example.com",
            "ops@",
            "a@b@example.com",
            "Ops <ops@example.com>",
            "ops@example.com, anna@example.com",
            "ops@example.com\r\nBcc: everybody@example.com",
            "ops\n@example.com",
            "ops@exa\0mple.com",
            "\"ops ops\"@example.com",
            "ops@[127.0.0.1]",
            "ops..x@example.com",
            ".ops@example.com",
            "ops@example..com",
            "ops@-example.com",
            "öps@example.com",
            "ops@example.com>",
            &long,
        ] {
            assert!(Address::read(none).is_err(), "{none:?}");
        }
        let refused = Address::read("ops\nx@example.com").expect_err("none").to_string();
        assert!(refused.starts_with(r"`ops\nx@example.com` is no address for mail: give one like"), "{refused}");
    }

    #[test]
    fn the_log_tells_the_host_and_a_letter() {
        assert_eq!(Address::read("anna@example.com").expect("one").masked(), "a…@example.com");
    }
}
