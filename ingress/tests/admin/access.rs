use chrono::{TimeDelta, Utc};
use http::Method;
use picloud_core::capability::Capability;
use picloud_ingress::admin::{self, AdminPlane, ENDPOINTS, Requires, Urls};
use serde_json::json;
use sqlx::PgPool;

use crate::fixture::{Client, World, each, text};

/// Paths of all endpoints, their names filled in with what may or may not be there.
pub(crate) fn paths(app: &str) -> impl Iterator<Item = (Method, String, Requires)> {
    let filled = move |path: &str| {
        path.replace("{app}", app)
            .replace("{script}", "greet")
            .replace("{route}", "rte_01ARZ3NDEKTSV4RRFFQ69G5FAV")
            .replace("{domain}", "shop.test")
            .replace("{invocation}", "inv_01ARZ3NDEKTSV4RRFFQ69G5FAV")
            .replace("{version}", "1")
            .replace("{collection}", "carts")
            .replace("{account}", "nobody@example.com")
            .replace(['{', '}'], "")
    };
    ENDPOINTS
        .iter()
        .map(move |endpoint| (endpoint.method.parse().expect("a method"), filled(endpoint.path), endpoint.requires))
}

async fn ask(client: &Client, method: &Method, path: &str) -> crate::fixture::Reply {
    // A body that every endpoint would read; those without one ignore it.
    client.ask(method.clone(), path, Some(json!({}))).await
}

