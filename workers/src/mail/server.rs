//! The server that takes mail: `smtp://user:password@host:587`.

use std::{fmt, net::IpAddr};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use url::Url;

/// What would end a user in a URL.
const ENDS_USER: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'%').add(b'/').add(b':').add(b'?').add(b'@');

/// Where mail is handed over. Its password shows in no form of print.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    pub(super) login: Option<Login>,
}

/// How what is said on the way is kept from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    /// TLS from the first byte.
    Tls,
    /// TLS before anything is said that matters, or nothing is said.
    StartTls,
    /// Not at all: it stays on this machine, or somebody said so.
    None,
}

/// As whom.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub user: String,
    pub password: String,
}

/// Why something is no server. It never says what was given: a password may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServer {
    /// It is no URL of that kind.
    #[error(
        "expected smtp://user:password@host:587, or smtps:// for TLS from the beginning, and nothing behind the port; what is not a \
         letter or a digit in the password is percent-encoded, such as %40 for @"
    )]
    NoUrl,
    /// One of user and password is missing.
    #[error("expected a user and a password before the host, or neither")]
    HalfALogin,
    /// There is something behind it that means nothing.
    #[error("expected nothing behind the port but ?tls=required or, where the way to the server is safe, ?tls=none")]
    Option,
    /// It says two things.
    #[error("smtps:// is TLS from the beginning: leave out ?tls=none, or begin with smtp://")]
    Contradiction,
}

impl Server {
    /// Reads a URL. STARTTLS is required, unless the server is on this machine or the URL ends in `?tls=none`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(url: &str) -> Result<Self, InvalidServer> {
        let url = Url::parse(url).map_err(|_| InvalidServer::NoUrl)?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(InvalidServer::NoUrl)?;
        let is_plain = matches!(url.path(), "" | "/") && url.fragment().is_none();
        let is_tls = match url.scheme() {
            "smtps" => true,
            "smtp" => false,
            _ => return Err(InvalidServer::NoUrl),
        };
        if !is_plain {
            return Err(InvalidServer::NoUrl);
        }
        let security = match (url.query(), is_tls) {
            (None | Some("tls=required"), true) => Security::Tls,
            (Some("tls=none"), true) => return Err(InvalidServer::Contradiction),
            (None, false) if is_this_machine(host) => Security::None,
            (None | Some("tls=required"), false) => Security::StartTls,
            (Some("tls=none"), false) => Security::None,
            (Some(_), _) => return Err(InvalidServer::Option),
        };
        let decoded = |text: &str| match percent_decode_str(text).decode_utf8() {
            Ok(text) if !text.chars().any(char::is_control) => Ok(text.into_owned()),
            Ok(_) | Err(_) => Err(InvalidServer::NoUrl),
        };
        let login = match (url.username(), url.password()) {
            ("", None) => None,
            ("", Some(_)) | (_, None) => return Err(InvalidServer::HalfALogin),
            (user, Some(password)) => Some(Login { user: decoded(user)?, password: decoded(password)? }),
        };
        let port = url.port().unwrap_or(if is_tls { 465 } else { 587 });
        // An address of IPv6 stands in brackets in a URL, and nowhere else.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        Ok(Self { host, port, security, login })
    }

    /// Host and port, as errors name it.
    pub(super) fn place(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, option) = match self.security {
            Security::Tls => ("smtps", ""),
            Security::StartTls => ("smtp", "?tls=required"),
            Security::None => ("smtp", "?tls=none"),
        };
        match &self.login {
            Some(login) => {
                let user = utf8_percent_encode(&login.user, ENDS_USER);
                write!(f, "{scheme}://{user}:****@{}{option}", self.place())
            }
            None => write!(f, "{scheme}://{}{option}", self.place()),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_required_unless_the_server_is_on_this_machine_or_somebody_says_otherwise() {
        for (url, means) in [
            ("smtp://mail.example.com", "smtp://mail.example.com:587?tls=required"),
            ("smtp://me:hunter2@mail.example.com:25", "smtp://me:****@mail.example.com:25?tls=required"),
            ("smtps://me%40home:hunter2@mail.example.com", "smtps://me%40home:****@mail.example.com:465"),
            ("smtp://Relay.LAN:25?tls=none", "smtp://relay.lan:25?tls=none"),
            ("smtp://localhost:25/", "smtp://localhost:25?tls=none"),
            ("smtp://127.0.0.1:2525", "smtp://127.0.0.1:2525?tls=none"),
            ("smtp://[::1]:25", "smtp://[::1]:25?tls=none"),
            ("smtp://localhost:25?tls=required", "smtp://localhost:25?tls=required"),
            // A name that says more than where it leads.
            ("smtp://localhost.example.com", "smtp://localhost.example.com:587?tls=required"),
        ] {
            let server = Server::read(url).expect(url);
            assert_eq!(server.to_string(), means);
            assert_eq!(Server::read(means).map(|again| again.security), Ok(server.security), "{means}");
            assert_eq!(format!("{server:?}"), means);
        }
    }

    #[test]
    fn user_and_password_are_percent_encoded() {
        let server = Server::read("smtp://me%40example.com:p%2Fw%3A%20d@mail.example.com").expect("a server");
        let login = server.login.expect("a login");
        assert_eq!((&*login.user, &*login.password), ("me@example.com", "p/w: d"));
    }

    #[test]
    fn what_is_no_server_is_refused_without_being_repeated() {
        for url in [
            "",
            "mail.example.com:587",
            "http://me:hunter2@mail.example.com",
            "smtp://me:hunter2@",
            "smtp://me:25/hunter2@mail.example.com",
            "smtp://me:25#hunter2@mail.example.com",
            "smtp://me:hunter2@mail.example.com/hunter2",
            "smtp://hunter2@mail.example.com",
            "smtp://:hunter2@mail.example.com",
            "smtp://me:hunter2@mail.example.com?tls=maybe",
            "smtps://me:hunter2@mail.example.com?tls=none",
            "smtp://me:hunter2%0d%0aRSET@mail.example.com",
        ] {
            let refused = Server::read(url).expect_err(url).to_string();
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }
}
