//! Requests that must not happen twice: claims, and the outcomes that answer their repetition.
//!
//! A claim is taken before the run and bears the node's epoch; the outcome is written by the very commit that completes the
//! run. So a crash before it leaves a claim of a dead node, which the next request takes over, and after it nothing runs
//! again.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use super::{IdempotencyClaim, Node};
use crate::{
    id::{AppId, EventId, InvocationId},
    keys::{CannotOpen, DataKey, Purpose},
    run::Answer,
};

/// How long an outcome answers repetitions, in hours.
pub const KEPT_H: i32 = 24;

/// The largest body that is kept.
const MAX_BODY_BYTES: usize = 1 << 20;

/// What a request was answered, for its repetitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its run; none when that is still owed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation: Option<InvocationId>,
    /// The status.
    pub status: u16,
    /// The script's headers.
    pub headers: Vec<(String, String)>,
    /// Base64 of the body; none when it was too large to keep.
    body: Option<String>,
}

impl Kept {
    /// What is kept of an answer.
    #[must_use]
    pub fn of(invocation: Option<InvocationId>, answer: &Answer) -> Self {
        let body = (answer.body.len() <= MAX_BODY_BYTES).then(|| BASE64_STANDARD.encode(&answer.body));
        Self { invocation, status: answer.status, headers: answer.headers.clone(), body }
    }

    /// The body; none when it was too large to keep.
    #[must_use]
    pub fn body(&self) -> Option<Bytes> {
        self.body.as_deref().and_then(|body| BASE64_STANDARD.decode(body).ok()).map(Bytes::from)
    }
}

/// An outcome under the app's data key, bound to what it answers.
#[must_use]
pub fn seal(key: &DataKey, scope: &[u8; 32], kept: &Kept) -> Vec<u8> {
    let plain = serde_json::to_vec(kept).expect("outcomes are plain data");
    key.seal_bytes(Purpose::Outcome, scope, &plain)
}

/// Reads what [`seal`] made.
///
/// # Errors
/// [`CannotOpen`], when it is another's or was changed.
pub fn open(key: &DataKey, scope: &[u8; 32], sealed: &[u8]) -> Result<Kept, CannotOpen> {
    serde_json::from_slice(&key.open_bytes(Purpose::Outcome, scope, sealed)?).map_err(|_| CannotOpen)
}

/// What a key means for the request that bears it.
#[derive(Debug, PartialEq, Eq)]
pub enum Begin {
    /// Nobody has done this: run it under the claim.
    Fresh(IdempotencyClaim),
    /// It has been done; the outcome, under the app's data key.
    Done(Vec<u8>),
    /// It is being done.
    InFlight,
    /// The key was used for another request.
    Mismatch,
}

/// Asks what a key means, and claims it when nobody has.
///
/// # Errors
/// When the database cannot be asked.
pub async fn begin(
    pool: &PgPool,
    node: &Node,
    app: AppId,
    scope: [u8; 32],
    fingerprint: [u8; 32],
) -> Result<Begin, sqlx::Error> {
    let claim = Uuid::from(EventId::generate());
    // Taken over are the expired, and the claims of nodes that cannot complete them any more.
    let claimed = sqlx::query!(
        "insert into live.idempotency as i (scope, app_id, fingerprint, claim, claimed_by, expires_at)
        values ($1, $2, $3, $4, $5, now() + make_interval(hours => $6))
        on conflict (scope) do update
        set fingerprint = excluded.fingerprint,
            claim = excluded.claim,
            claimed_by = excluded.claimed_by,
            outcome = null,
            expires_at = excluded.expires_at
        where i.expires_at <= now()
            or (i.outcome is null and not exists (
                select from live.nodes n where n.epoch = i.claimed_by and n.revoked_at is null
            ))",
        &scope[..],
        app.uuid(),
        &fingerprint[..],
        claim,
        node.epoch().uuid(),
        KEPT_H
    )
    .execute(pool)
    .await?;
    if claimed.rows_affected() == 1 {
        return Ok(Begin::Fresh(IdempotencyClaim { scope, claim }));
    }
    let row = sqlx::query!("select fingerprint, outcome from live.idempotency where scope = $1", &scope[..])
        .fetch_optional(pool)
        .await?;
    Ok(match row {
        Some(row) if row.fingerprint != fingerprint => Begin::Mismatch,
        Some(row) => row.outcome.map_or(Begin::InFlight, Begin::Done),
        // Released between the two statements: the caller's retry claims it.
        None => Begin::InFlight,
    })
}

/// Gives a claim back: the run did not complete, and the key may be used again.
///
/// # Errors
/// When the database refuses.
pub async fn release(pool: &PgPool, claim: &IdempotencyClaim) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from live.idempotency where scope = $1 and claim = $2 and outcome is null",
        &claim.scope[..],
        claim.claim
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Forgets what has expired, up to fifty thousand at a time; returns how many. Nobody waits for these rows.
///
/// # Errors
/// When the database refuses.
pub async fn sweep(pool: &PgPool) -> Result<u64, sqlx::Error> {
    let swept = sqlx::query!(
        "delete from live.idempotency where scope in (
            select scope from live.idempotency where expires_at <= now() limit 50000 for update skip locked
        )"
    )
    .execute(pool)
    .await?;
    Ok(swept.rows_affected())
}
