//! Why mail was not taken, in words for the log: whole addresses and passwords are not in them.

use std::{error::Error as _, time::Duration};

use lettre::transport::smtp::{Error, response::Response};

use super::server::Server;

/// How much is kept of what a server says.
const MAX_SAID_CHARS: usize = 200;

/// Why mail was not taken. But for [`NotSent::TookLonger`] and [`NotSent::Connection`] it is certain that it was not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// There is no connection, or it broke.
    #[error("no connection to `{server}`: {why}")]
    Connection {
        /// Host and port.
        server: String,
        /// What the machine says.
        why: String,
    },
    /// The server did not end what it began.
    #[error("`{0}` took longer than {patience} s", patience = .1.as_secs())]
    TookLonger(String, Duration),
    /// The password would have been read by others.
    #[error(
        "`{0}` offers no STARTTLS: begin the URL with smtps://, or end it with ?tls=none if nobody else is on the way there"
    )]
    NoStartTls(String),
    /// It does not know us. What it says of that is not repeated, as what it was told may be in it.
    #[error("`{server}` did not take the user and password: it answered {status}")]
    Login {
        /// Host and port.
        server: String,
        /// What it answered.
        status: u16,
    },
    /// There is a user and no way to say so.
    #[error("`{0}` takes no user and password in a way that is known here (PLAIN, LOGIN)")]
    NoLogin(String),
    /// It did not want to speak.
    #[error("`{server}` does not take mail now: it answered {status}: {said}")]
    Closed {
        /// Host and port.
        server: String,
        /// What it answered.
        status: u16,
        /// And said.
        said: String,
    },
    /// It did not take this message.
    #[error("it answered {status}{about}: {said}")]
    Refused {
        /// What it answered.
        status: u16,
        /// To what.
        about: String,
        /// And said.
        said: String,
        /// Whether it will always.
        is_final: bool,
    },
}

impl NotSent {
    /// What the server answered, if it did.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Login { status, .. } | Self::Closed { status, .. } | Self::Refused { status, .. } => Some(*status),
            Self::Connection { .. } | Self::TookLonger(..) | Self::NoStartTls(_) | Self::NoLogin(_) => None,
        }
    }

    /// Whether it is of no use to try again. What is wrong with the server's settings, a password too, may be mended meanwhile;
    /// what the server says for good (5xx) of the message itself it says again.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Refused { is_final, .. } => *is_final,
            Self::Connection { .. }
            | Self::TookLonger(..)
            | Self::NoStartTls(_)
            | Self::Login { .. }
            | Self::NoLogin(_)
            | Self::Closed { .. } => false,
        }
    }
}

/// The number that an answer begins with.
pub(super) fn status_of(response: &Response) -> u16 {
    response.code().into()
}

/// Before the message was spoken of.
pub(super) fn before(server: &Server, error: &Error) -> NotSent {
    let place = server.place();
    match error.status() {
        Some(status) => NotSent::Closed { server: place, status: status.into(), said: said(error, &[]) },
        None => NotSent::Connection { server: place, why: innermost(error) },
    }
}

/// What the server said in its error, on one line, without what is to be kept out of the log. Each of `secrets` is followed by
/// what stands in its place.
pub(super) fn said(error: &Error, secrets: &[(&str, String)]) -> String {
    clean(&innermost(error), secrets)
}

/// On one line, short, and without secrets.
pub(super) fn clean(text: &str, secrets: &[(&str, String)]) -> String {
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for (secret, instead) in secrets {
        text = replaced(&text, secret, instead);
    }
    text.chars().filter(|c| !c.is_control()).take(MAX_SAID_CHARS).collect()
}

/// However its letters are written.
fn replaced(text: &str, secret: &str, instead: &str) -> String {
    if secret.is_empty() {
        return text.to_owned();
    }
    // Bytes stay where they are: other letters than those of ASCII are let be.
    let (lower, wanted) = (text.to_ascii_lowercase(), secret.to_ascii_lowercase());
    let (mut clean, mut at) = (String::new(), 0);
    while let Some(found) = lower[at..].find(&wanted) {
        clean.push_str(&text[at..at + found]);
        clean.push_str(instead);
        at += found + wanted.len();
    }
    clean + &text[at..]
}

fn innermost(error: &Error) -> String {
    let mut innermost: &(dyn std::error::Error + 'static) = match error.source() {
        Some(source) => source,
        None => return error.to_string(),
    };
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_passwords_are_cut_out_of_what_a_server_says() {
        let secrets = [("anna@example.com", "a…@example.com".to_owned()), ("hunter2", "****".to_owned())];
        let text = "<Anna@Example.com>:\r\n 5.1.1 ünknown hunter2 ANNA@EXAMPLE.COM";
        assert_eq!(clean(text, &secrets), "<a…@example.com>: 5.1.1 ünknown **** a…@example.com");
        assert_eq!(clean(&"x".repeat(300), &secrets).len(), 200);
        assert_eq!(clean("as it is", &[("", "?".to_owned())]), "as it is");
    }
}
