//! What a run may do is what its caller may: by a key's scopes now, and for work that waits by those of then.

use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    app,
    eventually::eventually,
    home::Home,
    service::{Service, Start, answer, client},
};

async fn key(service: &Service, scopes: &[&str]) -> Value {
    let wanted = json!({ "name": "a key", "scopes": scopes, "app": "shop" });
    let request = client().post(format!("{}/api/v1/admin/api_keys", service.admin)).bearer_auth(service.key());
    let (status, told) = answer(request.json(&wanted)).await;
    assert_eq!(status, StatusCode::CREATED, "{told}");
    serde_json::from_str(&told).unwrap()
}

fn secret(key: &Value) -> &str {
    key["key"].as_str().unwrap()
}

#[tokio::test]
async fn a_script_does_for_a_key_only_what_the_keys_scopes_allow() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let keep = r#"kv::collection("kept").set("k", ctx.principal?.id); "kept""#;
    home.picloud(&["deploy", &app::write(&home, "shop", &[("keep", "POST /keep", keep)])]).await;
    let scripts = service.admin("/apps/shop/scripts").await;
    let script = scripts["items"][0]["id"].as_str().unwrap();
    let invoker = key(&service, &["AppInvoke"]).await;
    let writer = key(&service, &["AppInvoke", "AppKvWrite"]).await;

    let by_route = || service.call(Method::POST, "shop.localhost", "/keep");
    let by_id = || client().post(format!("{}/api/v1/execute/{script}", service.public));
    for request in [by_route(), by_id()] {
        let (status, told) = answer(request.bearer_auth(secret(&invoker))).await;
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!((status, &told["type"]), (StatusCode::FORBIDDEN, &json!("/problems/forbidden")), "{told}");
        let named = format!("kv::set needs AppKvWrite, which {} does not have", invoker["id"].as_str().unwrap());
        assert!(told["detail"].as_str().unwrap().starts_with(&named), "{told}");
    }
    assert_eq!(service.admin("/apps/shop/kv/kept").await["items"], json!([]), "what was refused wrote nothing");
    for request in [by_route().bearer_auth(secret(&writer)), by_id().bearer_auth(secret(&writer)), by_route()] {
        assert_eq!(answer(request).await, (StatusCode::OK, "\"kept\"".to_owned()));
    }

    // Who tries a script out is told of it as part of what came of it.
    let invoke = format!("{}/api/v1/admin/apps/shop/scripts/keep/invoke", service.admin);
    let (status, told) = answer(client().post(invoke).bearer_auth(secret(&invoker)).json(&json!({}))).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((status, &told["error"]["status"]), (StatusCode::OK, &json!(403)), "{told}");
    service.stop().await;
}

#[tokio::test]
async fn work_that_waits_may_do_what_its_caller_may_when_it_is_done() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let manifest = "app = \"shop\"\nhosts = [\"shop.localhost\"]\n\
         [[script]]\nname = \"order\"\nroute = \"POST /order\"\nmode = \"async\"\n\
         retry = { max_attempts = 100, backoff = \"constant\", base_ms = 50 }\n";
    home.write("shop/picloud.toml", manifest);
    home.write("shop/order.rhai", r#"kv::collection("tried").increment("n", 1); throw "not yet""#);
    home.picloud(&["deploy", "shop"]).await;
    let writer = key(&service, &["AppKvWrite"]).await;
    let order = service.call(Method::POST, "shop.localhost", "/order").bearer_auth(secret(&writer));
    let (status, told) = answer(order).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{told}");
    let accepted: Value = serde_json::from_str(&told).unwrap();

    let fails_with = async |error: &str| {
        eventually("an attempt fails like that", || async {
            let (_, told) = answer(client().get(accepted["status_url"].as_str().unwrap())).await;
            let status: Value = serde_json::from_str(&told).unwrap();
            status["last_error"].as_str().is_some_and(|last| last.contains(error)).then_some(())
        })
        .await;
    };
    fails_with("not yet").await;
    home.picloud(&["key", "revoke", writer["id"].as_str().unwrap()]).await;
    fails_with("kv::increment needs AppKvWrite").await;
    service.stop().await;
}
