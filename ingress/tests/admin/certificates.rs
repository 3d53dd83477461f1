use serde_json::json;
use sqlx::PgPool;

use crate::fixture::{Client, World};

#[sqlx::test(migrations = "../migrations")]
async fn certificates_are_got_for_names_that_lead_somewhere_and_for_no_others(pool: PgPool) {
    let world = World::start(pool).await;
    let domains = "/api/v1/admin/apps/default/domains";
    for host in ["shop.example.com", "*.tenants.example.com", "192.0.2.1"] {
        world.owner.post(domains, json!({ "host": host })).await.is(201);
    }
    let proxy = Client { key: None, ..world.owner.clone() };
    let ask = |domain: &str| format!("/internal/ask?domain={domain}");
    for ours in ["shop.example.com", "SHOP.example.com.", "a.tenants.example.com"] {
        let reply = proxy.get(&ask(ours)).await;
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"yes"[..]), "{ours}");
    }
    for foreign in [
        "example.com",
        "www.shop.example.com",
        "tenants.example.com",
        "shop.example.com.evil.example",
        "192.0.2.1",
        "127.0.0.1",
        "[::1]",
        "*.tenants.example.com",
        "a%20b",
        "",
    ] {
        proxy.get(&ask(foreign)).await.problem(404);
    }
    proxy.get("/internal/ask").await.problem(422);
    world.owner.delete(&format!("{domains}/shop.example.com")).await.is(204);
    proxy.get(&ask("shop.example.com")).await.problem(404);
    world.stop().await;
}
