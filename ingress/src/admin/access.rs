//! Who asks, and whether they may: one guard before every handler.
//!
//! What a caller may not see is not there (404); what it may see but not do is refused naming the capability (403). An app
//! is seen by whoever holds any capability on it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts, RawPathParams, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use chrono::Utc;
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use picloud_core::{
    capability::Capability,
    event::{Actor, Event, member},
    id::{AccountId, AppId, RequestId},
    policy::{AppRole, Principal, Rights, allows},
};
use picloud_projections::setup::{Account, App, Setup};
use sha2::{Digest as _, Sha256};

use super::{
    AdminPlane, Plane, Requires,
    cookie::{self, Kept},
};
use crate::{
    auth::{Session, Token},
    problem::{Kind, Problem},
};

/// Where a request comes from, whoever sent it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) request: RequestId,
    pub(super) address: Option<IpAddr>,
}

impl Asker {
    fn of(parts: &Parts) -> Self {
        Self {
            request: parts.extensions.get::<RequestId>().copied().unwrap_or_else(RequestId::generate),
            address: parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical()),
        }
    }

    /// As events say it.
    pub(super) fn address_text(&self) -> Option<String> {
        self.address.map(|address| address.to_string())
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) principal: Principal,
    pub(super) asker: Asker,
    credential: Credential,
}

/// What a caller showed.
#[derive(Clone, Debug)]
enum Credential {
    /// The hash of an API key.
    Key([u8; 32]),
    /// A session's token.
    Session(Token),
}

impl Caller {
    /// As events name it.
    pub(super) fn actor(&self) -> Actor {
        let address = self.asker.address_text();
        match &self.principal {
            Principal::Account { account, .. } => Actor::account(*account, self.asker.request, address),
            Principal::ApiKey { key, .. } => Actor::api_key(*key, self.asker.request, address),
            Principal::Public => Actor::public(self.asker.request, address),
        }
    }

    /// The request it asks with.
    pub(super) const fn request(&self) -> RequestId {
        self.asker.request
    }

    /// Whether it holds a capability, on an app or on the instance.
    pub(super) fn may(&self, capability: Capability, app: Option<AppId>) -> bool {
        allows(&self.principal, capability, app)
    }

    /// Refuses who does not hold a capability.
    pub(super) fn must(&self, capability: Capability, app: Option<AppId>) -> Result<(), Problem> {
        if self.may(capability, app) { Ok(()) } else { Err(self.forbidden(capability)) }
    }

    /// Refuses who does not hold a capability now, whatever it held when the request came.
    pub(super) fn must_still(
        &self,
        plane: &AdminPlane,
        capability: Capability,
        app: Option<AppId>,
    ) -> Result<(), Problem> {
        if self.still_may(plane, capability, app) { Ok(()) } else { Err(self.forbidden(capability)) }
    }

    fn forbidden(&self, capability: Capability) -> Problem {
        let detail = match &self.principal {
            Principal::ApiKey { .. } => {
                format!("this key lacks the capability {capability}; use a key whose scopes have it")
            }
            Principal::Account { .. } | Principal::Public => {
                format!("your role lacks the capability {capability}; ask who manages this for it")
            }
        };
        Problem::new(Kind::Forbidden, detail).with("capability", capability)
    }

    /// Whether an app exists for it.
    pub(super) fn sees(&self, app: AppId) -> bool {
        Capability::ALL.iter().any(|capability| self.may(*capability, Some(app)))
    }

    /// The same caller once it has made an app: whoever makes one is its admin.
    pub(super) fn with_own(&self, app: AppId) -> Self {
        let own = |rights: &Rights| {
            let mut rights = rights.clone();
            rights.apps.insert(app, AppRole::AppAdmin);
            Arc::new(rights)
        };
        let mut caller = self.clone();
        match &mut caller.principal {
            Principal::Account { rights, .. } => *rights = own(rights),
            Principal::ApiKey { account: Some((_, rights)), .. } => *rights = own(rights),
            Principal::ApiKey { account: None, .. } | Principal::Public => {}
        }
        caller
    }

