//! Sends messages to channels.

use std::time::Duration;

use chrono::Utc;
use futures::{FutureExt as _, future::BoxFuture};
use picloud_core::{
    alert::{Answered, ChannelKind, Courier, NO_MAIL, NoAddress},
    id::{RequestId, SecretId},
    keys::{Destination, Keyring, Webhook},
    mail::Address,
};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tracing::warn;

use super::message::Message;
use crate::{http::OperatorClient, mail::Mailer};

/// How long a receiver has to answer.
const PATIENCE: Duration = Duration::from_secs(10);

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Sends messages, once each. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Messenger {
    keyring: Keyring,
    http: OperatorClient,
    mailer: Option<Mailer>,
    instance: String,
}

impl Messenger {
    /// With addresses that are under these keys; without a mailer no mail is sent. `instance` is where people manage this one: it
    /// is in all messages.
    #[must_use]
    pub const fn new(keyring: Keyring, http: OperatorClient, mailer: Option<Mailer>, instance: String) -> Self {
        Self { keyring, http, mailer, instance }
    }

    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    /// Sends a message to an address, once.
    pub(super) async fn send(&self, secret: SecretId, message: Message) -> Result<Answered, NoAddress> {
        match self.keyring.destination(secret).await {
            Ok(Some(Destination::Webhook(webhook))) => Ok(self.post(&webhook, &message).await),
            Ok(Some(Destination::Email(to))) => Ok(self.mail(to, &message).await),
            Ok(None) => Err(NoAddress),
            Err(error) => {
                warn!(%error, secret.id = %secret, "Failed to read the address of an alert channel");
                Err(NoAddress)
            }
        }
    }

    async fn post(&self, webhook: &Webhook, message: &Message) -> Answered {
        let body = message.json();
        let headers = headers(webhook, &message.id, &body, Utc::now().timestamp());
        match self.http.post(&webhook.url, headers, body, PATIENCE).await {
            Ok(reply) if (200..300).contains(&reply.status) => {
                Answered { status: Some(reply.status), said: reply.said, ..Answered::default() }
            }
            Ok(reply) => {
                let hint = if (300..400).contains(&reply.status) { ": redirects are not followed" } else { "" };
                let error = format!("it answered {}{hint}", reply.status);
                Answered { status: Some(reply.status), error: Some(error), said: reply.said, ..Answered::default() }
            }
            Err(failure) => Answered { error: Some(failure.to_string()), ..Answered::default() },
        }
    }

    async fn mail(&self, to: Vec<Address>, message: &Message) -> Answered {
        // It may be set with the next start, and then what is owed is sent.
        let Some(mailer) = &self.mailer else {
            return Answered { error: Some(NO_MAIL.to_owned()), ..Answered::default() };
        };
        match mailer.send(&message.mail(to)).await {
            Ok(taken) => {
                Answered { status: Some(taken.status), said: taken.said, refused: taken.refused, ..Answered::default() }
            }
            Err(error) => Answered {
                status: error.status(),
                is_final: error.is_final(),
                error: Some(error.to_string()),
                ..Answered::default()
            },
        }
    }
}

fn headers(webhook: &Webhook, id: &str, body: &[u8], timestamp: i64) -> HeaderMap {
    let value = |text: &str| HeaderValue::from_str(text).expect("ids, numbers and base64 are plain text");
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (ID, value(id)),
        (TIMESTAMP, value(&timestamp.to_string())),
        (SIGNATURE, value(&webhook.secret.sign(id, timestamp, body))),
    ])
}

impl Courier for Messenger {
    fn test(&self, channel: String, secret: SecretId) -> BoxFuture<'static, Result<Answered, NoAddress>> {
        let messenger = self.clone();
        async move {
            let id = format!("test_{}", RequestId::generate().ulid());
            let message = Message::test(id, &channel, &messenger.instance, Utc::now());
            messenger.send(secret, message).await
        }
        .boxed()
    }

    fn hindrance(&self, kind: ChannelKind) -> Option<&'static str> {
        match kind {
            ChannelKind::Email if self.mailer.is_none() => Some(NO_MAIL),
            ChannelKind::Email | ChannelKind::Webhook => None,
        }
    }
}
