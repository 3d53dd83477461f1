//! Every endpoint, asked by everyone: what the table says is what happens.

use http::Method;
use picloud_core::{
    capability::Capability,
    policy::{AppRole, InstanceRole},
};
use picloud_ingress::admin::Requires;
use serde_json::json;
use sqlx::PgPool;

use crate::{
    access::paths,
    fixture::{Client, World},
};

/// Somebody, and what they are.
struct Someone {
    who: &'static str,
    client: Client,
    role: InstanceRole,
    on_shop: Option<AppRole>,
}

impl Someone {
    fn holds(&self, capability: Capability, on_shop: bool) -> bool {
        if capability.is_instance() {
            return self.role.holds(capability);
        }
        let member = if on_shop { self.on_shop } else { None };
        self.role.everywhere().max(member).is_some_and(|role| role.holds(capability))
    }

    fn sees(&self, on_shop: bool) -> bool {
        Capability::ALL.iter().any(|capability| !capability.is_instance() && self.holds(*capability, on_shop))
    }
}

async fn everyone(world: &World) -> Vec<Someone> {
    let mut everyone = Vec::new();
    for (who, role, on_shop) in [
        ("owner@example.com", InstanceRole::Owner, None),
        ("admin@example.com", InstanceRole::Admin, None),
        ("nobody.yet@example.com", InstanceRole::Member, None),
        ("viewer@example.com", InstanceRole::Member, Some(AppRole::Viewer)),
        ("editor@example.com", InstanceRole::Member, Some(AppRole::Editor)),
        ("appadmin@example.com", InstanceRole::Member, Some(AppRole::AppAdmin)),
    ] {
        let client = world.person(who, role.as_str()).await;
        if let Some(on_shop) = on_shop {
            let member = format!("/api/v1/admin/apps/shop/members/{who}");
            world.owner.put(&member, json!({ "role": on_shop })).await.is(201);
        }
        everyone.push(Someone { who, client, role, on_shop });
    }
    everyone
}

#[sqlx::test(migrations = "../migrations")]
async fn every_endpoint_does_for_every_role_what_the_table_says(pool: PgPool) {
    let world = World::start(pool).await;
    world.app("shop").await;
    world.app("other").await;
    let everyone = everyone(&world).await;
    for (app, on_shop) in [("shop", true), ("other", false)] {
        for (method, path, requires) in paths(app) {
            // It would end the session that asks.
            if requires == Requires::Nothing || (method == Method::DELETE && path.ends_with("/session")) {
                continue;
            }
            for someone in &everyone {
                let about = format!("{} {method} {path}", someone.who);
                let body = if requires == Requires::Deploy { json!({ "scripts": [] }) } else { json!({}) };
                let reply = if path.ends_with("/stream") {
                    // One that is let in never ends.
                    someone.client.head_of(method.clone(), &path).await
                } else {
                    someone.client.ask(method.clone(), &path, Some(body)).await
                };
                let status = reply.status.as_u16();
                match requires {
                    Requires::Nothing => unreachable!("left out above"),
                    Requires::Principal => assert_ne!(status, 401, "{about}"),
                    Requires::App(_) | Requires::Deploy if !someone.sees(on_shop) => {
                        let told = format!("there is no app `{app}` that you may see");
                        assert_eq!(reply.problem(404), told, "{about}");
                    }
                    Requires::Instance(capability) | Requires::App(capability) => {
                        let may = someone.holds(capability, on_shop);
                        let is_refused = status == 403 && reply.json()["capability"] == capability.as_str();
                        assert_eq!(is_refused, !may, "{about}: {reply:?}");
                        assert_ne!(status, 401, "{about}");
                    }
                    Requires::Deploy => {
                        let may = someone.holds(Capability::AppWriteScript, on_shop);
                        assert_eq!(status == 403, !may, "{about}: {reply:?}");
                    }
                }
            }
        }
    }
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_key_is_worth_no_more_than_its_account_and_ends_with_it(pool: PgPool) {
    let world = World::start(pool).await;
    world.app("shop").await;
    let editor = world.person("editor@example.com", "member").await;
    let member = "/api/v1/admin/apps/shop/members/editor@example.com";
    world.owner.put(member, json!({ "role": "editor" })).await.is(201);

    let keys = "/api/v1/admin/api_keys";
    // Its own rights and no others.
    editor.post(keys, json!({ "name": "x", "scopes": ["InstanceReadLog"] })).await.problem(403);
    editor.post(keys, json!({ "name": "x", "scopes": ["AppAdmin"], "app": "shop" })).await.problem(403);
    let minted =
        editor.post(keys, json!({ "name": "ci", "scopes": ["AppRead", "AppWriteScript"], "app": "shop" })).await;
    let minted = minted.is(201);
    let key = Client { key: Some(crate::fixture::text(&minted["key"])), ..world.owner.clone() };
    let env = "/api/v1/admin/apps/shop/env/A";
    key.put(env, json!({ "value": "1" })).await.is(200);
    // It makes no keys of its own: they would outlive it.
    key.post(keys, json!({ "name": "y", "scopes": ["AppRead"], "app": "shop" })).await.problem(403);

    world.owner.put(member, json!({ "role": "viewer" })).await.is(200);
    assert!(key.put(env, json!({ "value": "2" })).await.problem(403).contains("AppWriteScript"));
    key.get("/api/v1/admin/apps/shop").await.is(200);
    world.owner.delete(member).await.is(204);
    key.get("/api/v1/admin/apps/shop").await.problem(404);
    world.owner.put(member, json!({ "role": "viewer" })).await.is(201);
    key.get("/api/v1/admin/apps/shop").await.is(200);
    world.owner.post("/api/v1/admin/accounts/editor@example.com/deactivate", json!({})).await.is(204);
    key.get("/api/v1/admin/apps/shop").await.problem(401);
    world.owner.post("/api/v1/admin/accounts/editor@example.com/reactivate", json!({})).await.is(204);
    key.get("/api/v1/admin/apps/shop").await.is(200);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn everyone_sees_their_own_keys_and_who_manages_them_all(pool: PgPool) {
    let world = World::start(pool).await;
    world.app("shop").await;
    let keys = "/api/v1/admin/api_keys";
    let mut minted = Vec::new();
    for who in ["ada@example.com", "bob@example.com"] {
        let person = world.person(who, "member").await;
        let member = format!("/api/v1/admin/apps/shop/members/{who}");
        world.owner.put(&member, json!({ "role": "viewer" })).await.is(201);
        let key = person.post(keys, json!({ "name": who, "scopes": ["AppRead"] })).await.is(201);
        minted.push((person, crate::fixture::text(&key["id"])));
    }
    let (ada, adas) = &minted[0];
    let (bob, bobs) = &minted[1];
    assert_eq!(crate::fixture::each(&ada.get(keys).await.is(200), "id"), std::slice::from_ref(adas));
    bob.delete(&format!("{keys}/{adas}")).await.problem(404);
    ada.delete(&format!("{keys}/{adas}")).await.is(204);
    assert_eq!(world.owner.get(keys).await.is(200)["items"].as_array().expect("items").len(), 2, "the first and bob's");
    world.owner.delete(&format!("{keys}/{bobs}")).await.is(204);
    world.stop().await;
}
