//! A data plane over fakes of its seams: scripts are closures, keys and outcomes lie in memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body};
use bytes::Bytes;
use chrono::DateTime;
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use picloud_core::{
    capability::Capability,
    event::{FailureReason, route::Definition},
    id::{AccountId, ApiKeyId, AppId, InvocationId, OutboxId, RouteId, ScriptId, VersionId},
    limits::Limits,
    log::IdempotencyClaim,
    policy::{AppRole, InstanceRole, Principal, Rights},
    routing::{HostMap, HostPattern, Pattern, Table},
    run::{Answer, Call, Diagnostic, Failure, Finished, Invoker, Owed, Program, Unavailable},
    trace::Tracer,
};
use picloud_ingress::{
    Problem,
    data_plane::{
        self, Accepted, App, Begin, Catalog, Credentials, DataPlane, Later, Outcomes, Route, Script, Settings,
        Snapshot, Status, StoredOutcome,
    },
    health::{Health, Readiness, Versions},
};
use serde_json::Value;
use tower::ServiceExt;

pub(crate) type End = Result<Finished, Unavailable>;
type Run = Arc<dyn Fn(Call) -> BoxFuture<'static, End> + Send + Sync>;

/// Everything a test may set before it asks.
pub(crate) struct World {
    pub(crate) app: AppId,
    pub(crate) script: ScriptId,
    pub(crate) limits: Limits,
    pub(crate) is_paused: bool,
    pub(crate) is_script_paused: bool,
    pub(crate) settings: Settings,
    pub(crate) readiness: Readiness,
    pub(crate) keys: HashMap<String, Principal>,
    pub(crate) outcomes: Arc<Kept>,
    pub(crate) calls: Arc<Mutex<Vec<Call>>>,
    /// What was put off.
    pub(crate) owed: Arc<Mutex<Vec<Owed>>>,
    pub(crate) routes: Vec<(RouteId, Definition)>,
    pub(crate) is_deployed: bool,
    run: Run,
}

/// A world whose app answers on `shop.test` and `*.shops.test`, by these routes (`GET /path`, `ANY /path`).
pub(crate) fn world(routes: &[&str]) -> World {
    let script = ScriptId::generate();
    let mut world = World {
        app: AppId::generate(),
        script,
        limits: Limits::DEFAULT,
        is_paused: false,
        is_script_paused: false,
        settings: Settings::default(),
        readiness: Readiness::default(),
        keys: HashMap::new(),
        outcomes: Arc::default(),
        calls: Arc::default(),
        owed: Arc::default(),
        routes: Vec::new(),
        is_deployed: true,
        run: Arc::new(|_| async { answer(200, &[("content-type", "text/plain")], "ran") }.boxed()),
    };
    for route in routes {
        world = world.route(route, |_| {});
    }
    world
}

pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &'static str) -> End {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    finished(Ok(Answer { status, headers, body: Bytes::from_static(body.as_bytes()) }))
}

pub(crate) fn failed(reason: FailureReason, message: &str, limit: Option<&'static str>) -> End {
    finished(Err(Failure { reason, message: message.to_owned(), line: Some(3), column: Some(7), limit, retry: None }))
}

fn finished(result: Result<Answer, Failure>) -> End {
    Ok(Finished { result, logs: Vec::new(), duration_us: 1, operations: 1 })
}

impl World {
    pub(crate) fn route(mut self, route: &str, change: impl FnOnce(&mut Definition)) -> Self {
        let (method, path) = route.split_once(' ').expect("method and path");
        let mut definition: Definition =
            serde_json::from_value(serde_json::json!({ "path": path, "script": self.script })).expect("a definition");
        definition.method = Some(method.to_owned()).filter(|method| method != "ANY");
        change(&mut definition);
        self.routes.push((RouteId::generate(), definition));
        self
    }

    pub(crate) fn runs(mut self, run: impl Fn(Call) -> End + Send + Sync + 'static) -> Self {
        self.run = Arc::new(move |call| {
            let end = run(call);
            async { end }.boxed()
        });
        self
    }

    pub(crate) fn runs_async(mut self, run: impl Fn(Call) -> BoxFuture<'static, End> + Send + Sync + 'static) -> Self {
        self.run = Arc::new(run);
        self
    }

