//! From whom mail is.

use std::fmt;

use picloud_core::mail::{Address, InvalidAddress};

/// From whom mail is: an address, perhaps with a name before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// What people read.
    pub name: Option<String>,
    /// Where answers, and mail that could not be delivered, go.
    pub address: Address,
}

/// Why nobody can be that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSender {
    /// There is no address in it.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// The name would end the line that it stands in.
    #[error("the name before the address has a line break or another control character in it")]
    Name,
}

impl Sender {
    /// Reads `pi@example.com`, or `PiCloud at home <pi@example.com>`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, InvalidSender> {
        let text = text.trim();
        let Some((name, address)) = text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) else {
            return Ok(Self { name: None, address: Address::read(text)? });
        };
        let name = name.trim().trim_matches('"');
        if name.chars().any(char::is_control) {
            return Err(InvalidSender::Name);
        }
        let name = Some(name).filter(|name| !name.is_empty()).map(str::to_owned);
        Ok(Self { name, address: Address::read(address)? })
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} <{}>", self.address),
            None => write!(f, "{}", self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_may_have_a_name() {
        for (given, shown) in [
            ("pi@example.com", "pi@example.com"),
            ("<pi@example.com>", "pi@example.com"),
            ("PiCloud, at home <pi@Example.com>", "PiCloud, at home <pi@example.com>"),
            ("\"PiCloud\" <pi@example.com>", "PiCloud <pi@example.com>"),
        ] {
            assert_eq!(Sender::read(given).expect(given).to_string(), shown);
        }
        assert!(matches!(Sender::read("PiCloud"), Err(InvalidSender::Address(_))));
        assert!(matches!(Sender::read("PiCloud <pi>"), Err(InvalidSender::Address(_))));
        assert_eq!(Sender::read("a\r\nBcc: b <pi@example.com>"), Err(InvalidSender::Name));
    }
}
