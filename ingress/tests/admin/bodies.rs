use axum::body::Body;
use http::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::fixture::World;

const SCRIPTS: &str = "/api/v1/admin/apps/default/scripts";

async fn send(world: &World, content_type: Option<&str>, body: &str) -> crate::fixture::Reply {
    let mut request = world.owner.request(Method::POST, SCRIPTS);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    world.owner.send(request.body(Body::from(body.to_owned())).expect("a request")).await
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_not_understood_is_refused_with_its_name_and_place(pool: PgPool) {
    let world = World::start(pool).await;

    let unknown = world.owner.post(SCRIPTS, json!({ "name": "a", "sorce": "1" })).await;
    let detail = unknown.problem(422);
    assert!(detail.contains("unknown field `sorce`") && detail.contains("did you mean `source`?"), "{detail}");
    assert_eq!(unknown.json()["field"], "sorce");

    let limits = json!({ "name": "a", "source": "1", "limits": { "timeout": 1 } });
    let detail = world.owner.post(SCRIPTS, limits).await.problem(422);
    assert!(detail.contains("did you mean `timeout_ms`?"), "{detail}");

    let missing = world.owner.post(SCRIPTS, json!({ "name": "a" })).await;
    missing.problem(422);
    assert_eq!(missing.json()["field"], "source");

    let syntax = send(&world, Some("application/json"), "{\n  \"name\": oh\n}").await;
    let detail = syntax.problem(400);
    assert!(detail.contains("line 2, column"), "{detail}");
    assert_eq!(syntax.json()["line"], 2);

    let cut = send(&world, Some("application/json; charset=utf-8"), "{\"name\": \"a\"").await;
    assert_eq!(cut.json()["line"], 1);
    cut.problem(400);

    let form = send(&world, Some("application/x-www-form-urlencoded"), "name=a").await;
    assert!(form.problem(415).contains("x-www-form-urlencoded"));
    send(&world, None, "{}").await.problem(415);

    let query = world.owner.get("/api/v1/admin/apps?limt=1").await;
    assert!(query.problem(422).contains("did you mean `limit`?"));
    world.owner.get("/api/v1/admin/apps?limit=0").await.problem(422);
    world.owner.get("/api/v1/admin/apps?cursor=!").await.problem(422);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn paths_and_methods_that_are_not_there_are_problems_too(pool: PgPool) {
    let world = World::start(pool).await;
    world.owner.get("/api/v1/admin/nothing").await.problem(404);
    assert!(world.owner.get("/api/v1/admin/apps/").await.problem(404).contains("slash"));
    let wrong = world.owner.put("/api/v1/admin/apps", json!({})).await;
    wrong.problem(405);
    let allow = wrong.header("allow").expect("allow");
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    world.owner.get("/api/v1/admin/apps/%ff").await.problem(400);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn the_node_tells_how_it_is(pool: PgPool) {
    let world = World::start(pool).await;
    assert_eq!(world.owner.get("/healthz").await.body, "ok");
    assert_eq!(world.owner.get("/readyz").await.is(200)["degraded"], json!(["a disk is nearly full"]));
    assert_eq!(world.owner.get("/version").await.is(200)["product"], "1.2.3");
    let instance = world.owner.get("/api/v1/admin/instance").await.is(200);
    assert_eq!(instance["public_url"], "http://127.0.0.1:8080");
    assert_eq!(instance["admin_url"], "http://127.0.0.1:8081");
    assert_eq!(instance["apps"], 1);
    assert_eq!(instance["degraded"], json!(["a disk is nearly full"]));
    assert_eq!(instance["node"], Value::from(world.plane.node.epoch().to_string()));
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_path_that_is_no_text_is_a_problem_everywhere(pool: PgPool) {
    let world = World::start(pool).await;
    for path in ["apps/%ff", "apps/default/kv/%ff", "accounts/%ff"] {
        let detail = world.owner.get(&format!("/api/v1/admin/{path}")).await.problem(400);
        assert!(detail.contains("UTF-8"), "{detail}");
    }
    world.owner.delete("/api/v1/admin/api_keys/%ff").await.problem(400);
    world.owner.get("/setup/%ff").await.problem(400);
    world.stop().await;
}
