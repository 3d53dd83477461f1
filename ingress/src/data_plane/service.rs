//! From a request to its answer: the platform's own paths, a script by id, or Host → app → route.

use std::sync::Arc;

use axum::{body::Body, extract::Request, response::Response};
use http::{HeaderMap, Method, header};
use picloud_core::{
    capability::Capability,
    event::route::Mode,
    id::{RequestId, ScriptId},
    policy::allows,
    retry::RetryPolicy,
    routing::{Allow, Find, Found, is_reserved},
    run::{Call, Invoker, Program, Record},
};

use super::{
    App, Begin, DataPlane, Route, Served, body,
    body_memory::BodyMemory,
    call::{Incoming, Target, call},
    cors, credentials, idempotency, later,
    outcome::{self, Reply, Shape},
    rate::Rates,
    traced::{Answering, Place},
};
use crate::{
    health,
    problem::{Kind, Problem},
    request_id,
};

/// When a paused app or script may be asked again.
const PAUSED_RETRY_S: u64 = 30;

/// The data plane and its counters.
pub(super) struct Service {
    plane: DataPlane,
    rates: Rates,
    bodies: BodyMemory,
}

/// Answers a request, and gives every answer its request's name.
pub(super) async fn handle(service: Served, request: Request) -> Response {
    let id = RequestId::generate();
    let (parts, body) = request.into_parts();
    let incoming = Incoming::new(id, parts);
    let mut answering = Answering::begin(&service.plane.tracer, &incoming, &service.plane.public_url);
    let answered = service.answer(&incoming, body).await;
    let mut response = answered.unwrap_or_else(|problem| outcome::told(problem.request(id), incoming.is_head()));
    response.headers_mut().insert(request_id::HEADER, request_id::value(id));
    if let Some(answering) = &mut answering {
        answering.status = Some(response.status());
    }
    response
}

impl Service {
    pub(super) fn new(plane: DataPlane) -> Self {
        let bodies = BodyMemory::new(plane.settings.body_memory_bytes);
        Self { plane, rates: Rates::new(), bodies }
    }

    async fn answer(&self, incoming: &Incoming, body: Body) -> Result<Response, Problem> {
        let path = incoming.parts.uri.path();
        if is_reserved(path) {
            if let Some(item) = path.strip_prefix("/api/v1/outbox/") {
                return self.status(incoming, item).await;
            }
            return match (path, path.strip_prefix("/api/v1/execute/")) {
                (_, Some(script)) => self.execute(incoming, script, body).await,
                ("/healthz", _) => own(incoming, health::healthz),
                ("/readyz", _) => own(incoming, || health::readyz(&*self.plane.health)),
                ("/version", _) => own(incoming, || health::version(&self.plane.versions)),
                _ => Err(nothing_here(path)),
            };
        }
        self.rates.node(self.plane.settings.rate_limit_per_address, incoming.address)?;
        let host = incoming.host()?;
        let snapshot = self.plane.catalog.snapshot();
        let app = snapshot.hosts.best(&host).ok_or_else(|| unknown_host(&host))?;
        let Incoming { parts, .. } = incoming;
        let found = app.routes.find(&host, parts.method.as_str(), path);
        if parts.method == Method::OPTIONS && !matches!(&found, Find::Found(found) if found.names_method) {
            return options(app, &host, path, &parts.headers);
        }
        match found {
            Find::Found(found) => {
                let place = Place { app: Arc::clone(&app.slug), route: Some(Arc::clone(found.route)) };
                // Looked up once.
                let _ = incoming.place.set(place);
                Ok(self.routed(incoming, app, &host, found, body).await)
            }
            Find::MethodNotAllowed { allow } => Err(method_not_allowed(&parts.method, path, &allow)),
            Find::NotFound => Err(nothing_here(path)),
        }
    }

    /// What became of a call that was answered before it ran.
    async fn status(&self, incoming: &Incoming, item: &str) -> Result<Response, Problem> {
        self.rates.node(self.plane.settings.rate_limit_per_address, incoming.address)?;
        let principal = credentials::principal(&incoming.parts.headers, &*self.plane.credentials)?;
        only_get(&incoming.parts.method, "GET, HEAD")?;
        let found = match item.parse() {
            Ok(item) => self.plane.later.find(item).await?,
            Err(_) => None,
        };
        later::show(found, &principal, incoming.parts.uri.query())
    }

