//! Over real sockets: slow, rude and broken clients, and stopping.

use std::{
    net::SocketAddr,
    panic,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::Router;
use futures::FutureExt;
use picloud_ingress::proxies::TrustedProxies;
use picloud_ingress::server::{ServerLimits, serve};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::fixture::{answer, world};

/// Longer than anything here may take; a test that waits for it has failed.
const FOREVER: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start(router: Router, limits: ServerLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let served = serve(listener, router, limits, TrustedProxies::default(), stop.clone());
        let serving = tokio::spawn(async { served.await.expect("the listener works") });
        Self { address, stop, serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("the server listens")
    }

    /// Sends bytes and reads until the server closes the connection.
    async fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The server may have had enough before it has heard all.
        let _ = stream.write_all(bytes).await;
        read_all(&mut stream).await
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(FOREVER, self.serving).await.expect("the server stops").expect("it does not panic");
    }
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    // A reset after what was said ends it as well as a close does.
    let _ = timeout(FOREVER, stream.read_to_end(&mut said)).await.expect("the server closes the connection");
    String::from_utf8_lossy(&said).into_owned()
}

fn impatient() -> ServerLimits {
    ServerLimits { header_read_timeout: Duration::from_millis(50), ..ServerLimits::default() }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn a_request_over_a_socket_knows_its_clients_address() {
    let world = world(&["GET /a"]);
    let server = Server::start(world.router(), ServerLimits::default()).await;
    let said = server.say(&get("/a")).await;
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("\r\n\r\nran"), "{said}");
    assert_eq!(world.the_call().actor.address.as_deref(), Some("127.0.0.1"));
    server.stop().await;
}