    /// What makes whoever made an app its admin; nothing for a key that belongs to nobody.
    pub(super) fn owning(&self) -> Option<Event> {
        let account = self.principal.account()?;
        Some(member::Granted { account, role: AppRole::AppAdmin }.into())
    }

    /// The person who asks, in a session.
    pub(super) fn person(&self) -> Result<(AccountId, &Token), Problem> {
        match (&self.principal, &self.credential) {
            (Principal::Account { account, .. }, Credential::Session(token)) => Ok((*account, token)),
            _ => {
                let detail = "this is a person's own business: sign in with a password; a key cannot do it";
                Err(Problem::new(Kind::Forbidden, detail))
            }
        }
    }

    /// What a stream needs to ask again whether it may go on.
    pub(super) fn still_may(&self, plane: &AdminPlane, capability: Capability, app: Option<AppId>) -> bool {
        let setup = plane.setup.get();
        let principal = match (&self.credential, &self.principal) {
            (Credential::Key(hash), _) => setup.principal(hash, Utc::now()),
            (Credential::Session(token), Principal::Account { account, session, .. })
                if plane.auth.sessions.is_open(&token.hash()) =>
            {
                setup.signed_in(*account, *session)
            }
            (Credential::Session(_), _) => None,
        };
        principal.is_some_and(|principal| allows(&principal, capability, app))
    }
}

/// The app that a request is about. The guard has looked it up.
#[derive(Clone, Debug)]
pub(super) struct InApp(pub(super) Arc<App>);

/// What a guarded request carries along. Without the guard there is none, and nothing is answered.
macro_rules! from_guard {
    ($($type:ty),*) => {$(
        impl<S: Sync> FromRequestParts<S> for $type {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
                let unguarded = || Problem::internal(&Unguarded);
                parts.extensions.get::<Self>().cloned().ok_or_else(unguarded)
            }
        }
    )*};
}

from_guard!(Asker, Caller, InApp);

#[derive(Debug, thiserror::Error)]
#[error("an endpoint is not behind the guard it needs")]
struct Unguarded;

/// Lets a request through to its handler, or refuses it.
pub(super) async fn guard(
    State((plane, requires)): State<(Plane, Requires)>,
    request: Request,
    next: Next,
) -> Response {
    match enter(&plane, requires, request).await {
        Ok(request) => next.run(request).await,
        Err(response) => response,
    }
}

async fn enter(plane: &AdminPlane, requires: Requires, request: Request) -> Result<Request, Response> {
    let (mut parts, body) = request.into_parts();
    // Before any handler reads them: axum's own refusal would be no problem document.
    let params = RawPathParams::from_request_parts(&mut parts, &()).await.map_err(|_| not_text().into_response())?;
    let asker = Asker::of(&parts);
    parts.extensions.insert(asker);
    if requires == Requires::Nothing {
        return Ok(Request::from_parts(parts, body));
    }
    let setup = plane.setup.get();
    let caller = caller(plane, &parts, asker, &setup).await?;
    let refused = IntoResponse::into_response;
    match requires {
        Requires::Nothing | Requires::Principal | Requires::Deploy => {}
        Requires::Instance(capability) => caller.must(capability, None).map_err(refused)?,
        Requires::App(capability) => {
            let named = params.iter().find(|(name, _)| *name == "app").map_or("", |(_, app)| app);
            let app = match setup.app(named).filter(|app| caller.sees(app.id)) {
                Some(app) => Arc::clone(app),
                None => return Err(elsewhere(&caller, &setup, named, &parts)),
            };
            caller.must(capability, Some(app.id)).map_err(refused)?;
            parts.extensions.insert(InApp(app));
        }
    }
    parts.extensions.insert(caller);
    Ok(Request::from_parts(parts, body))
}

/// An app by id or slug, for who may know that it is there.
pub(super) fn visible_app(caller: &Caller, setup: &Setup, named: &str) -> Result<Arc<App>, Problem> {
    let renamed = || setup.apps.get(setup.former_slugs.get(named)?);
    let app = setup.app(named).or_else(renamed).filter(|app| caller.sees(app.id));
    app.cloned().ok_or_else(|| no_app(named))
}

fn no_app(named: &str) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no app `{}` that you may see", short(named))).field("app")
}

