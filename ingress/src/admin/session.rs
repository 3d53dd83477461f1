//! `/api/v1/admin/session`: signing in and out, and who one is.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{Json as Answer, extract::State, response::IntoResponse};
use http::{HeaderMap, StatusCode, Uri, header};
use picloud_core::{
    capability::Capability,
    event::{Actor, Event, account, session},
    id::{ApiKeyId, AppId, SessionId},
    policy::Principal,
};
use picloud_projections::setup::Account;
use serde::{Deserialize, Serialize};
use tracing::info;
use utoipa::ToSchema;

use super::{
    AdminPlane, Plane,
    access::{Asker, Caller, account_of},
    account::AccountForm,
    body::Json,
    cookie, names,
    openapi::Told,
    time::Time,
    write::{NoContent, Shown, database},
};
use crate::{
    auth::{Busy, Factor, RecoveryCodes, SecretKind, SecretsError, Session, Token, TooMany, take_step},
    problem::{Kind, Problem},
};

/// What is said where everyone on the way can read passwords.
const PLAIN_HTTP: &str = "this instance is reached over plain http: whoever is on the network can read passwords and \
                          sessions; put TLS in front of it, see docs/security.md";

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    email: String,
    password: String,
    /// Of the authenticator, or a recovery code.
    code: Option<String>,
    /// Whether the session is wanted as a token in the answer, for a program, instead of as a cookie.
    #[serde(default)]
    bearer: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SignedIn {
    account: AccountForm,
    session: SessionId,
    expires_at: Time,
    /// Proof for requests with the cookie, in the header `x-picloud-csrf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    csrf: Option<String>,
    /// The session itself. It is shown here and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
}

pub(super) async fn open(
    State(plane): State<Plane>,
    asker: Asker,
    headers: HeaderMap,
    uri: Uri,
    Json(given): Json<Credentials>,
) -> Result<Told<Shown<SignedIn>>, Problem> {
    if !given.bearer {
        cookie::is_same_origin(&headers, &uri, &plane.urls.admin)?;
    }
    let email = names::email(&given.email)?;
    plane.auth.throttle.attempt(asker.address, &email).map_err(too_many)?;
    let account = known(&plane, &email, given.password).await?;
    let used = match &account.totp {
        None => None,
        Some(_) => second_factor(&plane, &account, given.code.as_deref()).await?,
    };
    plane.auth.throttle.succeeded(asker.address, &email);
    let agent = headers.get(header::USER_AGENT).map(|agent| String::from_utf8_lossy(agent.as_bytes()));
    let (token, session) = begin(&plane, &account, asker, agent.as_deref(), used).await?;
    let is_https = plane.urls.admin.starts_with("https://");
    let signed_in = SignedIn {
        account: AccountForm::of(&account),
        session: session.id,
        expires_at: Time(session.expires_at),
        csrf: (!given.bearer).then(|| token.csrf()),
        token: given.bearer.then(|| token.expose().to_owned()),
        warning: (!is_https).then_some(PLAIN_HTTP),
    };
    let response = (StatusCode::CREATED, Answer(signed_in)).into_response();
    Ok(if given.bearer { response } else { cookie::kept(response, &token, &plane.urls.admin) }.into())
}

/// The account whose password this is. Whatever is wrong, it takes as long and is told the same.
async fn known(plane: &AdminPlane, email: &str, password: String) -> Result<std::sync::Arc<Account>, Problem> {
    let setup = plane.setup.get();
    let account = setup.account_of(email).filter(|account| account.is_active);
    let hash = match account.and_then(|account| account.password) {
        Some(id) => plane.auth.secrets.read(SecretKind::Password, id).await.map_err(|error| secret(&error))?,
        None => None,
    };
    let hash = hash.and_then(|hash| String::from_utf8(hash).ok());
    let is_right = plane.auth.passwords.verify(password, hash).await.map_err(busy)?;
    match account {
        Some(account) if is_right => Ok(std::sync::Arc::clone(account)),
        _ => {
            info!("A sign-in was refused");
            Err(Problem::new(Kind::Unauthorized, "the address or the password is wrong"))
        }
    }
}

/// Checks the code of an authenticator, or a recovery code, which is then used up.
async fn second_factor(
    plane: &AdminPlane,
    account: &Account,
    code: Option<&str>,
) -> Result<Option<account::RecoveryCodeUsed>, Problem> {
    let (Some(totp), Some(code)) = (&account.totp, code.map(str::trim)) else {
        let detail = "this account has a second factor: send the `code` of its authenticator, or a recovery code";
        return Err(Problem::new(Kind::SecondFactorNeeded, detail).field("code"));
    };
    let secrets = &plane.auth.secrets;
    let seed = secrets.read(SecretKind::Totp, totp.seed).await.map_err(|error| secret(&error))?;
    if let Some(step) = seed.and_then(|seed| Factor::of(&seed).check(code, now_s()))
        && take_step(&plane.pool, account.id, step).await.map_err(|error| database(&error))?
    {
        return Ok(None);
    }
    let recovery = secrets.read(SecretKind::Recovery, totp.recovery).await.map_err(|error| secret(&error))?;
    let found = recovery.and_then(|hashes| RecoveryCodes::find(&hashes, &totp.used, code));
    match found {
        Some(code) => Ok(Some(account::RecoveryCodeUsed { account: account.id, code })),
        None => {
            info!(account.id = %account.id, "A second factor was refused");
            let detail = "the code is wrong, was used already, or is of another minute";
            Err(Problem::new(Kind::Unauthorized, detail).field("code"))
        }
    }
}

