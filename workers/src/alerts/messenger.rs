//! Sends messages to channels.

use std::time::Duration;

use chrono::Utc;
use futures::{FutureExt as _, future::BoxFuture};
use picloud_core::{
    alert::{Answered, Courier, NoAddress},
    id::{RequestId, SecretId},
    keys::{Keyring, Webhook},
};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tracing::warn;

use super::message::Message;
use crate::http::OperatorClient;

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
    instance: String,
}

impl Messenger {
    /// With addresses that are under these keys. `instance` is where people manage this one: it is in all messages.
    #[must_use]
    pub const fn new(keyring: Keyring, http: OperatorClient, instance: String) -> Self {
        Self { keyring, http, instance }
    }

    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    /// Sends a message to an address, once.
    pub(super) async fn send(&self, secret: SecretId, message: Message) -> Result<Answered, NoAddress> {
        let webhook = match self.keyring.webhook(secret).await {
            Ok(Some(webhook)) => webhook,
            Ok(None) => return Err(NoAddress),
            Err(error) => {
                warn!(%error, secret.id = %secret, "Failed to read the address of an alert channel");
                return Err(NoAddress);
            }
        };
        let headers = headers(&webhook, &message, Utc::now().timestamp());
        Ok(match self.http.post(&webhook.url, headers, message.body, PATIENCE).await {
            Ok(reply) if (200..300).contains(&reply.status) => {
                Answered { status: Some(reply.status), error: None, said: reply.said }
            }
            Ok(reply) => {
                let hint = if (300..400).contains(&reply.status) { ": redirects are not followed" } else { "" };
                let error = format!("it answered {}{hint}", reply.status);
                Answered { status: Some(reply.status), error: Some(error), said: reply.said }
            }
            Err(failure) => Answered { status: None, error: Some(failure.to_string()), said: String::new() },
        })
    }
}

fn headers(webhook: &Webhook, message: &Message, timestamp: i64) -> HeaderMap {
    let value = |text: &str| HeaderValue::from_str(text).expect("ids, numbers and base64 are plain text");
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (ID, value(&message.id)),
        (TIMESTAMP, value(&timestamp.to_string())),
        (SIGNATURE, value(&webhook.secret.sign(&message.id, timestamp, &message.body))),
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
}
