use serde_json::{Value, json};
use sqlx::PgPool;

use crate::fixture::{World, each, text};

const ROUTES: &str = "/api/v1/admin/apps/default/routes";

async fn world(pool: PgPool) -> World {
    let world = World::start(pool).await;
    let scripts = "/api/v1/admin/apps/default/scripts";
    world.owner.post(scripts, json!({ "name": "greet", "source": "1" })).await.is(201);
    world.owner.post(scripts, json!({ "name": "lib", "kind": "module", "source": "fn a() {}" })).await.is(201);
    world
}

#[sqlx::test(migrations = "../migrations")]
async fn a_route_is_bound_changed_and_unbound(pool: PgPool) {
    let world = world(pool).await;
    let bound = world.owner.post(ROUTES, json!({ "method": "get", "path": "/a", "script": "greet" })).await.is(201);
    assert_eq!((&bound["method"], &bound["script_name"]), (&json!("GET"), &json!("greet")));
    let path = format!("{ROUTES}/{}", text(&bound["id"]));
    assert_eq!(world.owner.get(&path).await.is(200), bound);
    let changed = json!({ "method": "GET", "path": "/b", "script": "greet", "record": "none", "rate_limit": { "per_second": 5 } });
    let changed = world.owner.put(&path, changed).await.is(200);
    assert_eq!((&changed["path"], &changed["record"]), (&json!("/b"), &json!("none")));
    assert_eq!(each(&world.owner.get(ROUTES).await.is(200), "path"), ["/b"]);
    world.owner.delete(&path).await.is(204);
    world.owner.get(&path).await.problem(404);
    world.owner.put(&path, json!({ "path": "/b", "script": "greet" })).await.problem(404);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_pattern_that_cannot_be_names_the_character(pool: PgPool) {
    let world = world(pool).await;
    let route = |path: &str| json!({ "path": path, "script": "greet" });
    let detail = world.owner.post(ROUTES, route("/a b")).await.problem(422);
    assert!(detail.contains("` ` at position 3"), "{detail}");
    for reserved in ["/healthz", "/api/v1/execute/x", "/realtime/*"] {
        assert!(world.owner.post(ROUTES, route(reserved)).await.problem(422).contains("the platform itself"));
    }
    let patience = |mode: &str, max_attempts: u16| json!({ "path": "/a", "script": "greet", "mode": mode, "retry": { "max_attempts": max_attempts } });
    assert!(world.owner.post(ROUTES, patience("sync", 3)).await.problem(422).contains("waits for its answer"));
    let refused = world.owner.post(ROUTES, patience("async", 101)).await;
    assert_eq!(refused.problem(422), "`max_attempts` is 101: 1 to 100 are allowed");
    assert_eq!(refused.json()["field"], "retry.max_attempts");
    let module = json!({ "path": "/a", "script": "lib" });
    assert!(world.owner.post(ROUTES, module).await.problem(422).contains("is a module"));
    let cors = json!({ "path": "/a", "script": "greet", "cors": { "origins": ["*"], "credentials": true } });
    assert_eq!(world.owner.post(ROUTES, cors).await.json()["field"], "cors");
    let rate = json!({ "path": "/a", "script": "greet", "rate_limit": { "per_second": 0 } });
    world.owner.post(ROUTES, rate).await.problem(422);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn two_that_rank_equal_cannot_be_beside_each_other(pool: PgPool) {
    let world = world(pool).await;
    let first = world.owner.post(ROUTES, json!({ "path": "/u/:id", "script": "greet" })).await.is(201);
    let refused = world.owner.post(ROUTES, json!({ "path": "/u/:name", "script": "greet" })).await;
    let detail = refused.problem(409);
    assert!(detail.contains("`ANY /u/:id`") && detail.contains(&text(&first["id"])), "{detail}");
    assert_eq!(refused.json()["route"], first["id"]);

    let checked = world.owner.post(&format!("{ROUTES}/check"), json!({ "path": "/u/:name" })).await.is(200);
    assert_eq!(checked["conflicts"][0]["id"], first["id"]);
    let fine =
        world.owner.post(&format!("{ROUTES}/check"), json!({ "method": "GET", "path": "/u/:name" })).await.is(200);
    assert_eq!(fine["conflicts"], json!([]));
    world.owner.post(&format!("{ROUTES}/check"), json!({ "path": "u" })).await.problem(422);

    // A route is not in its own way.
    let path = format!("{ROUTES}/{}", text(&first["id"]));
    world.owner.put(&path, json!({ "path": "/u/:name", "script": "greet" })).await.is(200);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn of_two_conflicting_routes_bound_at_once_on_two_nodes_one_is_there(pool: PgPool) {
    let world = world(pool).await;
    let other = world.another().await;
    let (mine, theirs) = (world.owner.clone(), other.owner.clone());
    let (one, two) = tokio::join!(
        mine.post(ROUTES, json!({ "path": "/u/:id", "script": "greet" })),
        theirs.post(ROUTES, json!({ "path": "/u/:name", "script": "greet" })),
    );
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    other.stop().await;
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn the_preview_says_which_route_answers_and_why_not_the_others(pool: PgPool) {
    let world = world(pool).await;
    for (method, path) in [("GET", "/u/:id"), ("POST", "/u/:id"), ("ANY", "/*")] {
        world.owner.post(ROUTES, json!({ "method": method, "path": path, "script": "greet" })).await.is(201);
    }
    let ask = |method: &str, host: &str, path: &str| json!({ "method": method, "host": host, "path": path });
    let preview = format!("{ROUTES}/match");
    let found = world.owner.post(&preview, ask("get", "localhost:8080", "/u/a%20b?x=1")).await.is(200);
    assert_eq!((&found["route"]["method"], &found["route"]["path"]), (&json!("GET"), &json!("/u/:id")));
    assert_eq!(found["params"], json!([["id", "a b"]]));
    assert_eq!(found["host_leads_here"], true);
    let why = |found: &Value| {
        let others = found["others"].as_array().expect("others").iter();
        let mut why: Vec<String> =
            others.map(|near| format!("{}: {}", text(&near["pattern"]), text(&near["why_not"]))).collect();
        why.sort();
        why
    };
    assert_eq!(
        why(&found),
        ["ANY /*: it matches, but `GET /u/:id` is more specific", "POST /u/:id: the method is not POST"]
    );
    let elsewhere = world.owner.post(&preview, ask("GET", "elsewhere.test", "/u/1/2")).await.is(200);
    assert_eq!((&elsewhere["host_leads_here"], &elsewhere["rest"]), (&json!(false), &json!("u/1/2")));
    world.owner.post(&preview, ask("GET", "a b", "/")).await.problem(422);
    world.stop().await;
}