    pub(crate) fn key(mut self, secret: &str, scopes: &[Capability], app: Option<AppId>) -> Self {
        let principal = Principal::ApiKey {
            key: ApiKeyId::generate(),
            scopes: scopes.into(),
            app,
            account: None,
            expires_at: None,
        };
        self.keys.insert(secret.to_owned(), principal);
        self
    }

    /// A key with all scopes, of an account that is this on the instance and to the app.
    pub(crate) fn key_of(mut self, secret: &str, role: InstanceRole, on_app: Option<AppRole>) -> Self {
        let rights = Rights { role, apps: on_app.map(|on_app| (self.app, on_app)).into_iter().collect() };
        let principal = Principal::ApiKey {
            key: ApiKeyId::generate(),
            scopes: Capability::ALL.into(),
            app: None,
            account: Some((AccountId::generate(), Arc::new(rights))),
            expires_at: None,
        };
        self.keys.insert(secret.to_owned(), principal);
        self
    }

    pub(crate) fn router(&self) -> Router {
        let fakes = Arc::new(Fakes {
            snapshot: Arc::new(self.snapshot()),
            keys: self.keys.clone(),
            readiness: self.readiness.clone(),
            calls: Arc::clone(&self.calls),
            run: Arc::clone(&self.run),
            owed: Arc::clone(&self.owed),
        });
        data_plane::router(DataPlane {
            catalog: fakes.clone(),
            invoker: fakes.clone(),
            outcomes: self.outcomes.clone(),
            later: fakes.clone(),
            credentials: fakes.clone(),
            health: fakes,
            versions: Versions { product: "1.2.3", sdk: "1", api: "v1", schema: 7 },
            public_url: "https://pi.test".into(),
            settings: self.settings,
            tracer: Tracer::off(),
        })
    }

    fn snapshot(&self) -> Snapshot {
        let program = Arc::new(Program {
            app: self.app,
            app_slug: "shop".into(),
            script: self.script,
            name: "greet".into(),
            version: VersionId::generate(),
            number: 1,
            source: "".into(),
            limits: self.limits,
            env: Arc::default(),
        });
        let routes = self.routes.iter().map(|(id, definition)| {
            let id = *id;
            let pattern = Pattern::try_from(definition).expect("a pattern");
            let program = Some(Arc::clone(&program)).filter(|_| self.is_deployed);
            (
                id,
                pattern,
                Arc::new(Route { id, definition: definition.clone(), program, is_paused: self.is_script_paused }),
            )
        });
        let app = Arc::new(App {
            id: self.app,
            slug: "shop".into(),
            is_paused: self.is_paused,
            rate_limit: None,
            routes: Table::build(routes),
        });
        let mut hosts = HostMap::default();
        for host in ["shop.test", "*.shops.test"] {
            hosts.insert(HostPattern::parse(Some(host)).expect("a host"), Arc::clone(&app));
        }
        Snapshot {
            hosts,
            scripts: HashMap::from([(self.script, Script { app, program, is_paused: self.is_script_paused })]),
        }
    }

    /// Asks `shop.test`.
    pub(crate) async fn ask(&self, request: http::request::Builder, body: impl Into<Body>) -> Reply {
        let mut request = request.body(body.into()).expect("a request");
        request.headers_mut().entry("host").or_insert_with(|| "shop.test".parse().expect("a value"));
        ask(self.router(), request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask(Request::get(path), Body::empty()).await
    }

    /// The only call there was.
    pub(crate) fn the_call(&self) -> Call {
        let calls = self.calls.lock().expect("no test panics with it");
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls[0].clone()
    }

    pub(crate) fn ran(&self) -> usize {
        self.calls.lock().expect("no test panics with it").len()
    }
}

pub(crate) async fn ask(router: Router, request: Request<Body>) -> Reply {
    let response = router.oneshot(request).await.expect("a router always answers");
    Reply::of(response).await
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The problem in it, checked for what all have: ids are cut, for they differ each time.
    #[track_caller]
    pub(crate) fn problem(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let mut problem: Value = serde_json::from_slice(&self.body).expect("JSON");
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        let members = problem.as_object_mut().expect("an object");
        members.shift_remove("request_id");
        let invocation = members.shift_remove("invocation_id");
        assert_eq!(invocation.as_ref().and_then(Value::as_str), self.header("x-picloud-invocation"));
        problem
    }

    /// Type, status and detail on a line.
    #[track_caller]
    pub(crate) fn summary(&self) -> String {
        let problem = self.problem();
        let text = |member: &str| problem[member].as_str().expect(member).to_owned();
        format!("{} {}: {}", self.status.as_u16(), text("type"), text("detail"))
    }
}

struct Fakes {
    snapshot: Arc<Snapshot>,
    keys: HashMap<String, Principal>,
    readiness: Readiness,
    calls: Arc<Mutex<Vec<Call>>>,
    run: Run,
    owed: Arc<Mutex<Vec<Owed>>>,
}

impl Catalog for Fakes {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }
}