    /// Runs a script by its id, for those who may. To all others there is no such script.
    async fn execute(&self, incoming: &Incoming, script: &str, body: Body) -> Result<Response, Problem> {
        self.rates.node(self.plane.settings.rate_limit_per_address, incoming.address)?;
        let principal = credentials::principal(&incoming.parts.headers, &*self.plane.credentials)?;
        let snapshot = self.plane.catalog.snapshot();
        let script = script
            .parse::<ScriptId>()
            .ok()
            .and_then(|id| snapshot.scripts.get(&id))
            .filter(|script| allows(&principal, Capability::AppInvoke, Some(script.app.id)))
            .ok_or_else(|| Problem::new(Kind::NotFound, "there is no such script that this request may run"))?;
        let target = Target {
            app: script.app.id,
            program: Arc::clone(&script.program),
            route: None,
            mode: Mode::Sync,
            retry: RetryPolicy::default(),
            record: Record::default(),
            principal,
            host: incoming.host()?.into_owned(),
            params: Vec::new(),
            rest: None,
        };
        let _ = incoming.place.set(Place { app: Arc::clone(&script.app.slug), route: None });
        self.open(&script.app)?;
        if script.is_paused {
            return Err(script_paused(&script.program));
        }
        let reply = self.run(incoming, target, body).await?;
        outcome::respond(reply, Shape { is_head: incoming.is_head(), has_cors: false })
    }

    /// Runs a route's script. Failures are answered here: pages of other origins may read them where they may call.
    async fn routed(
        &self,
        incoming: &Incoming,
        app: &App,
        host: &str,
        found: Found<'_, Arc<Route>>,
        body: Body,
    ) -> Response {
        let cors = found.route.definition.cors.as_ref();
        let shape = Shape { is_head: incoming.is_head(), has_cors: cors.is_some() };
        let reply = self.run_route(incoming, app, host, found, body).await;
        let mut response = reply
            .and_then(|reply| outcome::respond(reply, shape))
            .unwrap_or_else(|problem| outcome::told(problem.request(incoming.id), shape.is_head));
        if let Some(cors) = cors {
            cors::share(cors, incoming.parts.headers.get(header::ORIGIN), &mut response);
        }
        response
    }

    async fn run_route(
        &self,
        incoming: &Incoming,
        app: &App,
        host: &str,
        found: Found<'_, Arc<Route>>,
        body: Body,
    ) -> Result<Reply, Problem> {
        let Route { id, definition, program, is_paused } = &**found.route;
        self.open(app)?;
        self.rates.route(*id, definition.rate_limit)?;
        self.rates.route_address(*id, definition.rate_limit_per_address, incoming.address)?;
        let principal = credentials::principal(&incoming.parts.headers, &*self.plane.credentials)?;
        let program = program.as_ref().ok_or_else(|| {
            Problem::new(Kind::NoActiveVersion, "this route's script has no active version; activate one")
        })?;
        if *is_paused && definition.mode == Mode::Sync {
            return Err(script_paused(program));
        }
        let target = Target {
            app: app.id,
            program: Arc::clone(program),
            route: Some(*id),
            mode: definition.mode,
            retry: definition.retry.unwrap_or_default(),
            record: definition.record,
            principal,
            host: host.to_owned(),
            params: found.params,
            rest: found.rest,
        };
        self.run(incoming, target, body).await
    }

    /// Whether an app takes calls now.
    fn open(&self, app: &App) -> Result<(), Problem> {
        if app.is_paused {
            let detail = format!("the app `{}` is paused; nothing was run", app.slug);
            return Err(Problem::new(Kind::AppPaused, detail).retry_after(PAUSED_RETRY_S));
        }
        self.rates.app(app.id, app.rate_limit)
    }

    async fn run(&self, incoming: &Incoming, target: Target, body: Body) -> Result<Reply, Problem> {
        let parts = &incoming.parts;
        let key = idempotency::key(&parts.method, &parts.headers)?;
        let when = When { mode: target.mode, retry: target.retry };
        let limit = match when.mode {
            Mode::Sync => target.program.limits.max_request_bytes,
            Mode::Async => target.program.limits.max_request_bytes.min(later::MAX_BODY_BYTES),
        };
        let patience = self.plane.settings.body_read_timeout;
        let body = body::read(&parts.headers, body, limit, patience, &self.bodies).await?;
        let Some(key) = key else {
            let call = call(incoming, target, body);
            return begin(&*self.plane.invoker, &self.plane.public_url, when, call).await.1;
        };
        let run_by = target.route.map_or_else(|| target.program.script.to_string(), |route| route.to_string());
        let scope = idempotency::scope(target.app, &run_by, &target.principal, &parts.headers, key);
        let fingerprint = idempotency::fingerprint(&parts.method, &parts.uri, &body);
        self.run_once(scope, fingerprint, when, call(incoming, target, body)).await
    }