/// Where an app is that had another name; nowhere, for who may not see it.
fn elsewhere(caller: &Caller, setup: &Setup, named: &str, parts: &Parts) -> Response {
    let renamed = setup.former_slugs.get(named).and_then(|app| setup.apps.get(app)).filter(|app| caller.sees(app.id));
    let location = renamed.and_then(|app| {
        let path = parts.uri.path().replacen(&format!("/apps/{named}"), &format!("/apps/{}", app.slug), 1);
        let query = parts.uri.query().map_or_else(String::new, |query| format!("?{query}"));
        HeaderValue::try_from(path + &query).ok()
    });
    match location {
        Some(location) => (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, location)]).into_response(),
        None => no_app(named).into_response(),
    }
}

async fn caller(plane: &AdminPlane, parts: &Parts, asker: Asker, setup: &Setup) -> Result<Caller, Response> {
    let refused = |problem: Problem| problem.into_response();
    if let Some(bearer) = bearer(&parts.headers) {
        return match Token::parse(bearer) {
            Some(token) => in_session(plane, token, asker, setup).await.map_err(refused)?.ok_or_else(|| {
                let detail = "this session has ended; sign in again";
                refused(Problem::new(Kind::Unauthorized, detail).field("authorization"))
            }),
            None => with_key(plane, bearer, asker, setup).map_err(refused),
        };
    }
    let admin_url = &plane.urls.admin;
    let caller = match cookie::session(&parts.headers, admin_url) {
        Kept::None => {
            let detail = "sign in, or send an API key: `Authorization: Bearer pic_…`";
            return Err(refused(Problem::new(Kind::Unauthorized, detail).field("authorization")));
        }
        Kept::Several => {
            let detail =
                "there are two sessions in this browser, and one of them is not from here; it is cleared, try again";
            let problem = Problem::new(Kind::Unauthorized, detail).field("cookie");
            return Err(cookie::cleared_beside(refused(problem), admin_url, parts.uri.path()));
        }
        Kept::Token(token) => in_session(plane, token, asker, setup).await.map_err(refused)?,
        Kept::Broken => None,
    };
    let Some(caller) = caller else {
        // Cleared, never adopted: whoever set it, it is of no use.
        let problem = Problem::new(Kind::Unauthorized, "this session has ended; sign in again").field("cookie");
        let cleared = cookie::cleared(refused(problem), admin_url);
        return Err(cookie::cleared_beside(cleared, admin_url, parts.uri.path()));
    };
    if let Credential::Session(token) = &caller.credential {
        cookie::is_our_page(parts, token, &plane.urls.admin).map_err(refused)?;
    }
    Ok(caller)
}

fn with_key(plane: &AdminPlane, key: &str, asker: Asker, setup: &Setup) -> Result<Caller, Problem> {
    let hash = Sha256::digest(key.as_bytes()).into();
    let principal = setup.principal(&hash, Utc::now()).ok_or_else(|| {
        let detail = "this API key is not known, or was revoked, or is past its expiry; use another one";
        Problem::new(Kind::Unauthorized, detail).field("authorization")
    })?;
    if let Principal::ApiKey { key, .. } = &principal {
        plane.auth.key_uses.note(*key);
    }
    Ok(Caller { principal, asker, credential: Credential::Key(hash) })
}

async fn in_session(plane: &AdminPlane, token: Token, asker: Asker, setup: &Setup) -> Result<Option<Caller>, Problem> {
    let found = plane.auth.sessions.check(&token).await.map_err(|error| super::write::database(&error))?;
    let principal = found.and_then(|Session { id, account, .. }| setup.signed_in(account, id));
    Ok(principal.map(|principal| Caller { principal, asker, credential: Credential::Session(token) }))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn not_text() -> Problem {
    Problem::new(Kind::BadRequest, "a part of the path is not valid UTF-8 once percent-decoded")
}

/// The account of a principal, which the setup knows.
pub(super) fn account_of(setup: &Setup, id: AccountId) -> Result<Arc<Account>, Problem> {
    let gone = || Problem::new(Kind::NotFound, format!("there is no account `{id}`"));
    setup.accounts.get(&id).cloned().ok_or_else(gone)
}

/// What a client sent, short enough to be told back.
pub(super) fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(120)]
}