impl Credentials for Fakes {
    fn check(&self, bearer: &str) -> Option<Principal> {
        self.keys.get(bearer).cloned()
    }
}

impl Health for Fakes {
    fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }
}

impl Invoker for Fakes {
    fn invoke(&self, call: Call) -> BoxFuture<'static, End> {
        self.calls.lock().expect("no test panics with it").push(call.clone());
        (self.run)(call)
    }

    fn enqueue(&self, owed: Owed) -> BoxFuture<'static, Result<(), Unavailable>> {
        self.owed.lock().expect("no test panics with it").push(owed);
        async { Ok(()) }.boxed()
    }

    fn validate(&self, _source: &str, _limits: &Limits) -> Vec<Diagnostic> {
        Vec::new()
    }
}

impl Later for Fakes {
    fn find(&self, item: OutboxId) -> BoxFuture<'static, Result<Option<Accepted>, Problem>> {
        let owed = self.owed.lock().expect("no test panics with it");
        let found = owed.iter().find(|owed| owed.item == item).map(|owed| Accepted {
            status: Status {
                outbox_id: item,
                state: "waiting".to_owned(),
                accepted_at: DateTime::UNIX_EPOCH,
                attempts: 1,
                last_error: Some("boom".to_owned()),
                next_attempt_at: None,
                ended_at: None,
            },
            actor: owed.call.actor.clone(),
            token_hash: owed.token.map(Into::into),
        });
        async { Ok(found) }.boxed()
    }
}

/// Outcomes in memory. Whoever runs writes them, as the commit of a run does.
#[derive(Default)]
pub(crate) struct Kept(Mutex<HashMap<[u8; 32], Entry>>);

struct Entry {
    fingerprint: [u8; 32],
    claim: IdempotencyClaim,
    outcome: Option<StoredOutcome>,
}

impl Kept {
    pub(crate) fn keep(&self, call: &Call, status: u16, body: Option<&'static str>) {
        let claim = call.idempotency.as_ref().expect("a claim");
        let outcome = StoredOutcome {
            invocation: Some(call.invocation),
            status,
            headers: vec![("x-made".to_owned(), "once".to_owned())],
            body: body.map(|body| Bytes::from_static(body.as_bytes())),
        };
        let mut entries = self.0.lock().expect("no test panics with it");
        entries.get_mut(&claim.scope).expect("claimed").outcome = Some(outcome);
    }
}

impl Outcomes for Kept {
    fn begin(&self, _: AppId, scope: [u8; 32], fingerprint: [u8; 32]) -> BoxFuture<'static, Result<Begin, Problem>> {
        let mut entries = self.0.lock().expect("no test panics with it");
        let begin = match entries.get(&scope) {
            Some(entry) if entry.fingerprint != fingerprint => Begin::Mismatch,
            Some(Entry { outcome: Some(outcome), .. }) => Begin::Done(outcome.clone()),
            Some(_) => Begin::InFlight,
            None => {
                let claim = IdempotencyClaim { scope, claim: InvocationId::generate().uuid() };
                entries.insert(scope, Entry { fingerprint, claim: claim.clone(), outcome: None });
                Begin::Fresh(claim)
            }
        };
        async { Ok(begin) }.boxed()
    }

    fn release(&self, claim: IdempotencyClaim) -> BoxFuture<'static, ()> {
        let mut entries = self.0.lock().expect("no test panics with it");
        assert_eq!(entries.remove(&claim.scope).map(|entry| entry.claim), Some(claim), "only what was claimed");
        async {}.boxed()
    }
}
