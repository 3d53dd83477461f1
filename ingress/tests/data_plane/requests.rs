//! What of a request reaches a script, and what of its answer reaches the client.

use axum::body::Body;
use http::{HeaderValue, Request, StatusCode};
use picloud_core::{event::ActorKind, run::InvocationType};
use picloud_ingress::health::Readiness;

use crate::fixture::{answer, world};

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_script_gets_the_whole_request_decoded_once() {
    let world = world(&["PUT /users/:id/files/*"]);
    let request = Request::put("/users/a%2520b/files/x%20y/z?q=1%2B1&q=two+words&empty")
        .header("host", "EU.shops.test:8080")
        .header("Content-Type", "application/json")
        .header("x-two", "1")
        .header("x-two", "2");
    let reply = world.ask(request, r#"{"a":1}"#).await;
    assert_eq!((reply.status, reply.text()), (StatusCode::OK, "ran"));

    let call = world.the_call();
    assert_eq!(call.request.method, "PUT");
    assert_eq!(call.request.path, "/users/a%20b/files/x y/z");
    assert_eq!(call.request.host, "eu.shops.test");
    assert_eq!(call.request.params, pairs(&[("id", "a%20b")]));
    assert_eq!(call.request.rest.as_deref(), Some("x y/z"));
    assert_eq!(call.request.query, pairs(&[("q", "1+1"), ("q", "two words"), ("empty", "")]));
    assert_eq!(
        call.request.headers,
        pairs(&[("host", "EU.shops.test:8080"), ("content-type", "application/json"), ("x-two", "1"), ("x-two", "2")])
    );
    assert_eq!(&call.request.body[..], br#"{"a":1}"#);
    assert_eq!((call.kind, call.actor.kind), (InvocationType::Http, ActorKind::Public));
    assert_eq!(reply.header("x-picloud-invocation"), Some(&*call.invocation.to_string()));
    assert_eq!(reply.header("x-request-id").map(str::to_owned), call.request_id.map(|id| id.to_string()));
}

#[tokio::test]
async fn the_platforms_credentials_and_the_connections_headers_stay_out() {
    let world = world(&["GET /a"]);
    let request = Request::get("/a")
        .header("cookie", "theme=dark; __Host-picloud_session=secret; picloud_session=secret")
        .header("cookie", "picloud_session=secret")
        .header("connection", "keep-alive, X-Hop")
        .header("x-hop", "1")
        .header("te", "trailers")
        .header("proxy-authorization", "Basic x")
        .header("authorization", "Bearer theirs")
        .header("x-odd", HeaderValue::from_bytes(b"caf\xe9\xff").expect("opaque bytes"))
        .header("x-request-id", "req_made_up");
    let reply = world.ask(request, Body::empty()).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_ne!(reply.header("x-request-id"), Some("req_made_up"));
    assert_eq!(
        world.the_call().request.headers,
        pairs(&[
            ("cookie", "theme=dark"),
            ("authorization", "Bearer theirs"),
            ("x-odd", "caf\u{fffd}\u{fffd}"),
            ("x-request-id", "req_made_up"),
            ("host", "shop.test"),
        ])
    );
}

#[tokio::test]
async fn an_answer_goes_out_as_it_is_but_for_what_is_the_platforms_to_say() {
    let world = world(&["GET /a"]).runs(|_| {
        let headers = [
            ("content-type", "text/html"),
            ("set-cookie", "a=1; Path=/"),
            ("set-cookie", "b=2"),
            ("set-cookie", "picloud_session=stolen"),
            ("set-cookie", "=__Host-picloud_session=stolen; Path=/"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("x-request-id", "mine"),
            ("x-picloud-invocation", "mine"),
        ];
        answer(418, &headers, "<p>short and stout</p>")
    });
    let reply = world.get("/a").await;
    assert_eq!((reply.status, reply.text()), (StatusCode::IM_A_TEAPOT, "<p>short and stout</p>"));
    let cookies: Vec<_> = reply.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1; Path=/", "b=2"]);
    assert_eq!(reply.header("content-type"), Some("text/html"));
    assert_eq!((reply.header("connection"), reply.header("transfer-encoding")), (None, None));
    assert!(reply.header("x-request-id").is_some_and(|id| id.starts_with("req_")));
    assert!(reply.header("x-picloud-invocation").is_some_and(|id| id.starts_with("inv_")));
}

#[tokio::test]
async fn head_runs_the_get_route_and_tells_the_length_alone() {
    let world = world(&["GET /a"]);
    let reply = world.ask(Request::head("/a"), Body::empty()).await;
    assert_eq!((reply.status, reply.text(), reply.header("content-length")), (StatusCode::OK, "", Some("3")));
    assert_eq!(world.the_call().request.method, "HEAD");
}

#[tokio::test]
async fn an_empty_answer_has_no_body_whatever_the_script_says() {
    let world = world(&["ANY /a"]).runs(|_| answer(204, &[], "not to be sent"));
    let reply = world.get("/a").await;
    assert_eq!((reply.status, reply.text()), (StatusCode::NO_CONTENT, ""));
}

#[tokio::test]
async fn options_tells_the_methods_unless_a_route_names_it() {
    let world = world(&["GET /a", "POST /a", "OPTIONS /b", "GET /b"]);
    let reply = world.ask(Request::options("/a"), Body::empty()).await;
    assert_eq!((reply.status, reply.header("allow")), (StatusCode::NO_CONTENT, Some("GET, HEAD, OPTIONS, POST")));
    assert_eq!(world.ran(), 0);
    let reply = world.ask(Request::options("/b"), Body::empty()).await;
    assert_eq!((reply.status, reply.text()), (StatusCode::OK, "ran"));
    let reply = world.ask(Request::options("/c"), Body::empty()).await;
    assert_eq!(reply.summary(), "404 /problems/not-found: no route answers the path /c");
}

#[tokio::test]
async fn the_platforms_own_pages_are_there_on_any_host() {
    let mut world = world(&["ANY /*"]);
    let health = world.ask(Request::get("/healthz").header("host", "10.0.0.7"), Body::empty()).await;
    assert_eq!((health.status, health.text()), (StatusCode::OK, "ok"));
    assert!(health.header("x-request-id").is_some());
    let version = world.get("/version").await;
    assert_eq!(version.text(), r#"{"product":"1.2.3","sdk":"1","api":"v1","schema":7}"#);

    world.readiness = Readiness { unready: vec![], degraded: vec!["polling".to_owned()] };
    let ready = world.get("/readyz").await;
    assert_eq!((ready.status, ready.text()), (StatusCode::OK, r#"{"degraded":["polling"]}"#));
    world.readiness.unready.push("database away".to_owned());
    let ready = world.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.text(), r#"{"unready":["database away"],"degraded":["polling"]}"#);

    let posted = world.ask(Request::post("/healthz"), Body::empty()).await;
    assert_eq!(posted.summary(), "405 /problems/method-not-allowed: POST is not answered here: GET is");
    assert_eq!(posted.header("allow"), Some("GET, HEAD"));
    assert_eq!(world.get("/realtime/topics/x").await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.ran(), 0);
    assert_eq!(world.get("/api/users").await.status, StatusCode::OK);
}