async fn begin(
    plane: &AdminPlane,
    account: &Account,
    asker: Asker,
    agent: Option<&str>,
    used: Option<account::RecoveryCodeUsed>,
) -> Result<(Token, Session), Problem> {
    let address = asker.address_text();
    let agent = agent.map(|agent| &agent[..agent.floor_char_boundary(200)]);
    let opened = plane.auth.sessions.open(account.id, address.as_deref(), agent).await;
    let (token, session) = opened.map_err(|error| database(&error))?;
    let actor = Actor::account(account.id, asker.request, address);
    let decided = plane
        .decide_instance(&actor, |setup| {
            let now = account_of(setup, account.id)?;
            // What was checked is so still: nobody deactivated it, changed its password or used the same code meanwhile.
            let is_same = now.is_active && now.password == account.password;
            let is_used =
                |used: &account::RecoveryCodeUsed| now.totp.as_ref().is_none_or(|totp| totp.used.contains(&used.code));
            if !is_same || used.as_ref().is_some_and(is_used) {
                return Err(Problem::new(Kind::Unauthorized, "the account was changed meanwhile; try again"));
            }
            let opened = session::Opened { session: session.id, account: account.id };
            let mut events: Vec<Event> = used.clone().into_iter().map(Into::into).collect();
            events.push(opened.into());
            Ok((events, ()))
        })
        .await;
    if let Err(problem) = decided {
        // Not told to anyone: it expires by itself if this fails, too.
        let _ = plane.auth.sessions.close(&[session.id]).await;
        return Err(problem);
    }
    Ok((token, session))
}

/// Who asks, and what it may do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WhoAmI {
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<AccountForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<KeyOfMine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    /// Proof for requests with the cookie, in the header `x-picloud-csrf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    csrf: Option<String>,
    /// What it may do on the instance.
    capabilities: Vec<Capability>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OwnApiKey)]
struct KeyOfMine {
    id: ApiKeyId,
    scopes: Vec<Capability>,
    #[schema(required)]
    app: Option<AppId>,
    #[schema(required)]
    expires_at: Option<Time>,
}

pub(super) async fn show(State(plane): State<Plane>, caller: Caller) -> Result<Answer<WhoAmI>, Problem> {
    let setup = plane.setup.get();
    let account = caller.principal.account().map(|id| account_of(&setup, id)).transpose()?;
    let (api_key, session) = match &caller.principal {
        Principal::ApiKey { key, scopes, app, expires_at, .. } => {
            let key = KeyOfMine { id: *key, scopes: scopes.to_vec(), app: *app, expires_at: expires_at.map(Time) };
            (Some(key), None)
        }
        Principal::Account { session, .. } => (None, Some(*session)),
        Principal::Public => (None, None),
    };
    let capabilities = Capability::ALL.iter().copied().filter(|capability| caller.may(*capability, None));
    Ok(Answer(WhoAmI {
        account: account.map(|account| AccountForm::of(&account)),
        api_key,
        session,
        csrf: caller.person().ok().map(|(_, token)| token.csrf()),
        capabilities: capabilities.collect(),
    }))
}

pub(super) async fn close(State(plane): State<Plane>, caller: Caller) -> Result<Told<NoContent>, Problem> {
    caller.person()?;
    let Principal::Account { account, session, .. } = caller.principal else {
        return Err(Problem::new(Kind::Forbidden, "a key has no session to end"));
    };
    plane.end_sessions(&caller.actor(), account, &[session], session::ClosedBy::SignedOut).await?;
    Ok(cookie::cleared(StatusCode::NO_CONTENT.into_response(), &plane.urls.admin).into())
}

impl AdminPlane {
    /// Ends sessions of an account, on every node.
    pub(super) async fn end_sessions(
        &self,
        actor: &Actor,
        account: picloud_core::id::AccountId,
        sessions: &[SessionId],
        by: session::ClosedBy,
    ) -> Result<(), Problem> {
        self.auth.sessions.close(sessions).await.map_err(|error| database(&error))?;
        let closed = |session: &SessionId| session::Closed { session: *session, account, by }.into();
        self.decide_instance(actor, |_| Ok((sessions.iter().map(closed).collect(), ()))).await?;
        Ok(())
    }
}

/// Seconds since 1970, as authenticators count.
pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub(super) fn too_many(too_many: TooMany) -> Problem {
    Problem::new(Kind::RateLimited, too_many.to_string()).retry_after(too_many.retry_after_s)
}

pub(super) fn busy(busy: Busy) -> Problem {
    Problem::new(Kind::Unavailable, format!("{busy}; try again shortly")).retry_after(2)
}

pub(super) fn secret(error: &SecretsError) -> Problem {
    match error {
        SecretsError::Database(error) => database(error),
        other => Problem::internal(other),
    }
}