    /// Runs a call unless it was run before. In a task of its own: a client that goes away must not leave a claim behind.
    async fn run_once(
        &self,
        scope: [u8; 32],
        fingerprint: [u8; 32],
        when: When,
        mut call: Call,
    ) -> Result<Reply, Problem> {
        let outcomes = Arc::clone(&self.plane.outcomes);
        let (invoker, public_url) = (Arc::clone(&self.plane.invoker), Arc::clone(&self.plane.public_url));
        let task = tokio::spawn(async move {
            let claim = match outcomes.begin(call.program.app, scope, fingerprint).await? {
                Begin::Fresh(claim) => claim,
                Begin::Done(first) => return idempotency::repeat(first),
                Begin::InFlight => return Err(idempotency::in_flight()),
                Begin::Mismatch => return Err(idempotency::mismatch()),
            };
            call.idempotency = Some(claim.clone());
            let (is_kept, reply) = begin(&*invoker, &public_url, when, call).await;
            if !is_kept {
                outcomes.release(claim).await;
            }
            reply
        });
        task.await.unwrap_or_else(|panicked| Err(Problem::internal(&panicked)))
    }
}

/// Whether a caller waits, and how patiently else.
#[derive(Clone, Copy)]
struct When {
    mode: Mode,
    retry: RetryPolicy,
}

/// Runs a call, or has it run later; says whether the answer stays under an idempotency key.
async fn begin(invoker: &dyn Invoker, public_url: &str, when: When, call: Call) -> (bool, Result<Reply, Problem>) {
    let invocation = call.invocation;
    match when.mode {
        Mode::Sync => {
            let end = invoker.invoke(call).await;
            (outcome::is_kept(&end), outcome::reply(invocation, end))
        }
        Mode::Async => {
            let owed = later::owed(call, when.retry, public_url);
            let answer = owed.answer.clone();
            let end = invoker.enqueue(owed).await;
            let reply = end.map(|()| Reply { invocation: None, answer, is_repeated: false });
            (reply.is_ok(), reply.map_err(|why| outcome::not_run(invocation, &why)))
        }
    }
}

fn script_paused(program: &Program) -> Problem {
    let detail = format!("the script `{}` is paused; nothing was run", program.name);
    Problem::new(Kind::ScriptPaused, detail).retry_after(PAUSED_RETRY_S)
}

/// One of the platform's own pages.
fn own(incoming: &Incoming, page: impl FnOnce() -> Response) -> Result<Response, Problem> {
    only_get(&incoming.parts.method, "GET, HEAD")?;
    Ok(page())
}

/// Refuses what wants to change something where there are pages to read; `allow` is what may be asked.
pub(crate) fn only_get(method: &Method, allow: &'static str) -> Result<(), Problem> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let detail = format!("{method} is not answered here: GET is");
    Err(Problem::new(Kind::MethodNotAllowed, detail).allow(allow))
}

/// `OPTIONS` where no route names it: what there is, and for whom.
fn options(app: &App, host: &str, path: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    let allow = app.routes.methods_for(host, path);
    if allow.is_empty() {
        return Err(nothing_here(path));
    }
    let Some(wanted) = cors::preflight(headers) else { return Ok(cors::nothing(&allow)) };
    match app.routes.find(host, wanted, path) {
        Find::Found(found) => Ok(cors::permit(found.route.definition.cors.as_ref(), headers, &allow)),
        Find::MethodNotAllowed { .. } | Find::NotFound => Ok(cors::nothing(&allow)),
    }
}

fn unknown_host(host: &str) -> Problem {
    let detail = format!("no app answers for the host `{host}`; claim it for one, or ask for another");
    Problem::new(Kind::UnknownHost, detail).field("host").with("host", host)
}

fn method_not_allowed(method: &Method, path: &str, allow: &Allow) -> Problem {
    let detail = format!("no route answers {} {}: {allow} are answered", short(method.as_str()), short(path));
    Problem::new(Kind::MethodNotAllowed, detail).allow(allow)
}

fn nothing_here(path: &str) -> Problem {
    Problem::new(Kind::NotFound, format!("no route answers the path {}", short(path)))
}

/// What a client sent, short enough to be told back.
fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(200)]
}
