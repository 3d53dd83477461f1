//! Where a channel's messages go. It is sealed, stored beside the log and erased with its channel: an address that lets anybody
//! write to a room is secret, and one of mail is somebody's.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Webhook;
use crate::{alert::ChannelKind, mail::Address};

/// Where a channel's messages go.
#[derive(Clone)]
pub enum Destination {
    /// To a URL.
    Webhook(Webhook),
    /// To addresses of mail, one at least.
    Email(Vec<Address>),
}

/// As it is sealed. What was stored before there was mail reads as a webhook.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Webhook { url: String, secret: String },
    Email { to: Vec<Address> },
}

impl Destination {
    /// How what is there is told.
    #[must_use]
    pub const fn kind(&self) -> ChannelKind {
        match self {
            Self::Webhook(_) => ChannelKind::Webhook,
            Self::Email(_) => ChannelKind::Email,
        }
    }

    /// What may be shown to everybody: the host, and its port if that is not the usual one; of mail each host once.
    #[must_use]
    pub fn host(&self) -> String {
        match self {
            Self::Webhook(webhook) => webhook.host(),
            Self::Email(to) => {
                let mut hosts: Vec<_> = to.iter().map(Address::host).collect();
                hosts.sort_unstable();
                hosts.dedup();
                hosts.join(", ")
            }
        }
    }

    /// As it is sealed and stored.
    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let stored = match self {
            Self::Webhook(webhook) => Stored::Webhook { url: webhook.url.to_string(), secret: webhook.secret.reveal() },
            Self::Email(to) => Stored::Email { to: to.clone() },
        };
        Zeroizing::new(serde_json::to_vec(&stored).expect("it is plain data"))
    }

    /// Reads what [`Destination::to_bytes`] wrote.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(match serde_json::from_slice(bytes).ok()? {
            Stored::Webhook { url, secret } => Self::Webhook(Webhook::read(&url, &secret)?),
            Stored::Email { to } => Self::Email(to),
        })
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Destination({} at {})", self.kind(), self.host())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_stored_and_read_again_and_shows_in_no_debug_output() {
        let webhook = Webhook::at("https://hooks.example.com:8443/T0/secret").expect("an address");
        let stored = Destination::Webhook(webhook.clone()).to_bytes();
        let Some(Destination::Webhook(read)) = Destination::from_bytes(&stored) else { panic!("what was stored") };
        assert_eq!((&read.url, &read.secret), (&webhook.url, &webhook.secret));
        assert_eq!(format!("{:?}", Destination::Webhook(webhook)), "Destination(webhook at hooks.example.com:8443)");

        let to = ["b@example.org", "a@example.com", "c@example.com"].map(|to| Address::read(to).expect("an address"));
        let email = Destination::Email(to.to_vec());
        assert!(matches!(Destination::from_bytes(&email.to_bytes()), Some(Destination::Email(read)) if read == to));
        assert_eq!(format!("{email:?}"), "Destination(email at example.com, example.org)");
    }

    #[test]
    fn what_was_stored_before_there_was_mail_is_a_webhook() {
        let stored = br#"{"url":"https://hooks.example.com/x","secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}"#;
        let Some(Destination::Webhook(webhook)) = Destination::from_bytes(stored) else { panic!("it is") };
        assert_eq!(webhook.secret.reveal(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    }
}
