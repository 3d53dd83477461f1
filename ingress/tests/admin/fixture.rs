//! A control plane on a database of its own.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body, extract::ConnectInfo};
use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use picloud_core::{
    alert::{Answered, ChannelKind, Courier, NO_MAIL, NoAddress},
    capability::Capability,
    event::FailureReason,
    id::{AppId, InvocationId, ScriptId, SecretId, VersionId},
    keys::{Keyring, MasterKey},
    limits::Limits,
    log::{
        Committer, CommitterConfig, Node, Tail,
        read::{Bound, Reader},
        schema,
    },
    replay::{CannotReplay, Course, Difference, Part, Replay, Replayed, Replayer},
    run::{Answer, Call, Diagnostic, Failure, Finished, Invoker, Owed, Severity, Unavailable},
};
use picloud_ingress::{
    admin::{self, AdminPlane, FirstKey, Urls},
    auth::Auth,
    health::{Health, Readiness, Telemetry, Versions},
};
use picloud_projections::{setup::LiveSetup, travel::PastEntries, views::Keeper};
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Everybody's.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// One node with its control plane, and a client that may do everything.
pub(crate) struct World {
    pub(crate) plane: AdminPlane,
    pub(crate) owner: Client,
    pub(crate) calls: Arc<Mutex<Vec<Call>>>,
    committer: JoinHandle<()>,
    tail: JoinHandle<()>,
    viewing: JoinHandle<()>,
    _master: Arc<tempfile::TempDir>,
}

impl World {
    /// A first start.
    pub(crate) async fn start(pool: PgPool) -> Self {
        let master = Arc::new(tempfile::tempdir().expect("a folder"));
        let mut world = Self::node(pool, master).await;
        let (first, key) = world.first_start().await;
        assert_eq!(first, FirstKey::Minted);
        world.settled().await;
        world.owner.key = key;
        world
    }

    /// What became of the first key, and the key that was kept.
    pub(crate) async fn first_start(&self) -> (FirstKey, Option<String>) {
        let mut kept = None;
        let keep = |key: &str| {
            kept = Some(key.to_owned());
            Ok(())
        };
        let plane = &self.plane;
        let first = admin::first_start(&plane.pool, &plane.committer, &plane.node, keep).await.expect("a first start");
        (first, kept)
    }

    /// Another node on the same database; its client has the same key.
    pub(crate) async fn another(&self) -> Self {
        let mut world = Self::node(self.plane.pool.clone(), Arc::clone(&self._master)).await;
        world.owner.key = self.owner.key.clone();
        world
    }

    async fn node(pool: PgPool, master: Arc<tempfile::TempDir>) -> Self {
        let node = Node::register(&pool, "test", "0").await.expect("a node");
        let (sender, local) = mpsc::unbounded_channel();
        let options = (*pool.connect_options()).clone();
        let (committer, committing) =
            Committer::start(options.clone(), node.epoch(), CommitterConfig::default(), sender, None);
        // The listening connection is held for as long as the tail lives: not one of the few of the test's pool.
        let listen = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
        let (tail, tailing) = Tail::start(pool.clone(), listen, node.epoch(), local).await.expect("a tail");
        let (setup, _) = LiveSetup::start(pool.clone(), &tail).await.expect("a setup");
        let key = MasterKey::load_or_make(&master.path().join("master.key")).expect("a master key");
        let keyring = Keyring::open(key, pool.clone()).await.expect("a keyring");
        let auth = Auth::start(&pool, &keyring, &tail).expect("a thread");
        let reader = Reader::new(pool.clone());
        let (keeper, views) =
            Keeper::new(pool.clone(), (*pool.connect_options()).clone(), tail.clone(), reader.clone());
        let stop = CancellationToken::new();
        let viewing = tokio::spawn(keeper.run(stop.clone()));
        let calls = Arc::<Mutex<Vec<Call>>>::default();
        let plane = AdminPlane {
            setup,
            committer,
            node,
            tail,
            past_entries: PastEntries::new(reader.clone()),
            reader,
            searching: Bound::PAGE,
            views,
            auth,
            keyring,
            history: schema::history(&pool).await.expect("a history"),
            invoker: Arc::new(Scripts { calls: Arc::clone(&calls) }),
            replayer: Arc::new(Scripts { calls: Arc::clone(&calls) }),
            courier: Arc::new(Deaf { sends_mail: true }),
            ceiling: Limits::CEILING,
            urls: Urls { public: "http://127.0.0.1:8080".to_owned(), admin: "http://127.0.0.1:8081".to_owned() },
            versions: Versions { product: "1.2.3", sdk: "1", api: "v1", schema: 4 },
            health: Arc::new(Well),
            telemetry: Arc::new(Well),
            stop,
            pool,
        };
        let owner = Client { router: admin::router(plane.clone()), key: None };
        Self { plane, owner, calls, committer: committing, tail: tailing, viewing, _master: master }
    }