#[sqlx::test(migrations = "../migrations")]
async fn nothing_is_answered_without_a_good_key(pool: PgPool) {
    let world = World::start(pool).await;
    let nobody = Client { key: None, ..world.owner.clone() };
    let stranger = Client { key: Some(format!("pic_{}", "A".repeat(43))), ..world.owner.clone() };
    for (method, path, requires) in paths("default") {
        if requires == Requires::Nothing {
            continue;
        }
        for client in [&nobody, &stranger] {
            let refused = ask(client, &method, &path).await;
            refused.problem(401);
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"), "{method} {path}");
        }
    }
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn another_apps_objects_are_not_there_by_any_path(pool: PgPool) {
    let world = World::start(pool).await;
    let (mine, other) = (world.app("mine").await, world.app("other").await);
    let deploy = json!({ "hosts": ["shop.test"], "scripts": [
        { "name": "greet", "source": "1", "routes": [{ "path": "/greet" }] }
    ]});
    world.owner.post("/api/v1/admin/apps/other/deploy", deploy).await.is(200);
    // Everything there is, but bound to another app.
    let scopes: Vec<Capability> = Capability::ALL.iter().copied().filter(|c| !c.is_instance()).collect();
    let bound = world.key(&scopes, Some("mine")).await;
    for named in ["other".to_owned(), other.to_string(), "nothing".to_owned()] {
        for (method, path, requires) in paths(&named) {
            if matches!(requires, Requires::App(_) | Requires::Deploy) {
                let detail = ask(&bound, &method, &path).await.problem(404);
                assert_eq!(detail, format!("there is no app `{named}` that you may see"), "{method} {path}");
            }
        }
    }
    // Its own app is there, and of the instance it sees nothing else.
    bound.get("/api/v1/admin/apps/mine").await.is(200);
    assert_eq!(each(&bound.get("/api/v1/admin/apps").await.is(200), "id"), [mine.to_string()]);
    assert_eq!(bound.get("/api/v1/admin/instance").await.is(200)["apps"], 1);

    // The other app's objects, by their ids, through the path of an app that is seen.
    let routes = world.owner.get("/api/v1/admin/apps/other/routes").await.is(200);
    let (route, script) = (each(&routes, "id")[0].clone(), each(&routes, "script")[0].clone());
    let domains = world.owner.get("/api/v1/admin/apps/other/domains").await.is(200);
    let domain = each(&domains, "id")[0].clone();
    let version = text(&world.owner.get("/api/v1/admin/apps/other/scripts/greet").await.is(200)["active"]["version"]);
    for client in [&bound, &world.owner] {
        client.get(&format!("/api/v1/admin/apps/mine/routes/{route}")).await.problem(404);
        client.delete(&format!("/api/v1/admin/apps/mine/routes/{route}")).await.problem(404);
        client.delete(&format!("/api/v1/admin/apps/mine/domains/{domain}")).await.problem(404);
        client.get(&format!("/api/v1/admin/apps/mine/scripts/{script}")).await.problem(404);
        client.delete(&format!("/api/v1/admin/apps/mine/scripts/{script}")).await.problem(404);
        client.get(&format!("/api/v1/admin/apps/mine/scripts/{script}/versions/{version}")).await.problem(404);
        client.post(&format!("/api/v1/admin/apps/mine/scripts/{script}/invoke"), json!({})).await.problem(404);
        let route = json!({ "path": "/x", "script": script });
        client.post("/api/v1/admin/apps/mine/routes", route).await.problem(422);
    }
    world.owner.get(&format!("/api/v1/admin/apps/other/routes/{route}")).await.is(200);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_seen_but_not_allowed_names_the_capability(pool: PgPool) {
    let world = World::start(pool).await;
    // Sees the app, may do nothing with it that the API has.
    let poor = world.key(&[Capability::AppEmailSend], None).await;
    for (method, path, requires) in paths("default") {
        let capability = match requires {
            Requires::Nothing | Requires::Principal => continue,
            Requires::Instance(capability) | Requires::App(capability) => capability,
            Requires::Deploy => Capability::AppWriteScript,
        };
        // Its body is read first there, and the app is looked up after.
        let refused = match requires {
            Requires::Deploy => poor.post(&path, json!({ "scripts": [] })).await,
            _ => ask(&poor, &method, &path).await,
        };
        let detail = refused.problem(403);
        assert!(detail.contains(capability.as_str()), "{method} {path}: {detail}");
        assert_eq!(refused.json()["capability"], capability.as_str());
    }
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_key_gives_no_more_than_its_maker_has(pool: PgPool) {
    let world = World::start(pool).await;
    let keys = "/api/v1/admin/api_keys";
    let maker = world.key(&[Capability::InstanceManageAccounts, Capability::AppRead], None).await;
    maker.post(keys, json!({ "name": "more", "scopes": ["AppKvRead"] })).await.problem(403);
    maker.post(keys, json!({ "name": "more", "scopes": ["InstanceReadLog"] })).await.problem(403);
    let minted = maker.post(keys, json!({ "name": "same", "scopes": ["AppRead"], "app": "default" })).await;
    assert!(text(&minted.is(201)["key"]).starts_with("pic_"));

    let owner = &world.owner;
    let slip = owner.post(keys, json!({ "name": "slip", "scopes": ["AppKvRaed"] })).await.problem(422);
    assert!(slip.contains("did you mean `AppKvRead`?"), "{slip}");
    owner.post(keys, json!({ "name": "", "scopes": ["AppRead"] })).await.problem(422);
    owner.post(keys, json!({ "name": "none", "scopes": [] })).await.problem(422);
    let bound = json!({ "name": "x", "scopes": ["InstanceReadLog"], "app": "default" });
    owner.post(keys, bound).await.problem(422);
    let past = json!({ "name": "x", "scopes": ["AppRead"], "expires_at": Utc::now() - TimeDelta::seconds(1) });
    owner.post(keys, past).await.problem(422);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_key_is_shown_once_and_never_stored(pool: PgPool) {
    let world = World::start(pool).await;
    let keys = "/api/v1/admin/api_keys";
    let minted = world.owner.post(keys, json!({ "name": "ci", "scopes": ["AppRead"] })).await.is(201);
    let (id, secret) = (text(&minted["id"]), text(&minted["key"]));
    let client = Client { key: Some(secret.clone()), ..world.owner.clone() };
    client.get("/api/v1/admin/apps/default").await.is(200);

    let listed = world.owner.get(keys).await.is(200).to_string();
    assert!(listed.contains(&id) && !listed.contains(&secret), "{listed}");
    let events = world.owner.get("/api/v1/admin/events").await.is(200).to_string();
    assert!(events.contains(&id) && !events.contains(&secret[12..]), "{events}");
    let logged: Vec<String> =
        sqlx::query_scalar("select e::text from log.events e").fetch_all(&world.plane.pool).await.expect("events");
    assert!(!logged.is_empty() && logged.iter().all(|event| !event.contains(&secret[12..])));

    world.owner.delete(&format!("{keys}/{id}")).await.is(204);
    client.get("/api/v1/admin/apps/default").await.problem(401);
    world.owner.delete(&format!("{keys}/{id}")).await.problem(404);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn when_a_key_was_last_used_outlives_the_node(pool: PgPool) {
    let world = World::start(pool).await;
    let key = world.key(&[Capability::AppRead], None).await;
    let last_use = async |world: &World| {
        let keys = world.owner.get("/api/v1/admin/api_keys").await.is(200);
        let mine = keys["items"].as_array().expect("keys").iter().find(|one| one["name"] == "a key").cloned();
        mine.expect("the key")["used_at"].clone()
    };
    assert!(last_use(&world).await.is_null());
    key.get("/api/v1/admin/apps").await.is(200);
    let noted = last_use(&world).await;
    assert!(noted.is_string());
    let other = world.another().await;
    assert!(last_use(&other).await.is_null(), "another node hears of it once it is written");
    world.plane.auth.key_uses.flush().await;
    assert_eq!(text(&last_use(&other).await), text(&noted));
    other.stop().await;
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn browsers_stay_on_https_where_both_planes_are(pool: PgPool) {
    let world = World::start(pool).await;
    for (public, admin, is_told) in [
        ("https://pi.example", "https://admin.pi.example", true),
        ("http://pi.example", "https://admin.pi.example", false),
        ("https://pi.example", "http://pi.example:8081", false),
    ] {
        let urls = Urls { public: public.to_owned(), admin: admin.to_owned() };
        let router = admin::router(AdminPlane { urls, ..world.plane.clone() });
        let reply = Client { router, key: None }.get("/version").await;
        let told = reply.header("strict-transport-security");
        assert_eq!(told, is_told.then_some("max-age=31536000"), "{public} {admin}");
    }
    world.stop().await;
}
