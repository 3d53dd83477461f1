//! Calls that are answered before they run.

use http::Request;
use picloud_core::{capability::Capability, event::route::Mode, run::InvocationType};
use serde_json::Value;

use crate::fixture::{World, world};

fn shop() -> World {
    world(&[]).route("POST /orders/:id", |route| route.mode = Mode::Async)
}

/// Sends an order; the path of its status.
async fn ordered(world: &World, request: http::request::Builder) -> String {
    let reply = world.ask(request, r#"{"item":1}"#).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    let told: Value = serde_json::from_str(reply.text()).expect("JSON");
    assert_eq!(reply.header("x-picloud-outbox"), told["outbox_id"].as_str());
    assert_eq!(reply.header("x-picloud-invocation"), None, "there is no run yet");
    assert!(told["accepted_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{told}");
    let url = told["status_url"].as_str().expect("a URL");
    assert_eq!(reply.header("location"), Some(url));
    url.strip_prefix("https://pi.test").expect("where it is reached").to_owned()
}

#[tokio::test]
async fn a_call_of_an_asynchronous_route_is_put_off_and_answered_at_once() {
    let world = shop();
    ordered(&world, Request::post("/orders/7?x=1")).await;
    assert_eq!(world.ran(), 0);
    let owed = world.owed.lock().expect("no test panics with it");
    let [owed] = &owed[..] else { panic!("{owed:?}") };
    let call = &owed.call;
    assert_eq!((call.kind, &*call.request.body), (InvocationType::AsyncHttp, &br#"{"item":1}"#[..]));
    assert_eq!(call.request.params, [("id".to_owned(), "7".to_owned())]);
    assert!(call.route.is_some());
}

#[tokio::test]
async fn what_became_of_it_is_told_to_its_caller_and_who_holds_its_token() {
    let world =
        shop().key("pic_mine", &[Capability::AppInvoke], None).key("pic_another", &[Capability::AppInvoke], None);
    let status = ordered(&world, Request::post("/orders/7").header("authorization", "Bearer pic_mine")).await;
    let (path, _) = status.split_once('?').expect("a token");

    let told = world.get(&status).await;
    assert_eq!((told.status.as_u16(), told.header("cache-control")), (200, Some("no-store")));
    let told: Value = serde_json::from_str(told.text()).expect("JSON");
    assert_eq!(
        (&told["state"], &told["attempts"], &told["last_error"]),
        (&"waiting".into(), &1.into(), &"boom".into())
    );
    let asked = async |path: &str, key: &str| {
        world.ask(Request::get(path).header("authorization", format!("Bearer {key}")), "").await.status.as_u16()
    };
    assert_eq!(asked(path, "pic_mine").await, 200);
    // All others learn nothing, not even that it is there.
    assert_eq!(asked(path, "pic_another").await, 404);
    let unknown = "/api/v1/outbox/out_01JB3Q8Z5K7M9N1P3R5T7V9X10";
    let wrong = format!("{path}?token=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    for path in [path, &wrong, &format!("{path}?token="), unknown, "/api/v1/outbox/x", "/api/v1/outbox/"] {
        let reply = world.get(path).await;
        assert_eq!(reply.status, 404, "{path}: {}", reply.text());
        assert!(reply.text().contains("there is no such call"), "{path}: {}", reply.text());
    }
    assert_eq!(world.ask(Request::post(&status), "").await.status, 405);
}

#[tokio::test]
async fn a_body_that_would_lie_in_the_log_is_bounded() {
    let mut world = shop();
    world.limits.max_request_bytes = 32 << 20;
    let reply = world.ask(Request::post("/orders/7"), vec![b'x'; (2 << 20) + 1]).await;
    assert_eq!(reply.status, 413, "{}", reply.text());
    assert!(world.owed.lock().expect("no test panics with it").is_empty());
}
