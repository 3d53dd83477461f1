//! Every way a call can fail, as the client is told.

use axum::body::Body;
use bytes::Bytes;
use futures::{FutureExt, stream};
use http::Request;
use picloud_core::{
    event::{
        FailureReason,
        route::{Mode, RateLimit},
    },
    run::Unavailable,
};
use std::{io, time::Duration};

use crate::fixture::{World, answer, failed, world};

async fn summary(world: World) -> String {
    world.get("/a").await.summary()
}

#[tokio::test]
async fn each_failure_of_a_run_has_its_status_and_type() {
    let mut told = Vec::new();
    for (reason, limit) in [
        (FailureReason::Threw, None),
        (FailureReason::KvNotANumber, None),
        (FailureReason::Forbidden, None),
        (FailureReason::BadInput, None),
        (FailureReason::BadResponse, None),
        (FailureReason::TimedOut, Some("timeout_ms")),
        (FailureReason::OverOperations, Some("max_operations")),
        (FailureReason::OverMemory, Some("max_memory_bytes")),
        (FailureReason::OverLimit, Some("max_reads")),
        (FailureReason::Conflict, None),
        (FailureReason::Cancelled, None),
        (FailureReason::Abandoned, None),
    ] {
        let world = world(&["GET /a"]).runs(move |_| failed(reason, "what the run says", limit));
        let reply = world.get("/a").await;
        let problem = reply.problem();
        assert_eq!(problem["limit"].as_str(), limit);
        assert_eq!((&problem["line"], &problem["column"]), (&3.into(), &7.into()));
        assert_eq!(reply.header("x-picloud-invocation"), Some(&*world.the_call().invocation.to_string()));
        told.push(format!("{} retry-after={:?}", reply.summary(), reply.header("retry-after")));
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[tokio::test]
async fn a_run_that_never_began_says_so_and_when_to_try_again() {
    let mut told = Vec::new();
    for unavailable in [Unavailable::Busy, Unavailable::ShuttingDown, Unavailable::Log] {
        let reply = world(&["GET /a"]).runs(move |_| Err(unavailable.clone())).get("/a").await;
        told.push(format!("{} retry-after={:?}", reply.summary(), reply.header("retry-after")));
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[tokio::test]
async fn what_cannot_be_sent_is_a_malformed_response() {
    for (status, name, value) in
        [(101, "a", "b"), (42, "a", "b"), (700, "a", "b"), (200, "a b", "c"), (200, "a", "b\r\nc: d")]
    {
        let reply = world(&["GET /a"]).runs(move |_| answer(status, &[(name, value)], "x")).get("/a").await;
        assert_eq!(reply.problem()["type"], "/problems/bad-response", "{status} {name} {value}");
        assert_eq!(reply.status.as_u16(), 502);
    }
}

#[tokio::test]
async fn nobody_there_is_told_by_host_path_and_method() {
    let world = world(&["GET /a", "POST /b/:c"]);
    let host = world.ask(Request::get("/a").header("host", "Elsewhere.test:80"), Body::empty()).await;
    insta::assert_json_snapshot!(host.problem());
    assert_eq!(
        world.ask(Request::get("/a").header("host", "shops.test"), Body::empty()).await.problem()["type"],
        "/problems/unknown-host"
    );
    let method = world.get("/b/1").await;
    assert_eq!(method.header("allow"), Some("OPTIONS, POST"));
    assert_eq!(
        method.summary(),
        "405 /problems/method-not-allowed: no route answers GET /b/1: OPTIONS, POST are answered"
    );
    assert_eq!(world.get("/b").await.summary(), "404 /problems/not-found: no route answers the path /b");
}

#[tokio::test]
async fn a_host_that_is_none_or_two_is_a_bad_request() {
    let world = world(&["GET /a"]);
    for host in ["a b", "", "[::1", "user@shop.test"] {
        let reply = world.ask(Request::get("/a").header("host", host), Body::empty()).await;
        assert_eq!(
            reply.summary(),
            "400 /problems/bad-request: the Host header is not a host name or an address",
            "{host}"
        );
    }
    let two = Request::get("/a").header("host", "shop.test").header("host", "other.test");
    let reply = world.ask(two, Body::empty()).await;
    assert_eq!(reply.summary(), "400 /problems/bad-request: there is more than one Host header; send one");
}

#[tokio::test]
async fn routes_that_cannot_run_now_are_503() {
    let mut paused = world(&["GET /a"]);
    paused.is_paused = true;
    let reply = paused.get("/a").await;
    assert_eq!(reply.summary(), "503 /problems/app-paused: the app `shop` is paused; nothing was run");
    assert_eq!(reply.header("retry-after"), Some("30"));

    let mut paused = world(&["GET /a"]).route("POST /later", |route| route.mode = Mode::Async);
    paused.is_script_paused = true;
    let reply = paused.get("/a").await;
    assert_eq!(reply.summary(), "503 /problems/script-paused: the script `greet` is paused; nothing was run");
    assert_eq!(reply.header("retry-after"), Some("30"));
    // Nobody waits for this one: it is run when the script goes on.
    assert_eq!(paused.ask(Request::post("/later"), "{}").await.status, 202);
    assert_eq!(paused.ran(), 0);

    let mut bare = world(&["GET /a"]);
    bare.is_deployed = false;
    assert_eq!(
        summary(bare).await,
        "503 /problems/no-active-version: this route's script has no active version; activate one"
    );
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let mut world = world(&["POST /a"]);
    world.limits.max_request_bytes = 10;
    let exactly = world.ask(Request::post("/a"), "0123456789").await;
    assert_eq!(exactly.text(), "ran");
    assert_eq!(&world.the_call().request.body[..], b"0123456789");

    let announced = world.ask(Request::post("/a").header("content-length", "11"), "01234567890").await;
    insta::assert_json_snapshot!(announced.problem());
    let pieces = stream::iter(["01234", "56789", "0"]).map_ok_bytes();
    let streamed = world.ask(Request::post("/a"), Body::from_stream(pieces)).await;
    assert_eq!((streamed.status.as_u16(), streamed.problem()), (413, announced.problem()));
    assert_eq!(world.ran(), 1);
}

#[tokio::test]
async fn a_body_in_pieces_arrives_whole() {
    let world = world(&["POST /a"]);
    let pieces = stream::iter(["one ", "", "two ", "three"]).map_ok_bytes();
    assert_eq!(world.ask(Request::post("/a"), Body::from_stream(pieces)).await.text(), "ran");
    assert_eq!(&world.the_call().request.body[..], b"one two three");
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let mut world = world(&["POST /a"]);
    world.settings.body_read_timeout = Duration::from_millis(20);
    let stuck = futures::StreamExt::chain(stream::iter(["half"]).map_ok_bytes(), stream::pending());
    let reply = world.ask(Request::post("/a"), Body::from_stream(stuck)).await;
    assert_eq!(
        reply.summary(),
        "408 /problems/request-timeout: \
         the body did not come in time: 4 bytes did, and the script was not run; try again"
    );
    let broken = futures::StreamExt::chain(
        stream::iter(["half"]).map_ok_bytes(),
        stream::iter([Err(io::Error::other("reset"))]),
    );
    let reply = world.ask(Request::post("/a"), Body::from_stream(broken)).await;
    assert_eq!((reply.status.as_u16(), reply.problem()["type"].as_str()), (400, Some("/problems/bad-request")));
    assert_eq!(world.ran(), 0);
}

#[tokio::test]
async fn bodies_that_would_take_more_memory_than_there_is_are_refused_until_others_have_ended() {
    let (go_on, _) = tokio::sync::broadcast::channel::<()>(1);
    let may = go_on.clone();
    let mut world = world(&["POST /a"]).runs_async(move |call| {
        let mut going_on = may.subscribe();
        async move {
            going_on.recv().await.expect("the test goes on");
            // Held to the end of the run, not of the request.
            answer(200, &[("x-length", &call.request.body.len().to_string())], "ran")
        }
        .boxed()
    });
    world.settings.body_memory_bytes = 128 << 10;
    let router = world.router();
    let post = |length: usize| {
        let body = stream::iter((0..length >> 10).map(|_| Ok::<_, io::Error>(Bytes::from(vec![b'x'; 1 << 10]))));
        let request = Request::post("/a").header("host", "shop.test").body(Body::from_stream(body));
        let router = router.clone();
        tokio::spawn(async move { crate::fixture::ask(router, request.expect("a request")).await })
    };
    let first = post(100 << 10);
    while world.ran() < 1 {
        tokio::task::yield_now().await;
    }
    // 112 of 128 KiB are taken: what comes unannounced has its room doubled, and each body has 16 for nothing.
    let refused = post(64 << 10).await.expect("no panic");
    assert_eq!(
        refused.summary(),
        "503 /problems/queue-full: the requests of this node hold as much memory as they may; \
         nothing was run, try again shortly"
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    // All that is left: what the refused one had by then was given back.
    let small = post(32 << 10);
    while world.ran() < 2 {
        tokio::task::yield_now().await;
    }
    go_on.send(()).expect("both listen");
    assert_eq!(first.await.expect("no panic").header("x-length"), Some("102400"));
    assert_eq!(small.await.expect("no panic").header("x-length"), Some("32768"));

    // What was held is there again, once nobody holds the bodies any more.
    world.calls.lock().expect("no test panics with it").clear();
    let last = post(100 << 10);
    while world.ran() < 1 {
        tokio::task::yield_now().await;
    }
    go_on.send(()).expect("it listens");
    assert_eq!(last.await.expect("no panic").text(), "ran");
}

#[tokio::test]
async fn calls_over_a_routes_rate_are_told_when_to_come_back() {
    let slow = |route: &mut picloud_core::event::route::Definition| {
        route.rate_limit = Some(RateLimit { per_second: 1, burst: 2 });
    };
    let world = world(&["GET /b"]).route("GET /a", slow);
    let router = world.router();
    let ask = |path: &str| {
        let request = Request::get(path).header("host", "shop.test").body(Body::empty()).expect("a request");
        crate::fixture::ask(router.clone(), request)
    };
    assert_eq!((ask("/a").await.text(), ask("/a").await.text()), ("ran", "ran"));
    let refused = ask("/a").await;
    assert_eq!(
        refused.summary(),
        "429 /problems/rate-limited: this route may be called 1 times a second; try again in 1 s"
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(ask("/b").await.text(), "ran");
}

trait Pieces: Sized {
    fn map_ok_bytes(self) -> impl futures::Stream<Item = io::Result<Bytes>> + Send + 'static;
}

impl<S: futures::Stream<Item = &'static str> + Send + 'static> Pieces for S {
    fn map_ok_bytes(self) -> impl futures::Stream<Item = io::Result<Bytes>> + Send + 'static {
        futures::StreamExt::map(self, |piece| Ok(Bytes::from_static(piece.as_bytes())))
    }
}
