//! Who asks, and whether they may: one guard before every handler.
//!
//! What a caller may not see is not there (404); what it may see but not do is refused naming the capability (403). An app
//! is seen by whoever holds any capability on it.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, FromRequestParts, RawPathParams, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use chrono::Utc;
use http::{HeaderMap, header, request::Parts};
use picloud_core::{
    capability::{Capability, Principal, allows},
    event::Actor,
    id::{ApiKeyId, AppId, RequestId},
};
use picloud_projections::setup::{App, Setup};
use sha2::{Digest as _, Sha256};

use super::{AdminPlane, Plane, Requires};
use crate::problem::{Kind, Problem};

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) principal: Principal,
    /// The key's name.
    key: ApiKeyId,
    /// What the key is looked up by: a stream looks again now and then.
    hash: [u8; 32],
    request: RequestId,
    address: Option<String>,
}

impl Caller {
    /// As events name it.
    pub(super) fn actor(&self) -> Actor {
        Actor::api_key(self.key, self.request, self.address.clone())
    }

    /// The request it asks with.
    pub(super) const fn request(&self) -> RequestId {
        self.request
    }

    /// Whether it holds a capability, on an app or on the instance.
    pub(super) fn may(&self, capability: Capability, app: Option<AppId>) -> bool {
        allows(&self.principal, capability, app)
    }

    /// Refuses who does not hold a capability.
    pub(super) fn must(&self, capability: Capability, app: Option<AppId>) -> Result<(), Problem> {
        if self.may(capability, app) { Ok(()) } else { Err(forbidden(capability)) }
    }

    /// Whether an app exists for it.
    pub(super) fn sees(&self, app: AppId) -> bool {
        Capability::ALL.iter().any(|capability| self.may(*capability, Some(app)))
    }

    /// Whether the key still works and still holds a capability.
    pub(super) fn still_may(&self, setup: &Setup, capability: Capability, app: Option<AppId>) -> bool {
        setup.principal(&self.hash, Utc::now()).is_some_and(|principal| allows(&principal, capability, app))
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

from_guard!(Caller, InApp);

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
        Err(problem) => problem.into_response(),
    }
}

async fn enter(plane: &AdminPlane, requires: Requires, request: Request) -> Result<Request, Problem> {
    let (mut parts, body) = request.into_parts();
    let setup = plane.setup.get();
    let caller = caller(&parts, &setup)?;
    let params = RawPathParams::from_request_parts(&mut parts, &()).await.map_err(|_| not_text())?;
    match requires {
        Requires::Key | Requires::Deploy => {}
        Requires::Instance(capability) => caller.must(capability, None)?,
        Requires::App(capability) => {
            let named = params.iter().find(|(name, _)| *name == "app").map_or("", |(_, app)| app);
            let app = visible_app(&caller, &setup, named)?;
            caller.must(capability, Some(app.id))?;
            parts.extensions.insert(InApp(app));
        }
    }
    parts.extensions.insert(caller);
    Ok(Request::from_parts(parts, body))
}

/// An app by id or slug, for who may know that it is there.
pub(super) fn visible_app(caller: &Caller, setup: &Setup, named: &str) -> Result<Arc<App>, Problem> {
    let app = setup.app(named).filter(|app| caller.sees(app.id));
    app.cloned().ok_or_else(|| {
        Problem::new(Kind::NotFound, format!("there is no app `{}` that this key may see", short(named))).field("app")
    })
}

fn caller(parts: &Parts, setup: &Setup) -> Result<Caller, Problem> {
    let key = bearer(&parts.headers).ok_or_else(|| {
        Problem::new(Kind::Unauthorized, "send an API key: `Authorization: Bearer pic_…`").field("authorization")
    })?;
    let hash = Sha256::digest(key.as_bytes()).into();
    let principal = setup.principal(&hash, Utc::now()).ok_or_else(|| {
        let detail = "this API key is not known, or was revoked, or is past its expiry; use another one";
        Problem::new(Kind::Unauthorized, detail).field("authorization")
    })?;
    let Principal::ApiKey { key, .. } = principal else { return Err(Problem::internal(&Unguarded)) };
    let request = parts.extensions.get::<RequestId>().copied().unwrap_or_else(RequestId::generate);
    let address = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical().to_string());
    Ok(Caller { principal, key, hash, request, address })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn forbidden(capability: Capability) -> Problem {
    let detail = format!("this key lacks the capability {capability}; use a key whose scopes have it");
    Problem::new(Kind::Forbidden, detail).with("capability", capability)
}

fn not_text() -> Problem {
    Problem::new(Kind::BadRequest, "a part of the path is not valid UTF-8 once percent-decoded")
}

/// What a client sent, short enough to be told back.
pub(super) fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(120)]
}
