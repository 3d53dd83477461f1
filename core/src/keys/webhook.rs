//! A channel's address, and the signature of what goes there: [Standard Webhooks](https://www.standardwebhooks.com).

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use url::Url;
use zeroize::Zeroizing;

/// What every signing secret begins with.
const PREFIX: &str = "whsec_";

/// The longest address, in bytes.
const MAX_URL_BYTES: usize = 2_000;

/// Where a channel's messages go, and what they are signed with. Both are secret: whoever knows such an address can often
/// write to a room of people.
#[derive(Clone)]
pub struct Webhook {
    /// The address.
    pub url: Url,
    /// What receivers check the messages with.
    pub secret: SigningSecret,
}

/// What messages to a channel are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Zeroizing<Vec<u8>>);

/// Why something is no address for a channel. The address is not in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWebhook {
    /// It is no URL.
    #[error("the URL cannot be read ({0}): give one like `https://hooks.example.com/…`")]
    NoUrl(url::ParseError),
    /// It is a URL of something else.
    #[error("the URL begins with `{0}:`: only `http:` and `https:` can be called")]
    Scheme(String),
    /// It has credentials in front of its host.
    #[error(
        "the URL has a user name or password in it: use an address that is secret in its path, or check the signature"
    )]
    UserInfo,
    /// It is longer than any that is used.
    #[error("the URL has {0} bytes: {MAX_URL_BYTES} at most")]
    TooLong(usize),
}

impl Webhook {
    /// At an address that somebody gave, with a signing secret that nobody knows yet.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub fn at(address: &str) -> Result<Self, InvalidWebhook> {
        Ok(Self { url: read_address(address)?, secret: SigningSecret::generate() })
    }

    /// What may be shown of it: its host, and its port if that is not the usual one.
    #[must_use]
    pub fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// As it was stored.
    pub(super) fn read(url: &str, secret: &str) -> Option<Self> {
        Some(Self { url: Url::parse(url).ok()?, secret: SigningSecret::read(secret)? })
    }
}

fn read_address(text: &str) -> Result<Url, InvalidWebhook> {
    if text.len() > MAX_URL_BYTES {
        return Err(InvalidWebhook::TooLong(text.len()));
    }
    let url = Url::parse(text).map_err(InvalidWebhook::NoUrl)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(InvalidWebhook::Scheme(url.scheme().chars().take(20).collect()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(InvalidWebhook::UserInfo);
    }
    Ok(url)
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({})", self.host())
    }
}

impl SigningSecret {
    /// A new one, known to nobody.
    #[must_use]
    pub fn generate() -> Self {
        Self(Zeroizing::new(rand::random::<[u8; 32]>().to_vec()))
    }

    /// As receivers are given it: `whsec_` and base64.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", BASE64_STANDARD.encode(&*self.0))
    }

    fn read(text: &str) -> Option<Self> {
        Some(Self(Zeroizing::new(BASE64_STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?)))
    }

    /// The header `webhook-signature` of a message: of its id, the second it is sent at, and its body.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_standards_own_example() {
        let secret = SigningSecret::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn an_address_is_one_that_can_be_called() {
        assert!(Webhook::at("https://hooks.example.com/T0/B0/x?y=1").is_ok());
        assert!(Webhook::at("http://192.168.1.7:8065/hooks/abc").is_ok());
        for (no_address, says) in [
            ("hooks.example.com", "cannot be read"),
            ("ftp://example.com/", "begins with `ftp:`"),
            ("https://me:secret@example.com/", "user name or password"),
            (&format!("https://example.com/{}", "x".repeat(2_000)), "2020 bytes"),
        ] {
            let refused = Webhook::at(no_address).expect_err(no_address).to_string();
            assert!(refused.contains(says), "{refused}");
            assert!(!refused.contains("secret@"), "{refused}");
        }
    }

    #[test]
    fn it_shows_in_no_debug_output() {
        let webhook = Webhook::at("https://hooks.example.com:8443/T0/secret").expect("an address");
        assert_eq!(format!("{webhook:?}"), "Webhook(hooks.example.com:8443)");
        assert_eq!(format!("{:?}", webhook.secret), "SigningSecret");
    }
}
