use http::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::fixture::{World, each, text};

#[sqlx::test(migrations = "../migrations")]
async fn an_app_is_found_by_id_and_by_slug(pool: PgPool) {
    let world = World::start(pool).await;
    let made = world.owner.post("/api/v1/admin/apps", json!({ "slug": "shop" })).await;
    assert!(!made.cursor().is_empty());
    let made = made.is(201);
    for named in ["shop".to_owned(), text(&made["id"])] {
        assert_eq!(world.owner.get(&format!("/api/v1/admin/apps/{named}")).await.is(200), made);
    }
    let taken = world.owner.post("/api/v1/admin/apps", json!({ "slug": "shop" })).await;
    assert_eq!(taken.problem(409), "an app named `shop` exists already; choose another name");
    let bad = world.owner.post("/api/v1/admin/apps", json!({ "slug": "Shop" })).await;
    assert!(bad.problem(422).contains("`Shop`"));
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn of_two_who_take_a_slug_at_once_one_gets_it(pool: PgPool) {
    let world = World::start(pool).await;
    let other = world.another().await;
    let make = |world: &World| {
        let client = world.owner.clone();
        async move { client.post("/api/v1/admin/apps", json!({ "slug": "shop" })).await.status.as_u16() }
    };
    let mut statuses = [0; 2];
    (statuses[0], statuses[1]) = tokio::join!(make(&world), make(&other));
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    other.stop().await;
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn lists_come_in_pages(pool: PgPool) {
    let world = World::start(pool).await;
    for slug in ["a", "b", "c", "d"] {
        world.app(slug).await;
    }
    let first = world.owner.get("/api/v1/admin/apps?limit=3").await.is(200);
    assert_eq!(each(&first, "slug"), ["a", "b", "c"]);
    let path = format!("/api/v1/admin/apps?limit=3&cursor={}", text(&first["cursor"]));
    let second = world.owner.get(&path).await.is(200);
    assert_eq!(each(&second, "slug"), ["d", "default"]);
    assert_eq!(second["cursor"], Value::Null);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_host_belongs_to_one_app(pool: PgPool) {
    let world = World::start(pool).await;
    world.app("shop").await;
    let domains = "/api/v1/admin/apps/shop/domains";
    let claimed = world.owner.post(domains, json!({ "host": "Shop.Example.com" })).await.is(201);
    assert_eq!(claimed["host"], "shop.example.com");
    // Again: nothing to do.
    assert_eq!(world.owner.post(domains, json!({ "host": "shop.example.com" })).await.is(200), claimed);

    let taken = world.owner.post("/api/v1/admin/apps/default/domains", json!({ "host": "shop.example.com" })).await;
    assert_eq!(taken.problem(409), "the host `shop.example.com` is claimed already; release it there first");
    assert_eq!(taken.json()["value"], "shop.example.com");
    let wrong = world.owner.post(domains, json!({ "host": "shop.example.com:8080" })).await;
    assert!(wrong.problem(422).contains("`:`"));

    let path = format!("{domains}/{}", text(&claimed["id"]));
    world.owner.delete(&path).await.is(204);
    world.owner.delete(&path).await.problem(404);
    world.owner.post("/api/v1/admin/apps/default/domains", json!({ "host": "shop.example.com" })).await.is(201);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn env_values_are_set_and_deleted(pool: PgPool) {
    let world = World::start(pool).await;
    let env = "/api/v1/admin/apps/default/env";
    world.owner.put(&format!("{env}/CURRENCY"), json!({ "value": "EUR" })).await.is(200);
    let before = world.plane.reader.head().await.expect("a head");
    world.owner.put(&format!("{env}/CURRENCY"), json!({ "value": "EUR" })).await.is(200);
    assert_eq!(world.plane.reader.head().await.expect("a head"), before, "nothing to change");
    assert_eq!(
        world.owner.get(env).await.is(200),
        json!({ "items": [{ "name": "CURRENCY", "value": "EUR" }], "cursor": null })
    );
    world.owner.put(&format!("{env}/9"), json!({ "value": "x" })).await.problem(422);
    world.owner.delete(&format!("{env}/CURRENCY")).await.is(204);
    world.owner.delete(&format!("{env}/CURRENCY")).await.problem(404);
    world.stop().await;
}

/// Reads it, lets it be changed, and sees that who then changes what was read is refused, and who has read again is not.
async fn changes_only_what_was_read(world: &World, path: &str, [first, second, third]: [Value; 3]) {
    let put = async |etag: &str, body: &Value| world.owner.ask_for(Method::PUT, path, etag, body.clone()).await;
    let unmade = put("*", &first).await;
    assert_eq!(unmade.problem(412), "there is nothing to be changed (`if-match`): leave that header out to make it");
    world.owner.put(path, first).await;
    let seen = world.owner.get(path).await.etag();
    world.owner.put(path, second).await.is(200);
    put(&seen, &third).await.problem(412);
    world.owner.ask_for(Method::DELETE, path, &seen, Value::Null).await.problem(412);
    let seen = world.owner.get(path).await.etag();
    put(&seen, &third).await.is(200);
    let seen = world.owner.get(path).await.etag();
    world.owner.ask_for(Method::DELETE, path, &seen, Value::Null).await.is(204);
    world.owner.get(path).await.problem(404);
}

#[sqlx::test(migrations = "../migrations")]
async fn values_and_roles_are_changed_as_they_were_read_or_not_at_all(pool: PgPool) {
    let world = World::start(pool).await;
    world.app("shop").await;
    let values = ["EUR", "USD", "CHF"].map(|value| json!({ "value": value }));
    changes_only_what_was_read(&world, "/api/v1/admin/apps/shop/env/currency", values).await;
    world.person("ada@example.com", "member").await;
    let roles = ["viewer", "editor", "app_admin"].map(|role| json!({ "role": role }));
    changes_only_what_was_read(&world, "/api/v1/admin/apps/shop/members/ada@example.com", roles).await;
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn who_is_no_member_may_be_anyone(pool: PgPool) {
    let world = World::start(pool).await;
    world.app("shop").await;
    world.person("ada@example.com", "member").await;
    for who in ["ada@example.com", "nobody@example.com"] {
        let told = world.owner.get(&format!("/api/v1/admin/apps/shop/members/{who}")).await.problem(404);
        assert_eq!(told, format!("`{who}` is no member of the app `shop`"));
    }
    world.stop().await;
}
