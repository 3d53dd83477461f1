use picloud_core::capability::Capability;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::fixture::{Client, World, each};

const SHOP: &str = "/api/v1/admin/apps/shop/http_exceptions";
const BLOG: &str = "/api/v1/admin/apps/blog/http_exceptions";

async fn two_apps(pool: PgPool) -> World {
    let world = World::start(pool).await;
    world.app("shop").await;
    world.app("blog").await;
    world
}

async fn allow(client: &Client, path: &str, target: &str) -> crate::fixture::Reply {
    client.post(path, json!({ "target": target })).await
}

async fn targets(world: &World, path: &str) -> Vec<String> {
    each(&world.owner.get(path).await.is(200), "target")
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_allowed_is_one_apps_until_it_is_taken_away(pool: PgPool) {
    let world = two_apps(pool).await;
    let owner = &world.owner;
    let made = allow(owner, SHOP, "192.168.0.7/24").await.is(201);
    assert_eq!(made["target"], "192.168.0.0/24", "as it is kept");
    allow(owner, SHOP, "NAS.lan:5000").await.is(201);
    allow(owner, SHOP, "nas.lan:5000").await.is(200);
    allow(owner, BLOG, "nas.lan:5000").await.is(201);
    assert_eq!(targets(&world, SHOP).await, ["192.168.0.0/24", "nas.lan:5000"]);
    assert_eq!(targets(&world, BLOG).await, ["nas.lan:5000"]);

    owner.delete(&format!("{SHOP}/Nas.Lan:5000")).await.is(204);
    owner.delete(&format!("{SHOP}/nas.lan:5000")).await.problem(404);
    assert_eq!(targets(&world, SHOP).await, ["192.168.0.0/24"]);
    // Read anew: what one app's event changed of another's rows, this node would not look at.
    let other = world.another().await;
    assert_eq!(targets(&other, SHOP).await, ["192.168.0.0/24"]);
    assert_eq!(targets(&other, BLOG).await, ["nas.lan:5000"], "the other app's own");
    other.stop().await;
    owner.delete(&format!("{SHOP}/192.168.0.0%2F24")).await.is(204);
    assert!(targets(&world, SHOP).await.is_empty());

    let events = owner.get("/api/v1/admin/apps/shop/events?kind=http_exception.removed").await.is(200);
    assert_eq!(each(&events, "subject"), ["http_exception:192.168.0.0/24", "http_exception:nas.lan:5000"]);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn it_is_for_who_manages_the_instance_to_allow_and_for_all_of_the_app_to_see(pool: PgPool) {
    let world = two_apps(pool).await;
    allow(&world.owner, SHOP, "nas.lan").await.is(201);
    let app_admin = world.person("appadmin@example.com", "member").await;
    world
        .owner
        .put("/api/v1/admin/apps/shop/members/appadmin@example.com", json!({ "role": "app_admin" }))
        .await
        .is(201);
    let everything_in_apps: Vec<Capability> =
        Capability::ALL.iter().copied().filter(|capability| !capability.is_instance()).collect();
    let key = world.key(&everything_in_apps, None).await;
    for client in [&app_admin, &key] {
        assert_eq!(each(&client.get(SHOP).await.is(200), "target"), ["nas.lan"]);
        let refused = allow(client, SHOP, "0.0.0.0/0").await;
        assert!(refused.problem(403).contains("InstanceManageSettings"));
        client.delete(&format!("{SHOP}/nas.lan")).await.problem(403);
    }
    app_admin.get(BLOG).await.problem(404);
    assert_eq!(targets(&world, SHOP).await, ["nas.lan"]);

    // Who manages the instance and sees no app finds none.
    let manager = world.key(&[Capability::InstanceManageSettings], None).await;
    allow(&manager, SHOP, "nas.lan").await.problem(404);
    let both = world.key(&[Capability::InstanceManageSettings, Capability::AppRead], None).await;
    allow(&both, SHOP, "printer.lan:631").await.is(201);
    allow(&both, "/api/v1/admin/apps/none/http_exceptions", "nas.lan").await.problem(404);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_names_no_place_is_refused_and_so_is_one_too_many(pool: PgPool) {
    let world = two_apps(pool).await;
    let owner = &world.owner;
    for bad in ["", "*.lan", "http://nas.lan/", "nas.lan:0", "10.0.0.0/99"] {
        let refused = allow(owner, SHOP, bad).await;
        assert!(refused.problem(422).contains("neither a host nor a network"), "{bad}");
        assert_eq!(refused.json()["field"], "target");
    }
    owner.post(SHOP, json!({ "target": "nas.lan", "port": 80 })).await.problem(422);
    for n in 0..100 {
        allow(owner, SHOP, &format!("nas.lan:{}", 1000 + n)).await.is(201);
    }
    assert!(allow(owner, SHOP, "nas.lan").await.problem(422).contains("100"));
    allow(owner, SHOP, "nas.lan:1000").await.is(200);
    let events: Value = owner.get("/api/v1/admin/apps/blog/events?kind=http_exception.allowed").await.is(200);
    assert_eq!(events["items"], json!([]));
    world.stop().await;
}
