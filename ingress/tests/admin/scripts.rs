use futures::future::join_all;
use picloud_core::{
    capability::{Capabilities, Capability},
    run::Rights,
};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::fixture::{World, each, text};

const SCRIPTS: &str = "/api/v1/admin/apps/default/scripts";

#[sqlx::test(migrations = "../migrations")]
async fn every_new_source_is_a_version_and_the_same_one_is_none(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = &world.owner;
    let made = owner.post(SCRIPTS, json!({ "name": "greet", "source": "1 // hmm" })).await.is(201);
    assert_eq!((&made["active"]["number"], &made["kind"]), (&json!(1), &json!("endpoint")));
    assert_eq!(made["diagnostics"][0]["severity"], "warning");
    assert_eq!(owner.get(&format!("{SCRIPTS}/greet")).await.is(200)["active"]["source"], "1 // hmm");

    let versions = format!("{SCRIPTS}/greet/versions");
    let same = owner.post(&versions, json!({ "source": "1 // hmm" })).await.is(200);
    assert_eq!((&same["outcome"], &same["version"]["number"]), (&json!("unchanged"), &json!(1)));

    let second = owner.post(&versions, json!({ "source": "2", "message": "two" })).await.is(201);
    assert_eq!((&second["outcome"], &second["version"]["number"]), (&json!("deployed"), &json!(2)));
    let waiting = owner.post(&versions, json!({ "source": "3", "activate": false })).await.is(201);
    assert_eq!(waiting["version"]["is_active"], false);
    assert_eq!(owner.get(&format!("{SCRIPTS}/greet")).await.is(200)["active"]["number"], 2);

    // The newest source again, this time to run: no fourth version.
    let third = owner.post(&versions, json!({ "source": "3" })).await.is(200);
    assert_eq!((&third["outcome"], &third["version"]["number"]), (&json!("activated"), &json!(3)));

    let listed = owner.get(&format!("{versions}?limit=2")).await.is(200);
    let numbers =
        |page: &Value| page["items"].as_array().expect("items").iter().map(|v| v["number"].clone()).collect::<Vec<_>>();
    assert_eq!(numbers(&listed), [3, 2]);
    let rest = owner.get(&format!("{versions}?limit=2&cursor={}", text(&listed["cursor"]))).await.is(200);
    assert_eq!(numbers(&rest), [1]);
    assert_eq!(rest["cursor"], Value::Null);

    let back = owner.post(&format!("{SCRIPTS}/greet/activate"), json!({ "version": 1 })).await.is(200);
    assert_eq!(back["active"]["number"], 1);
    let by_id = json!({ "version": second["version"]["id"] });
    assert_eq!(owner.post(&format!("{SCRIPTS}/greet/activate"), by_id).await.is(200)["active"]["number"], 2);
    owner.post(&format!("{SCRIPTS}/greet/activate"), json!({ "version": 9 })).await.problem(404);
    assert_eq!(owner.get(&format!("{versions}/2")).await.is(200)["message"], "two");
    assert!(owner.post(SCRIPTS, json!({ "name": "greet", "source": "x" })).await.problem(409).contains("versions"));
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn versions_posted_at_once_on_two_nodes_are_numbered_without_gap(pool: PgPool) {
    let world = World::start(pool).await;
    world.owner.post(SCRIPTS, json!({ "name": "greet", "source": "0" })).await.is(201);
    let other = world.another().await;
    let posts = (1..=6).map(|n| {
        let client = if n % 2 == 0 { world.owner.clone() } else { other.owner.clone() };
        async move {
            let source = json!({ "source": format!("{n}") });
            client.post(&format!("{SCRIPTS}/greet/versions"), source).await.is(201)["version"]["number"].clone()
        }
    });
    let mut numbers: Vec<u64> = join_all(posts).await.iter().filter_map(Value::as_u64).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3, 4, 5, 6, 7]);
    other.stop().await;
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_source_with_errors_is_refused_and_nothing_is_stored(pool: PgPool) {
    let world = World::start(pool).await;
    let before = world.plane.reader.head().await.expect("a head");
    let refused = world.owner.post(SCRIPTS, json!({ "name": "greet", "source": "let a;\n oops" })).await;
    let detail = refused.problem(422);
    assert_eq!(detail, "the script `greet` has an error in line 2, column 2: `oops` is not known");
    let diagnostic =
        json!({ "script": "greet", "severity": "error", "line": 2, "column": 2, "message": "`oops` is not known" });
    assert_eq!(refused.json()["diagnostics"], json!([diagnostic]));
    assert_eq!(world.plane.reader.head().await.expect("a head"), before);

    let validated = world.owner.post(&format!("{SCRIPTS}/validate"), json!({ "source": "oops" })).await.is(200);
    assert_eq!(validated["diagnostics"][0]["line"], 1);
    let fine = world.owner.post(&format!("{SCRIPTS}/validate"), json!({ "source": "1" })).await.is(200);
    assert_eq!(fine, json!({ "diagnostics": [] }));

    let greedy = json!({ "name": "greet", "source": "1", "limits": { "timeout_ms": 300_001 } });
    let refused = world.owner.post(SCRIPTS, greedy).await;
    assert_eq!(refused.problem(422), "limit `timeout_ms` is 300001: allowed is 1 to 300000");
    assert_eq!(refused.json()["field"], "limits.timeout_ms");
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_script_with_routes_stays(pool: PgPool) {
    let world = World::start(pool).await;
    world.owner.post(SCRIPTS, json!({ "name": "greet", "source": "1" })).await.is(201);
    let routes = "/api/v1/admin/apps/default/routes";
    let route = world.owner.post(routes, json!({ "path": "/greet", "script": "greet" })).await.is(201);
    let refused = world.owner.delete(&format!("{SCRIPTS}/greet")).await;
    assert!(refused.problem(409).contains(&text(&route["id"])));
    world.owner.delete(&format!("{routes}/{}", text(&route["id"]))).await.is(204);
    world.owner.delete(&format!("{SCRIPTS}/greet")).await.is(204);
    world.owner.get(&format!("{SCRIPTS}/greet")).await.problem(404);
    assert!(each(&world.owner.get(SCRIPTS).await.is(200), "name").is_empty());
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_script_is_tried_out_with_a_request_of_ones_own(pool: PgPool) {
    let world = World::start(pool).await;
    world.owner.post(SCRIPTS, json!({ "name": "greet", "source": "1" })).await.is(201);
    let invoke = format!("{SCRIPTS}/greet/invoke");
    let input =
        json!({ "path": "/%C3%A4", "query": { "q": ["1", "2"] }, "headers": { "X-One": "1" }, "body": { "n": 1 } });
    let outcome = world.owner.post(&invoke, input).await.is(200);
    let answer = &outcome["answer"];
    assert_eq!(answer["status"], 200);
    assert_eq!(
        answer["body"],
        json!({ "method": "POST", "path": "/ä", "query": [["q", "1"], ["q", "2"]], "body": "{\"n\":1}", "version": 1 })
    );
    assert_eq!(outcome.get("error"), None);
    assert_eq!((&outcome["duration_us"], &outcome["operations"]), (&json!(5), &json!(7)));
    let call = world.calls.lock().expect("no test panics with it")[0].clone();
    assert_eq!(call.invocation.to_string(), text(&outcome["invocation"]));
    let header = |name: &str| call.request.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    assert_eq!((header("x-one"), header("content-type")), (Some("1"), Some("application/json")));
    assert_eq!(call.actor.address.as_deref(), Some("203.0.113.9"));
    assert_eq!(call.request.host, "127.0.0.1");
    assert!(call.rights.has_principal() && call.rights.allows(Capability::AppKvWrite), "{:?}", call.rights);
    let invoker = world.key(&[Capability::AppInvoke], Some("default")).await;
    world.calls.lock().expect("no test panics with it").clear();
    invoker.post(&invoke, json!({})).await.is(200);
    let call = world.calls.lock().expect("no test panics with it")[0].clone();
    assert_eq!(call.rights, Rights::Principal(Capabilities::from_iter([Capability::AppInvoke])));

    world.owner.post(&format!("{SCRIPTS}/greet/versions"), json!({ "source": "throw" })).await.is(201);
    let failed = world.owner.post(&invoke, json!({})).await.is(200);
    assert_eq!(failed.get("answer"), None);
    assert_eq!((&failed["error"]["status"], &failed["error"]["line"]), (&json!(500), &json!(2)));
    assert_eq!(failed["error"]["type"], "/problems/script-threw");

    let two = json!({ "body": 1, "body_text": "1" });
    world.owner.post(&invoke, two).await.problem(422);
    world.owner.post(&invoke, json!({ "body_base64": "?" })).await.problem(422);
    world.owner.post(&invoke, json!({ "path": "a" })).await.problem(422);
    world.owner.post(&invoke, json!({ "headers": { "a b": "1" } })).await.problem(422);
    let large = json!({ "body_text": "x".repeat(1 << 21) });
    world.owner.post(&invoke, large).await.problem(413);

    world.owner.post(SCRIPTS, json!({ "name": "idle", "source": "1", "activate": false })).await.is(201);
    assert!(world.owner.post(&format!("{SCRIPTS}/idle/invoke"), json!({})).await.problem(503).contains("activate"));
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_script_and_a_route_are_changed_as_they_were_read_or_not_at_all(pool: PgPool) {
    let world = World::start(pool).await;
    let greet = "/api/v1/admin/apps/default/scripts/greet";
    let script = json!({ "name": "greet", "source": "1" });
    world.owner.post("/api/v1/admin/apps/default/scripts", script).await.is(201);
    let route = json!({ "path": "/greet", "script": "greet" });
    let route = world.owner.post("/api/v1/admin/apps/default/routes", route).await.is(201);
    let route = format!("/api/v1/admin/apps/default/routes/{}", route["id"].as_str().expect("an id"));
    let send = async |method, path: &str, etag: &str, body| world.owner.ask_for(method, path, etag, body).await;
    let version = async |path: &str| world.owner.get(path).await.etag();

    let read = version(greet).await;
    let versions = format!("{greet}/versions");
    send(http::Method::POST, &versions, &read, json!({ "source": "2" })).await.is(201);
    for (method, path, body) in [
        (http::Method::POST, versions.clone(), json!({ "source": "3" })),
        (http::Method::POST, format!("{greet}/activate"), json!({ "version": 1 })),
        (http::Method::DELETE, greet.to_owned(), json!({})),
    ] {
        let stale = send(method, &path, &read, body).await;
        assert_eq!(stale.is(412)["type"], "/problems/precondition-failed", "{path}");
    }
    let read = version(&route).await;
    let body = json!({ "path": "/hello", "script": "greet" });
    send(http::Method::PUT, &route, &read, body.clone()).await.is(200);
    send(http::Method::PUT, &route, &read, json!({ "path": "/x", "script": "greet" })).await.is(412);
    send(http::Method::DELETE, &route, &read, json!({})).await.is(412);
    send(http::Method::DELETE, &route, &version(&route).await, json!({})).await.is(204);
    world.stop().await;
}
