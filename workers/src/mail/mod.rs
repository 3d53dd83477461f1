//! Mail, handed over to the SMTP server that an operator has named.
//!
//! [`Settings`] say which server and from whom, a [`Mail`] says what, [`Mailer`] hands it over, once. Whoever wants it tried again
//! tries again: [`NotSent`] says whether that is of any use.

mod mailer;
mod message;
mod not_sent;
mod sender;
mod server;

pub use mailer::{Mailer, Taken};
pub use message::Mail;
pub use not_sent::NotSent;
pub use sender::{InvalidSender, Sender};
pub use server::{InvalidServer, Server};

/// Where mail is handed over, and from whom it is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server.
    pub server: Server,
    /// What stands behind `From:`.
    pub sender: Sender,
}
