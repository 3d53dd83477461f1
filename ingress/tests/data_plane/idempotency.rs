//! The same request again.

use std::sync::Arc;

use axum::body::Body;
use futures::FutureExt;
use http::Request;
use picloud_core::event::FailureReason;
use tokio::sync::Notify;

use crate::fixture::{Reply, World, answer, failed, world};

async fn post(world: &World, key: &str, body: &'static str) -> Reply {
    world.ask(Request::post("/a").header("idempotency-key", key), body).await
}

/// A world that keeps what it answers.
fn keeping(status: u16, body: Option<&'static str>) -> World {
    let world = world(&["POST /a", "PUT /a", "GET /a", "POST /b"]);
    let outcomes = Arc::clone(&world.outcomes);
    world.runs(move |call| {
        if call.idempotency.is_some() {
            outcomes.keep(&call, status, body);
        }
        answer(status, &[("x-made", "once")], body.unwrap_or("large"))
    })
}

#[tokio::test]
async fn the_first_outcome_is_returned_and_nothing_runs_again() {
    let world = keeping(201, Some("made"));
    let first = post(&world, "k", "{}").await;
    let second = post(&world, "k", "{}").await;
    for reply in [&first, &second] {
        assert_eq!((reply.status.as_u16(), reply.text(), reply.header("x-made")), (201, "made", Some("once")));
    }
    assert_eq!((first.header("idempotency-replayed"), second.header("idempotency-replayed")), (None, Some("true")));
    assert_eq!(first.header("x-picloud-invocation"), second.header("x-picloud-invocation"));
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    assert_eq!(world.ran(), 1);
}

#[tokio::test]
async fn another_request_under_the_key_is_refused() {
    let world = keeping(201, Some("made"));
    post(&world, "k", "{}").await;
    let told = post(&world, "k", "{ }").await;
    assert_eq!(
        told.summary(),
        "422 /problems/idempotency-mismatch: this Idempotency-Key was used for another request (method, path, query \
         or body differ): use a new key"
    );
    let query = world.ask(Request::post("/a?x").header("idempotency-key", "k"), "{}").await;
    assert_eq!(query.problem()["type"], "/problems/idempotency-mismatch");
    assert_eq!(world.ran(), 1);
}

#[tokio::test]
async fn a_key_is_good_for_one_route_and_one_caller() {
    let world = keeping(201, Some("made")).key("pic_one", &[], None);
    let with =
        |path: &str, name: &str, value: &str| Request::post(path).header("idempotency-key", "k").header(name, value);
    for request in [
        with("/a", "x-none", ""),
        with("/b", "x-none", ""),
        with("/a", "authorization", "Bearer theirs"),
        with("/a", "authorization", "Bearer pic_one"),
        with("/a", "cookie", "user=2"),
        Request::put("/a").header("idempotency-key", "k"),
    ] {
        assert_eq!(world.ask(request, "{}").await.header("idempotency-replayed"), None);
    }
    assert_eq!(world.ran(), 6);
    // The platform's own cookie says nothing about the script's callers.
    let again = world.ask(with("/a", "cookie", "user=2; picloud_session=x"), "{}").await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
}

#[tokio::test]
async fn while_the_first_runs_the_second_waits_its_turn_elsewhere() {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begin, wait) = (Arc::clone(&begun), Arc::clone(&go));
    let world = world(&["POST /a"]).runs_async(move |_| {
        let (begin, wait) = (Arc::clone(&begin), Arc::clone(&wait));
        async move {
            begin.notify_one();
            wait.notified().await;
            answer(200, &[], "done")
        }
        .boxed()
    });
    let (first, second) = tokio::join!(post(&world, "k", "{}"), async {
        begun.notified().await;
        let second = post(&world, "k", "{}").await;
        go.notify_one();
        second
    });
    assert_eq!(first.text(), "done");
    assert_eq!(
        second.summary(),
        "409 /problems/idempotency-in-flight: \
         the first request under this Idempotency-Key is still running; ask again for its outcome"
    );
    assert_eq!(second.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn a_failure_frees_the_key() {
    for end in [
        || failed(FailureReason::Threw, "no", None),
        || answer(503, &[], "not today"),
        || Err(picloud_core::run::Unavailable::Busy),
        || failed(FailureReason::Conflict, "busy", None),
    ] {
        let world = world(&["POST /a"]).runs(move |_| end());
        let (first, second) = (post(&world, "k", "{}").await, post(&world, "k", "{}").await);
        assert_eq!((first.status, world.ran()), (second.status, 2));
    }
}

#[tokio::test]
async fn an_answer_too_large_to_keep_is_told_as_done() {
    let world = keeping(200, None);
    post(&world, "k", "{}").await;
    let second = post(&world, "k", "{}").await;
    assert_eq!(
        second.summary(),
        "409 /problems/idempotency-not-kept: \
         this request was done and answered 200; the answer was over 1 MiB and is not kept"
    );
}

#[tokio::test]
async fn keys_are_checked_and_reads_need_none() {
    let world = keeping(200, Some("x"));
    let long = "k".repeat(256);
    for (key, detail) in [
        ("", "an Idempotency-Key has 1 to 255 characters"),
        (&long, "an Idempotency-Key has 1 to 255 characters"),
        ("a b", "an Idempotency-Key has visible ASCII characters only, and no blanks"),
        ("é", "an Idempotency-Key has visible ASCII characters only, and no blanks"),
    ] {
        let reply = post(&world, key, "{}").await;
        assert_eq!(reply.summary(), format!("422 /problems/invalid-input: {detail}"));
        assert_eq!(reply.problem()["field"], "idempotency-key");
    }
    assert_eq!(world.ran(), 0);
    for _ in 0..2 {
        let read = world.ask(Request::get("/a").header("idempotency-key", ""), Body::empty()).await;
        assert_eq!(read.status.as_u16(), 200);
    }
    assert!(world.calls.lock().expect("not poisoned").iter().all(|call| call.idempotency.is_none()));
}
