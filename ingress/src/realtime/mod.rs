//! What apps publish, to whoever listens outside: server-sent events that can be gone on with where they stopped.
//!
//! `GET /realtime/topics/{topic}` and `GET /realtime/topics?topics=a,b.*`, the app by Host or `?app=`. Who asks for what is not
//! there, or not for the outside, cannot tell one from the other; a token that is not good is refused without a reason. All
//! else that goes wrong is told in the stream: an `EventSource` never comes back after any other status.

mod asked;
mod channel;
mod client;
pub(crate) mod frame;
mod hub;
mod ring;
mod stream;

use std::{convert::Infallible, fmt, net::IpAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    middleware::from_fn,
    response::{IntoResponse as _, Response},
    routing::any,
};
use bytes::Bytes;
use chrono::Utc;
use futures::{StreamExt as _, stream as streams};
use http::{HeaderValue, Method, Uri, header, request::Parts};
use picloud_core::{
    id::{AppId, HistoryId, RequestId},
    keys::{Grant, Keyring, TopicKey},
    log::{Committer, Position, Tail, read::Reader},
    trigger::Pattern,
};
use picloud_projections::setup::{App, LiveSetup};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use self::hub::StreamLimits;
use self::{
    asked::{Asked, Refused},
    channel::Channel,
    frame::{Control, Reason},
    hub::Hub,
    stream::Subscription,
};
use crate::{
    data_plane::{Catalog, Incoming, bearer, only_get},
    problem::{Kind, Problem},
    request_id,
};

/// All that streams lean on.
pub struct RealtimeParts {
    /// Which hosts there are.
    pub catalog: Arc<dyn Catalog>,
    /// Who may listen to what.
    pub setup: LiveSetup,
    /// How far the log goes, as far as this node has answered for it.
    pub committer: Committer,
    /// What is published.
    pub tail: Tail,
    /// What was.
    pub reader: Reader,
    /// Keys of cursors and tokens.
    pub keyring: Keyring,
    /// Which life of the log this is.
    pub history: HistoryId,
    /// How many streams there may be.
    pub limits: StreamLimits,
    /// Ends all of them.
    pub stop: CancellationToken,
}

struct Realtime {
    catalog: Arc<dyn Catalog>,
    setup: LiveSetup,
    committer: Committer,
    keyring: Keyring,
    hub: Arc<Hub>,
}

/// The streams as a router, to be added to the data plane's; and the task that feeds them.
pub fn router(parts: RealtimeParts) -> (Router, JoinHandle<()>) {
    let RealtimeParts { catalog, setup, committer, tail, reader, keyring, history, limits, stop } = parts;
    let (hub, task) = Hub::start(tail, reader, keyring.clone(), setup.clone(), history, limits, stop);
    let realtime = Arc::new(Realtime { catalog, setup, committer, keyring, hub });
    let router = Router::new()
        .route("/realtime/topics", any(by_query))
        .route("/realtime/topics/{topic}", any(by_path))
        .route("/realtime/client.js", any(client::show).layer(from_fn(request_id::name)))
        .with_state(realtime);
    (router, task)
}

async fn by_query(State(realtime): State<Arc<Realtime>>, request: Request) -> Response {
    let wanted = Wanted::of(request.uri());
    realtime.answer(request, wanted).await
}

async fn by_path(State(realtime): State<Arc<Realtime>>, Path(topic): Path<String>, request: Request) -> Response {
    let wanted = Wanted { topics: Some(topic), ..Wanted::of(request.uri()) };
    realtime.answer(request, wanted).await
}

/// What the query says.
#[derive(Debug, Default)]
struct Wanted {
    topics: Option<String>,
    app: Option<String>,
    token: Option<String>,
    after: Option<String>,
}

impl Wanted {
    fn of(uri: &Uri) -> Self {
        let mut wanted = Self::default();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let field = match &*name {
                "topics" => &mut wanted.topics,
                "app" => &mut wanted.app,
                "token" => &mut wanted.token,
                "after" => &mut wanted.after,
                _ => continue,
            };
            *field = Some(value.into_owned());
        }
        wanted
    }
}

