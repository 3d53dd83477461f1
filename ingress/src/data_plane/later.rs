//! Calls that are answered before they run: 202 with a name, and what became of it for whoever may know.

use std::fmt::Write as _;

use axum::response::{IntoResponse, Json, Response};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, SecondsFormat, Utc};
use futures::future::BoxFuture;
use http::{StatusCode, header};
use picloud_core::{
    event::{Actor, ActorKind},
    id::OutboxId,
    policy::Principal,
    retry::RetryPolicy,
    run::{Answer, Call, InvocationType, Owed},
};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::problem::{Kind, Problem};

/// The largest body of a call that waits: it lies in the log meanwhile.
pub(super) const MAX_BODY_BYTES: usize = 2 << 20;

/// What became of a call.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Its name.
    pub outbox_id: OutboxId,
    /// `waiting`, `running`, `delivered`, `dead` or `cancelled`.
    pub state: String,
    /// When it was accepted.
    pub accepted_at: DateTime<Utc>,
    /// How often it was tried.
    pub attempts: usize,
    /// What went wrong the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// When it was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
}

/// A call that was answered 202, and who may ask for it.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// What became of it.
    pub status: Status,
    /// Who made it.
    pub actor: Actor,
    /// The SHA-256 of the token in its `status_url`.
    pub token_hash: Option<Vec<u8>>,
}

/// Knows what became of calls.
pub trait Later: Send + Sync + 'static {
    /// A call by its name, for a day after its end.
    fn find(&self, item: OutboxId) -> BoxFuture<'static, Result<Option<Accepted>, Problem>>;
}

/// The work that a call becomes, and what its caller is answered.
pub(super) fn owed(mut call: Call, retry: RetryPolicy, public_url: &str) -> Owed {
    // The same ULID as the request's, as the run of a call that waits has: one request begins one of them.
    let item = OutboxId::from(call.invocation.ulid());
    let mut random = [0_u8; 24];
    getrandom::fill(&mut random).expect("the operating system hands out random bytes");
    let token = BASE64_URL_SAFE_NO_PAD.encode(random);
    let mut status_url = public_url.to_owned();
    let _ = write!(status_url, "/api/v1/outbox/{item}?token={token}");
    let accepted_at = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    let body = json!({ "outbox_id": item, "status_url": status_url, "accepted_at": accepted_at });
    call.kind = InvocationType::AsyncHttp;
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("location", status_url),
        ("x-picloud-outbox", item.to_string()),
    ];
    let answer = Answer {
        status: 202,
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        body: body.to_string().into(),
    };
    Owed { item, call, retry, token: Some(Sha256::digest(&token).into()), answer }
}

/// What became of a call, to who made it or holds its token. To all others there is none.
pub(super) fn show(found: Option<Accepted>, principal: &Principal, query: Option<&str>) -> Result<Response, Problem> {
    let found = found.filter(|found| holds_token(found, query) || is_by(&found.actor, principal));
    let Some(found) = found else {
        let detail = "there is no such call, or it ended more than a day ago, or the token in `?token=` is not its own";
        return Err(Problem::new(Kind::NotFound, detail));
    };
    Ok((StatusCode::OK, [(header::CACHE_CONTROL, "no-store")], Json(found.status)).into_response())
}

fn holds_token(found: &Accepted, query: Option<&str>) -> bool {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let token = pairs.into_iter().find(|(name, _)| name == "token").map(|(_, token)| token);
    let (Some(token), Some(hash)) = (token, &found.token_hash) else { return false };
    Sha256::digest(token.as_bytes()).ct_eq(hash).into()
}

fn is_by(actor: &Actor, principal: &Principal) -> bool {
    let id = match principal {
        Principal::Account { account, .. } => account.to_string(),
        Principal::ApiKey { key, .. } => key.to_string(),
        Principal::Public => return false,
    };
    matches!(actor.kind, ActorKind::Account | ActorKind::ApiKey) && actor.id.as_ref() == Some(&id)
}
