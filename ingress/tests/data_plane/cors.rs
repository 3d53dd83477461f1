//! Pages of other origins.

use axum::body::Body;
use http::{Request, request::Builder};
use picloud_core::event::{
    FailureReason,
    route::{Cors, Definition},
};

use crate::fixture::{Reply, World, answer, failed, world};

const PAGE: &str = "https://page.test";

fn shared(origins: &[&str], credentials: bool) -> impl FnOnce(&mut Definition) {
    let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    let headers = vec!["content-type".to_owned(), "x-mine".to_owned()];
    move |route| route.cors = Some(Cors { origins, headers, credentials, max_age_s: 600 })
}

fn preflight(method: &str, path: &str, origin: &str) -> Builder {
    Request::options(path)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", "x-mine, x-other")
}

async fn told(world: &World, request: Builder) -> (Reply, Vec<String>) {
    let reply = world.ask(request, Body::empty()).await;
    let about = |name: &str| name.starts_with("access-control") || name == "vary" || name == "allow";
    let headers = reply.headers.iter().filter(|(name, _)| about(name.as_str()));
    let lines = headers.map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
    (reply, lines)
}

#[tokio::test]
async fn a_preflight_is_answered_for_the_routes_origins_only() {
    let world = world(&["GET /b"]).route("PUT /a", shared(&[PAGE], true));
    let (reply, lines) = told(&world, preflight("PUT", "/a", PAGE)).await;
    assert_eq!((reply.status.as_u16(), reply.text()), (204, ""));
    insta::assert_snapshot!(lines.join("\n"), @r"
    allow: OPTIONS, PUT
    vary: origin
    access-control-allow-origin: https://page.test
    access-control-expose-headers: x-request-id, x-picloud-invocation, retry-after
    access-control-allow-credentials: true
    access-control-allow-methods: OPTIONS, PUT
    access-control-allow-headers: content-type, x-mine
    access-control-max-age: 600
    ");
    let (reply, lines) = told(&world, preflight("PUT", "/a", "https://other.test")).await;
    assert_eq!(
        (reply.status.as_u16(), lines),
        (204, vec!["allow: OPTIONS, PUT".to_owned(), "vary: origin".to_owned()])
    );
    let (reply, lines) = told(&world, preflight("GET", "/b", PAGE)).await;
    assert_eq!((reply.status.as_u16(), lines), (204, vec!["allow: GET, HEAD, OPTIONS".to_owned()]));
    assert_eq!(told(&world, preflight("GET", "/c", PAGE)).await.0.status.as_u16(), 404);
    assert_eq!(world.ran(), 0);
}

#[tokio::test]
async fn an_answer_may_be_read_by_the_routes_origins_and_the_script_has_no_say() {
    let world = world(&[])
        .route("GET /a", shared(&[PAGE], false))
        .route("GET /any", shared(&["*"], false))
        .route("GET /none", |_| {})
        .runs(|_| answer(200, &[("access-control-allow-origin", "https://evil.test")], "ran"));
    let from = |path: &str, origin: &str| Request::get(path).header("origin", origin);
    let allowed =
        async |request| told(&world, request).await.0.header("access-control-allow-origin").map(str::to_owned);
    assert_eq!(allowed(from("/a", PAGE)).await.as_deref(), Some(PAGE));
    assert_eq!(allowed(from("/a", "https://evil.test")).await, None);
    assert_eq!(allowed(from("/any", PAGE)).await.as_deref(), Some("*"));
    // Without a rule on the route the script speaks for itself.
    assert_eq!(allowed(from("/none", PAGE)).await.as_deref(), Some("https://evil.test"));
    assert_eq!(told(&world, Request::get("/a")).await.0.header("vary"), Some("origin"));
}

#[tokio::test]
async fn problems_may_be_read_too_and_a_star_with_credentials_is_nobody() {
    let world = world(&[])
        .route("GET /a", shared(&[PAGE], true))
        .route("GET /star", shared(&["*"], true))
        .runs(|_| failed(FailureReason::Threw, "no", None));
    let (reply, _) = told(&world, Request::get("/a").header("origin", PAGE)).await;
    assert_eq!(reply.problem()["type"], "/problems/script-threw");
    assert_eq!(reply.header("access-control-allow-origin"), Some(PAGE));
    assert_eq!(reply.header("access-control-allow-credentials"), Some("true"));
    let (reply, _) = told(&world, Request::get("/star").header("origin", PAGE)).await;
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn a_route_that_names_options_answers_preflights_itself() {
    let world = world(&["OPTIONS /a"]).route("PUT /a", shared(&[PAGE], false));
    let (reply, _) = told(&world, preflight("PUT", "/a", PAGE)).await;
    assert_eq!(reply.text(), "ran");
}