impl Realtime {
    async fn answer(&self, request: Request, wanted: Wanted) -> Response {
        let id = RequestId::generate();
        let (parts, _) = request.into_parts();
        let incoming = Incoming::new(id, parts);
        let mut response = match self.open(&incoming, wanted).await {
            Ok(response) => response,
            Err(problem) => problem.request(id).into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(request_id::HEADER, request_id::value(id));
        // Who may listen is told by the token, which no browser sends by itself.
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        response
    }

    async fn open(&self, incoming: &Incoming, wanted: Wanted) -> Result<Response, Problem> {
        let Parts { method, headers, .. } = &incoming.parts;
        if *method == Method::OPTIONS {
            return Ok(preflight());
        }
        only_get(method, "GET, HEAD, OPTIONS")?;
        let app = self.app(incoming, wanted.app.as_deref())?;
        let topics = wanted.topics.as_deref().and_then(asked::topics).ok_or_else(nothing)?;
        let token = headers.get(header::AUTHORIZATION).and_then(bearer);
        let asked = self.admit(&app, topics, token.or(wanted.token.as_deref())).await?;
        if app.is_paused {
            return Ok(refusal(Reason::AppPaused));
        }
        let after = headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
        match self.stream(&app, asked, after.or(wanted.after.as_deref()), incoming.address).await {
            Ok(stream) => Ok(events(Body::from_stream(stream))),
            Err(reason) => Ok(refusal(reason)),
        }
    }

    fn app(&self, incoming: &Incoming, named: Option<&str>) -> Result<Arc<App>, Problem> {
        let setup = self.setup.get();
        let app = match named {
            Some(named) => setup.app(named).map(Arc::clone),
            None => {
                let snapshot = self.catalog.snapshot();
                let served = snapshot.hosts.best(&incoming.host()?);
                served.and_then(|served| setup.apps.get(&served.id)).map(Arc::clone)
            }
        };
        app.ok_or_else(nothing)
    }

    /// Whether topics may be listened to, with a token or without.
    async fn admit(&self, app: &App, topics: Vec<Pattern>, token: Option<&str>) -> Result<Asked, Problem> {
        let asked = Asked::new(topics, None);
        if !asked.needs_token(&app.access).map_err(|_| nothing())? {
            return Ok(asked);
        }
        let grant = match token {
            Some(token) => self.grant(app.id, token).await?,
            None => None,
        };
        let asked = asked.with(grant);
        match asked.check(&app.access) {
            Ok(()) => Ok(asked),
            Err(Refused::Nothing) => Err(nothing()),
            Err(Refused::Unauthorized) => {
                let detail =
                    "these topics take a token that is good for them, and not expired; get a new one from the app";
                Err(Problem::new(Kind::Unauthorized, detail))
            }
        }
    }

    async fn grant(&self, app: AppId, token: &str) -> Result<Option<Grant>, Problem> {
        let Some(named) = TopicKey::named_by(token) else { return Ok(None) };
        let key = self.keyring.topic_key_named(app, named).await.map_err(|error| Problem::internal(&error))?;
        Ok(key.verify(app, token, Utc::now()).ok())
    }

    async fn stream(
        &self,
        app: &App,
        asked: Asked,
        after: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<Subscription, Reason> {
        let unavailable = |error: &dyn fmt::Display| {
            warn!(%error, "Failed to open a stream");
            Reason::Unavailable
        };
        let channel = self.hub.channel(app.id, &app.access).await.map_err(|error| unavailable(&error))?;
        let seat = self.hub.seat(&channel, address).ok_or(Reason::Overloaded)?;
        let (from, is_reset) = match after {
            None => (self.now(), false),
            Some(cursor) => match self.resume(&channel, cursor).await.map_err(|error| unavailable(&error))? {
                Some(position) => (position, false),
                None => (self.now(), true),
            },
        };
        Ok(Subscription::new(Arc::clone(&self.hub), channel, asked, seat, from, is_reset))
    }

    /// The end of the log. What was answered before somebody asked is not told as what comes after.
    fn now(&self) -> Position {
        self.committer.head().max(self.hub.told())
    }

    /// Where a cursor stands; none, when it is none of this log as it is.
    async fn resume(&self, channel: &Channel, cursor: &str) -> Result<Option<Position>, sqlx::Error> {
        let Some(position) = channel.open(cursor) else { return Ok(None) };
        Ok(self.hub.has(position).await?.then_some(position))
    }
}

/// There is nothing of that name, or nothing for the outside.
fn nothing() -> Problem {
    Problem::new(Kind::NotFound, "there is no such topic to listen to")
}

/// Server-sent events.
pub(crate) fn events(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would keep frames until its buffer is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A stream that says why it is none.
fn refusal(reason: Reason) -> Response {
    let frames = [frame::retry(), frame::control(Control::Closed(reason), None)];
    events(Body::from_stream(streams::iter(frames).map(Ok::<Bytes, Infallible>)))
}

/// Pages of any origin may ask, and send what a stream takes.
fn preflight() -> Response {
    let mut response = http::StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, cache-control, last-event-id"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}