    /// Waits until this node knows all that is configured.
    pub(crate) async fn settled(&self) {
        let head = self.plane.reader.head().await.expect("a head");
        self.plane.tail.reached(head).await;
        let newest = sqlx::query_scalar::<_, i64>("select coalesce(max(position), 0) from log.config")
            .fetch_one(&self.plane.pool)
            .await
            .expect("a position");
        self.plane.setup.reached(picloud_core::log::Position(newest)).await;
    }

    /// A client with a key of its own.
    pub(crate) async fn key(&self, scopes: &[Capability], app: Option<&str>) -> Client {
        let body = json!({ "name": "a key", "scopes": scopes, "app": app });
        let minted = self.owner.post("/api/v1/admin/api_keys", body).await.is(201);
        Client { router: self.owner.router.clone(), key: Some(text(&minted["key"])) }
    }

    /// Makes an account with this role, and signs it in.
    pub(crate) async fn person(&self, email: &str, role: &str) -> Client {
        let account = json!({ "email": email, "role": role, "password": PASSWORD });
        self.owner.post("/api/v1/admin/accounts", account).await.is(201);
        self.sign_in(email).await
    }

    /// A session of an account that [`World::person`] made.
    pub(crate) async fn sign_in(&self, email: &str) -> Client {
        let nobody = Client { key: None, ..self.owner.clone() };
        let given = json!({ "email": email, "password": PASSWORD, "bearer": true });
        let signed_in = nobody.post("/api/v1/admin/session", given).await.is(201);
        Client { key: Some(text(&signed_in["token"])), ..nobody }
    }

    /// Makes an app; answers its id.
    pub(crate) async fn app(&self, slug: &str) -> AppId {
        let made = self.owner.post("/api/v1/admin/apps", json!({ "slug": slug })).await.is(201);
        text(&made["id"]).parse().expect("an id")
    }

    /// Lets go of the database.
    pub(crate) async fn stop(self) {
        self.plane.stop.cancel();
        self.viewing.await.expect("the views end");
        self.plane.committer.close();
        self.committer.await.expect("the committer ends");
        self.tail.await.expect("the tail ends");
    }
}

/// A receiver that does not want to hear of anything.
pub(crate) struct Deaf {
    /// Whether there is a server for mail.
    pub(crate) sends_mail: bool,
}

impl Courier for Deaf {
    fn test(&self, _channel: String, _secret: SecretId) -> BoxFuture<'static, Result<Answered, NoAddress>> {
        let error = Some("it answered 410".to_owned());
        async { Ok(Answered { status: Some(410), error, said: "go away".to_owned(), ..Answered::default() }) }.boxed()
    }

    fn hindrance(&self, kind: ChannelKind) -> Option<&'static str> {
        (kind == ChannelKind::Email && !self.sends_mail).then_some(NO_MAIL)
    }
}

/// Who asks.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) router: Router,
    pub(crate) key: Option<String>,
}

impl Client {
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask(Method::GET, path, None).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.ask(Method::DELETE, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.ask(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Reply {
        self.ask(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Reply {
        self.ask(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let mut request = self.request(method, path);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        self.send(request.body(body.map_or_else(Body::empty, |body| body.to_string().into())).expect("a request")).await
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let address = SocketAddr::from(([203, 0, 113, 9], 4711));
        let request = Request::builder().method(method).uri(path).extension(ConnectInfo(address));
        match &self.key {
            Some(key) => request.header("authorization", format!("Bearer {key}")),
            None => request,
        }
    }

    /// Asks for a version that was read.
    pub(crate) async fn ask_for(&self, method: Method, path: &str, etag: &str, body: Value) -> Reply {
        let request = self.request(method, path).header("if-match", etag).header("content-type", "application/json");
        self.send(request.body(body.to_string().into()).expect("a request")).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let about = format!("{} {}", request.method(), request.uri());
        let response = self.router.clone().oneshot(request).await.expect("a router always answers");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Reply { about, status: parts.status, headers: parts.headers, body }
    }

    /// Asks, and reads the body only of a refusal.
    pub(crate) async fn head_of(&self, method: Method, path: &str) -> Reply {
        let request = self.request(method, path).body(Body::empty()).expect("a request");
        let about = path.to_owned();
        let (parts, body) = self.router.clone().oneshot(request).await.expect("a router always answers").into_parts();
        let body = match parts.status.is_success() {
            true => Bytes::new(),
            false => body.collect().await.expect("a body").to_bytes(),
        };
        Reply { about, status: parts.status, headers: parts.headers, body }
    }

    /// Opens a stream of server-sent events.
    pub(crate) async fn stream(&self, path: &str, last_event_id: Option<&str>) -> Frames {
        let mut request = self.request(Method::GET, path);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let request = request.body(Body::empty()).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("a router always answers");
        assert_eq!(response.status(), StatusCode::OK);
        let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
        assert_eq!(header("content-type"), "text/event-stream");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-accel-buffering"), "no");
        Frames { body: response.into_body(), buffer: String::new() }
    }
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Reply {
    about: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of an answer with this status; null when there is none.
    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}: {}", self.about, String::from_utf8_lossy(&self.body));
        assert!(self.header("x-request-id").is_some_and(|id| id.starts_with("req_")), "{self:?}");
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// The detail of a problem with this status, checked for what all problems have.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> String {
        let problem = self.is(status);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        assert!(text(&problem["type"]).starts_with("/problems/"), "{problem}");
        text(&problem["detail"])
    }

    /// The version that is shown.
    #[track_caller]
    pub(crate) fn etag(&self) -> String {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        self.header("etag").expect("a version").to_owned()
    }

    #[track_caller]
    pub(crate) fn cursor(&self) -> String {
        self.header("x-picloud-cursor").expect("a cursor").to_owned()
    }
}

#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// One of the items' members, of all items.
#[track_caller]
pub(crate) fn each(page: &Value, member: &str) -> Vec<String> {
    page["items"]
        .as_array()
        .unwrap_or_else(|| panic!("no page: {page}"))
        .iter()
        .map(|item| text(&item[member]))
        .collect()
}

/// A stream of server-sent events, read frame by frame.
pub(crate) struct Frames {
    body: Body,
    buffer: String,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) id: Option<String>,
    pub(crate) event: String,
    pub(crate) data: String,
}

impl Frame {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).expect("JSON")
    }
}

impl Frames {
    /// The next frame with an event, comments and `retry` passed over; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            while let Some((frame, rest)) = self.buffer.split_once("\n\n") {
                let (frame, rest) = (frame.to_owned(), rest.to_owned());
                self.buffer = rest;
                let field = |name: &str| {
                    frame.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned)
                };
                if let Some(event) = field("event") {
                    return Some(Frame { id: field("id"), event, data: field("data").expect("data") });
                }
            }
            let frame = self.body.frame().await?.expect("a piece");
            let piece = frame.into_data().expect("data");
            self.buffer += std::str::from_utf8(&piece).expect("text");
        }
    }

    /// The next event, control frames passed over.
    pub(crate) async fn message(&mut self) -> Frame {
        loop {
            let frame = self.next().await.expect("the stream goes on");
            if frame.event == "message" {
                return frame;
            }
        }
    }
}