#[tokio::test]
async fn whoever_asks_for_nothing_or_never_ends_asking_is_cut_off() {
    let server = Server::start(world(&["GET /a"]).router(), impatient()).await;
    for bytes in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM", "GET /a HT", "GET /a HTTP/1.1\r\nhost: shop.test\r\n"] {
        let said = server.say(bytes.as_bytes()).await;
        assert!(!said.contains("200 OK"), "{bytes:?} was answered {said:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_told_so_over_the_wire() {
    let mut world = world(&["POST /a"]);
    world.settings.body_read_timeout = Duration::from_millis(50);
    let server = Server::start(world.router(), ServerLimits::default()).await;
    let said = server.say(b"POST /a HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 9\r\n\r\nhalf").await;
    assert!(said.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{said}");
    assert!(said.contains(r#""type":"/problems/request-timeout""#), "{said}");
    server.stop().await;
}

#[tokio::test]
async fn too_many_or_too_large_headers_are_refused() {
    let server = Server::start(world(&["GET /a"]).router(), ServerLimits::default()).await;
    let ask = |headers: String| format!("GET /a HTTP/1.1\r\nhost: shop.test\r\n{headers}\r\n").into_bytes();
    let many = (0..200).map(|number| format!("x-{number}: 1\r\n")).collect();
    let said = server.say(&ask(many)).await;
    assert!(said.starts_with("HTTP/1.1 431 "), "{said}");
    // What the server no longer reads may turn its close into a reset, which takes the answer with it.
    let said = server.say(&ask(format!("x-large: {}\r\n", "x".repeat(100_000)))).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431 "), "{said}");
    server.stop().await;
}

#[tokio::test]
async fn stopping_accepts_nothing_new_and_lets_what_began_end() {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begin, wait) = (Arc::clone(&begun), Arc::clone(&go));
    let world = world(&["GET /a"]).runs_async(move |_| {
        let (begin, wait) = (Arc::clone(&begin), Arc::clone(&wait));
        async move {
            begin.notify_one();
            wait.notified().await;
            answer(200, &[], "ended")
        }
        .boxed()
    });
    let server = Server::start(world.router(), ServerLimits::default()).await;
    let (mut busy, mut idle) = (server.connect().await, server.connect().await);
    busy.write_all(b"GET /a HTTP/1.1\r\nhost: shop.test\r\n\r\n").await.expect("sent");
    begun.notified().await;
    server.stop.cancel();
    // The idle one is closed at once, which tells that the stop was heard and the listener is gone.
    assert_eq!(read_all(&mut idle).await, "");
    assert!(TcpStream::connect(server.address).await.is_err());
    go.notify_one();
    let said = read_all(&mut busy).await;
    assert!(said.ends_with("\r\n\r\nended"), "{said}");
    server.stop().await;
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut_off() {
    let begun = Arc::new(Notify::new());
    let begin = Arc::clone(&begun);
    let world = world(&["GET /a"]).runs_async(move |_| {
        begin.notify_one();
        futures::future::pending().boxed()
    });
    let limits = ServerLimits { drain_timeout: Duration::from_millis(50), ..ServerLimits::default() };
    let server = Server::start(world.router(), limits).await;
    let mut stuck = server.connect().await;
    stuck.write_all(b"GET /a HTTP/1.1\r\nhost: shop.test\r\n\r\n").await.expect("sent");
    begun.notified().await;
    server.stop().await;
    assert_eq!(read_all(&mut stuck).await, "");
}

#[tokio::test]
async fn a_connection_over_the_limit_waits_for_one_to_end() {
    let limits = ServerLimits { max_connections: 1, ..ServerLimits::default() };
    let server = Server::start(world(&["GET /a"]).router(), limits).await;
    let mut first = server.connect().await;
    first.write_all(b"GET /a HTTP/1.1\r\nhost: shop.test\r\n\r\n").await.expect("sent");
    let mut head = [0; 15];
    first.read_exact(&mut head).await.expect("answered");
    let request = get("/a");
    let mut second = Box::pin(server.say(&request));
    let early = timeout(Duration::from_millis(50), &mut second).await;
    assert!(early.is_err(), "answered while the first is open");
    drop(first);
    assert!(second.await.starts_with("HTTP/1.1 200 OK"));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_its_outcome_behind() {
    let (begun, go, kept) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let world = world(&["POST /a"]);
    let outcomes = Arc::clone(&world.outcomes);
    let (begin, wait, keep) = (Arc::clone(&begun), Arc::clone(&go), Arc::clone(&kept));
    let world = world.runs_async(move |call| {
        let (outcomes, begin, wait, keep) = (outcomes.clone(), begin.clone(), wait.clone(), keep.clone());
        async move {
            begin.notify_one();
            wait.notified().await;
            outcomes.keep(&call, 200, Some("done"));
            keep.notify_one();
            answer(200, &[], "done")
        }
        .boxed()
    });
    let server = Server::start(world.router(), ServerLimits::default()).await;
    let request =
        b"POST /a HTTP/1.1\r\nhost: shop.test\r\nidempotency-key: k\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let mut gone = server.connect().await;
    gone.write_all(request).await.expect("sent");
    begun.notified().await;
    drop(gone);
    go.notify_one();
    timeout(FOREVER, kept.notified()).await.expect("the run ends without its client");
    let said = server.say(request).await;
    assert!(said.contains("idempotency-replayed: true") && said.ends_with("\r\n\r\ndone"), "{said}");
    assert_eq!(world.ran(), 1);
    server.stop().await;
}

/// Anything from noise to nearly a request.
fn rude() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..60);
    let name = prop::sample::select(vec![
        "host",
        "cookie",
        "authorization",
        "content-length",
        "transfer-encoding",
        "content-type",
        "connection",
        "idempotency-key",
        "origin",
        "access-control-request-method",
        "expect",
        "x",
    ]);
    let method = prop::sample::select(vec!["GET", "POST", "HEAD", "OPTIONS", "CONNECT", "PRI", "x"]);
    let target = prop_oneof![
        prop::sample::select(vec!["/a", "/u/%ff%2F%", "/api/v1/execute/%00", "*", "http://shop.test/a", "/f//../%2e"])
            .prop_map(|target| target.as_bytes().to_vec()),
        bytes(),
    ];
    let nearly = (method, target, prop::collection::vec((name, bytes()), 0..6), bytes()).prop_map(
        |(method, target, headers, body)| {
            let mut all = [method.as_bytes(), b" ", &target, b" HTTP/1.1\r\nhost: shop.test\r\n"].concat();
            for (name, value) in headers {
                all.extend([name.as_bytes(), b": ", &value, b"\r\n"].concat());
            }
            all.extend([b"\r\n".as_slice(), &body].concat());
            all
        },
    );
    let second_version = bytes().prop_map(|noise| [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &noise].concat());
    prop_oneof![1 => bytes(), 6 => nearly, 1 => second_version]
}

#[test]
fn whatever_is_sent_is_answered_or_cut_off_and_nothing_panics() {
    let panics = Arc::new(AtomicUsize::new(0));
    let (counted, usual) = (Arc::clone(&panics), panic::take_hook());
    panic::set_hook(Box::new(move |info| {
        counted.fetch_add(1, Ordering::Relaxed);
        usual(info);
    }));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let world = world(&["ANY /a", "ANY /u/:id", "ANY /f/*", "OPTIONS /a"]);
    let server = runtime.block_on(Server::start(world.router(), impatient()));
    let outcome = TestRunner::new(Config::with_cases(300)).run(&rude(), |bytes| {
        let (said, healthy) = runtime.block_on(async {
            let mut stream = server.connect().await;
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            (read_all(&mut stream).await, server.say(&get("/healthz")).await)
        });
        let is_second_version = bytes.starts_with(b"PRI ");
        prop_assert!(said.is_empty() || said.starts_with("HTTP/1.") || is_second_version, "{}", said);
        prop_assert!(healthy.ends_with("\r\n\r\nok"), "{}", healthy);
        prop_assert_eq!(panics.load(Ordering::Relaxed), 0);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    runtime.block_on(server.stop());
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut() {
    struct Told(Arc<Notify>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let gone = Arc::new(Notify::new());
    let told = Arc::clone(&gone);
    let endless = move || {
        let told = Told(Arc::clone(&told));
        let pieces = futures::stream::repeat_with(move || {
            let _ = &told;
            Ok::<_, std::convert::Infallible>(bytes::Bytes::from_static(&[0; 64 * 1024]))
        });
        async { axum::body::Body::from_stream(pieces) }
    };
    let limits = ServerLimits { stalled_timeout: Duration::from_secs(1), ..ServerLimits::default() };
    let server = Server::start(Router::new().route("/", axum::routing::get(endless)), limits).await;
    let mut client = server.connect().await;
    client.write_all(&get("/")).await.expect("sent");
    timeout(Duration::from_secs(20), gone.notified()).await.expect("the answer is given up");
    drop(client);
    server.stop().await;
}
