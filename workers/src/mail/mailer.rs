//! Hands mail over.

use std::{fmt, sync::Arc, time::Duration};

use lettre::transport::smtp::{
    authentication::{Credentials, Mechanism},
    client::{AsyncSmtpConnection, TlsParameters},
    commands::{Data, Mail as MailFrom, Rcpt},
    extension::ClientId,
};
use picloud_core::mail::Address;
use tokio::time::timeout;

use super::{
    Mail, NotSent, Settings,
    message::in_their_words,
    not_sent::{before, clean, said, status_of},
    server::{Login, Security},
};

/// How long a server may take for all of it. Some let strangers wait for a while before they greet them.
const PATIENCE: Duration = Duration::from_secs(30);

/// And each of its addresses, before the next is tried.
const CONNECTING: Duration = Duration::from_secs(10);

/// And for taking leave, when it has the message.
const GOODBYE: Duration = Duration::from_secs(1);

/// How we may say who we are, the first that the server knows.
const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];

/// Hands mail over to a server, over a connection of its own each. Cheap to clone.
#[derive(Clone)]
pub struct Mailer {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    patience: Duration,
    /// None where none is spoken; or why there is none.
    tls: Result<Option<TlsParameters>, String>,
}

/// A server has taken a message, and has to deliver it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What it answered.
    pub status: u16,
    /// And said.
    pub said: String,
    /// For whom it did not take it, and why; the addresses are not in it whole.
    pub refused: Option<String>,
}

impl Mailer {
    /// For a server. The certificates that the machine trusts are read here, once.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::with_patience(settings, PATIENCE)
    }

    /// The same, which waits for so long and no longer.
    #[must_use]
    pub fn with_patience(settings: Settings, patience: Duration) -> Self {
        let tls = match settings.server.security {
            Security::None => Ok(None),
            Security::Tls | Security::StartTls => TlsParameters::builder(settings.server.host.clone())
                .build_rustls()
                .map(Some)
                .map_err(|error| format!("this machine trusts no certificates ({error})")),
        };
        Self { inner: Arc::new(Inner { settings, patience, tls }) }
    }

    /// Hands a message over, once. It is taken when the server takes it for one of its addresses.
    ///
    /// # Errors
    /// [`NotSent`], which says whether to try again.
    pub async fn send(&self, mail: &Mail) -> Result<Taken, NotSent> {
        let patience = self.inner.patience;
        let too_long = |_| NotSent::TookLonger(self.inner.settings.server.place(), patience);
        let (mut connection, taken) = timeout(patience, self.inner.send(mail)).await.map_err(too_long)??;
        // What was taken was, however long the server takes over this.
        let _ = timeout(GOODBYE, connection.abort()).await;
        taken
    }
}

impl Inner {
    async fn send(&self, mail: &Mail) -> Result<(AsyncSmtpConnection, Result<Taken, NotSent>), NotSent> {
        let mut connection = self.connect().await?;
        let taken = self.hand_over(&mut connection, mail).await;
        Ok((connection, taken))
    }

    /// A connection on which nobody listens in, as far as that was asked for, to somebody who knows us.
    async fn connect(&self) -> Result<AsyncSmtpConnection, NotSent> {
        let server = &self.settings.server;
        let no_connection = |error: &_| before(server, error);
        let hello = ClientId::Domain(self.settings.sender.address.host().to_owned());
        let tls = self.tls.clone().map_err(|why| NotSent::Connection { server: server.place(), why })?;
        let (at_once, later) = match server.security {
            Security::Tls => (tls, None),
            Security::StartTls => (None, tls),
            Security::None => (None, None),
        };
        let to = (server.host.as_str(), server.port);
        let connected = AsyncSmtpConnection::connect_tokio1(to, Some(CONNECTING), &hello, at_once, None).await;
        let mut connection = connected.map_err(|error| no_connection(&error))?;
        if let Some(tls) = later {
            if !connection.can_starttls() {
                connection.abort().await;
                return Err(NotSent::NoStartTls(server.place()));
            }
            connection.starttls(tls, &hello).await.map_err(|error| no_connection(&error))?;
        }
        if let Some(login) = &server.login {
            self.log_in(&mut connection, login).await?;
        }
        Ok(connection)
    }

    async fn log_in(&self, connection: &mut AsyncSmtpConnection, login: &Login) -> Result<(), NotSent> {
        let server = &self.settings.server;
        if connection.server_info().get_auth_mechanism(&MECHANISMS).is_none() {
            connection.abort().await;
            return Err(NotSent::NoLogin(server.place()));
        }
        let credentials = Credentials::new(login.user.clone(), login.password.clone());
        match connection.auth(&MECHANISMS, &credentials).await {
            Ok(_) => Ok(()),
            Err(error) => {
                connection.abort().await;
                Err(match error.status() {
                    Some(status) => NotSent::Login { server: server.place(), status: status.into() },
                    None => before(server, &error),
                })
            }
        }
    }

    async fn hand_over(&self, connection: &mut AsyncSmtpConnection, mail: &Mail) -> Result<Taken, NotSent> {
        let (sender, secrets) = (&self.settings.sender, self.secrets(mail));
        let not_taken = |about: String, error: &lettre::transport::smtp::Error| match error.status() {
            Some(status) => NotSent::Refused {
                status: status.into(),
                about,
                said: said(error, &secrets),
                is_final: error.is_permanent(),
            },
            None => before(&self.settings.server, error),
        };
        let from = MailFrom::new(Some(in_their_words(&sender.address)), Vec::new());
        connection.command(from).await.map_err(|error| not_taken(" to the sender".to_owned(), &error))?;
        let mut refused = Vec::new();
        for to in &mail.to {
            let answered = connection.command(Rcpt::new(in_their_words(to), Vec::new())).await;
            match answered.map_err(|error| not_taken(format!(" to {}", to.masked()), &error)) {
                Ok(_) => {}
                Err(refusal @ NotSent::Refused { .. }) => refused.push((to, refusal)),
                Err(broken) => return Err(broken),
            }
        }
        if refused.len() == mail.to.len() {
            return Err(for_nobody(refused));
        }
        connection.command(Data).await.map_err(|error| not_taken(String::new(), &error))?;
        let taken = connection.message(&mail.composed(sender)).await;
        let taken = taken.map_err(|error| not_taken(String::new(), &error))?;
        let said = taken.message().collect::<Vec<_>>().join(" ");
        let refused: Vec<_> =
            refused.iter().map(|(to, refusal)| format!("not for {}: {refusal}", to.masked())).collect();
        Ok(Taken {
            status: status_of(&taken),
            said: clean(&said, &secrets),
            refused: Some(refused.join("; ")).filter(|refused| !refused.is_empty()),
        })
    }

    /// What a server may repeat and the log must not have, with what stands there instead.
    fn secrets<'m>(&'m self, mail: &'m Mail) -> Vec<(&'m str, String)> {
        let addresses = mail.to.iter().map(|to| (to.as_str(), to.masked()));
        let password = self.settings.server.login.iter().map(|login| (&*login.password, "****".to_owned()));
        addresses.chain(password).collect()
    }
}

/// No address took it: it is tried again, if one of them may.
fn for_nobody(refused: Vec<(&Address, NotSent)>) -> NotSent {
    let mut refusals: Vec<_> = refused.into_iter().map(|(_, refusal)| refusal).collect();
    let which = refusals.iter().position(|refusal| !refusal.is_final()).unwrap_or(0);
    refusals.swap_remove(which)
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mailer").field(&self.inner.settings).finish()
    }
}