/// A double of the engine: `throw` in a source fails, `oops` is an error in it, `hmm` a warning; everything else echoes.
struct Scripts {
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Invoker for Scripts {
    fn invoke(&self, call: Call) -> BoxFuture<'static, Result<Finished, Unavailable>> {
        self.calls.lock().expect("no test panics with it").push(call.clone());
        let result = if call.program.source.contains("throw") {
            let message = "it threw (line 2, column 3)".to_owned();
            Err(Failure {
                reason: FailureReason::Threw,
                message,
                line: Some(2),
                column: Some(3),
                limit: None,
                retry: None,
            })
        } else {
            let request = &call.request;
            let said = json!({
                "method": request.method,
                "path": request.path,
                "query": request.query,
                "body": String::from_utf8_lossy(&request.body),
                "version": call.program.number,
            });
            let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
            Ok(Answer { status: 200, headers, body: said.to_string().into() })
        };
        async { Ok(Finished { result, logs: Vec::new(), duration_us: 5, operations: 7 }) }.boxed()
    }

    fn enqueue(&self, _: Owed) -> BoxFuture<'static, Result<(), Unavailable>> {
        async { Err(Unavailable::Busy) }.boxed()
    }

    fn validate(&self, source: &str, _limits: &Limits) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for (word, severity) in [("oops", Severity::Error), ("hmm", Severity::Warning)] {
            for (index, line) in source.lines().enumerate() {
                if let Some(at) = line.find(word) {
                    let message = format!("`{word}` is not known");
                    found.push(Diagnostic { severity, line: index as u32 + 1, column: at as u32 + 1, message });
                }
            }
        }
        found
    }
}

/// A source that says so comes to something else, or is not recorded.
impl Replayer for Scripts {
    fn replay(&self, wanted: Replay) -> BoxFuture<'static, Result<Replayed, CannotReplay>> {
        let source = wanted.candidate.as_ref().map_or("", |candidate| &candidate.program.source);
        let differs = source.contains("other");
        let difference = Difference {
            part: Part::Answer,
            at: "status".to_owned(),
            recorded: Some(json!(200)),
            replayed: Some(json!(201)),
        };
        let replayed = if source.contains("lost") {
            Err(CannotReplay::NotRecorded)
        } else {
            Ok(Replayed {
                invocation: InvocationId::generate(),
                script: ScriptId::generate(),
                version: VersionId::generate(),
                differences: differs.then_some(difference).into_iter().collect(),
                lacking: Vec::new(),
                recorded: Course::default(),
                replayed: Course::default(),
            })
        };
        async { replayed }.boxed()
    }
}

struct Well;

impl Telemetry for Well {
    fn text(&self) -> BoxFuture<'_, String> {
        async { "picloud_ready 1\n".to_owned() }.boxed()
    }
}

impl Health for Well {
    fn readiness(&self) -> Readiness {
        Readiness { unready: Vec::new(), degraded: vec!["a disk is nearly full".to_owned()] }
    }
}
