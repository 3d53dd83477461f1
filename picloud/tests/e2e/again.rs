//! Runs of the past, run again: by what was recorded of them, each the same as it was, and otherwise with another version.

use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    eventually::eventually,
    history,
    home::{Home, told},
    service::{Service, Start, answer, client},
};

const MANIFEST: &str = r#"
app = "shop"
hosts = ["shop.localhost"]

[[script]]
name = "order"
routes = ["POST /order", "GET /stock"]

[[script]]
name = "later"
route = "POST /later"
mode = "async"

[[script]]
name = "price"

[[script]]
name = "pack"

[[script]]
name = "care"

[[trigger]]
kind = "queue"
queue = "packing"
script = "pack"
retry = { max_attempts = 2, base_ms = 1 }

[[trigger]]
kind = "kv"
collection = "orders"
script = "price"

[[trigger]]
kind = "dead_letter"
script = "care"
"#;

const ORDER: &str = r#"
    let stock = kv::collection("stock");
    let n = ctx.request.body ?? #{};
    let left = stock.get_or("left", 100) - 1;
    stock.set("left", left);
    let id = ulid::new();
    kv::collection("orders").set(id, #{ at: time::now(), lucky: random::int(1, 1000000), left: left });
    queue::send("packing", #{ order: id, bad: n.bad ?? false });
    pubsub::publish("orders.new", id);
    log::info(`order ${id}`, #{ left: left });
    #{ statusCode: 201, body: #{ id: id, left: left, price: invoke::run("price", #{}) } }
"#;

/// Runs of all kinds: what asks waits, is answered before, is another script, an event, a message, a dead letter.
async fn shop(home: &Home, service: &Service) {
    home.write("shop/picloud.toml", MANIFEST);
    for (name, source) in [
        ("order", ORDER),
        (
            "later",
            r#"kv::collection("late").increment("n", 1); invoke::later("price", #{ n: random::int(1, 100) }); 1"#,
        ),
        ("price", r#"kv::collection("prices").get_or("p", 5) + if "event" in ctx { 1 } else { 0 }"#),
        (
            "pack",
            r#"if ctx.event.queue.message.bad { throw "no box" } kv::collection("packed").set(ctx.event.queue.message.order, 1)"#,
        ),
        (
            "care",
            r#"let open = dead_letters::list(#{ unresolved: true });
            let letter = dead_letters::get(ctx.event.dead_letter.dead_letter_id);
            log::warn(letter.error, #{ open: open.items.len(), original: ctx.event.dead_letter.original });
            dead_letters::resolve(letter.id, "looked after")"#,
        ),
    ] {
        home.write(&format!("shop/{name}.rhai"), source);
    }
    home.picloud(&["deploy", "shop"]).await;
    for body in [json!({}), json!({ "bad": true }), json!({})] {
        let order = service.call(Method::POST, "shop.localhost", "/order").json(&body);
        assert_eq!(order.send().await.unwrap().status(), StatusCode::CREATED);
    }
    assert_eq!(service.post("shop.localhost", "/later").await.0, StatusCode::ACCEPTED);
}

/// All that ran, once nothing is owed any more, with what scripts they were of.
async fn runs(service: &Service) -> Vec<(String, String)> {
    let all = eventually("nothing runs or waits any more", || async {
        let waiting = service.admin("/apps/shop/outbox").await;
        let runs = service.admin("/apps/shop/invocations?limit=100").await["items"].as_array().unwrap().clone();
        let is_over = waiting["items"] == json!([]) && runs.iter().all(|run| run["status"] != "running");
        let has = |script: &str, count: usize| runs.iter().filter(|run| run["script_name"] == script).count() == count;
        (is_over && has("care", 1) && has("pack", 4) && has("price", 4) && has("later", 1)).then_some(runs)
    })
    .await;
    let text = |run: &Value, name: &str| run[name].as_str().unwrap().to_owned();
    all.iter().map(|run| (text(run, "id"), text(run, "script_name"))).collect()
}

async fn again(home: &Home, run: &str, more: &[&str]) -> Value {
    let arguments = [&["invocations", "replay", run, "--app", "shop", "--output", "json"], more].concat();
    serde_json::from_str(&home.picloud(&arguments).await).unwrap()
}

#[tokio::test]
async fn every_run_comes_to_the_same_again_and_to_something_else_with_another_version() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    shop(&home, &service).await;
    let runs = runs(&service).await;
    let before = history::of(&service).await.len();
    for (run, script) in &runs {
        let replayed = again(&home, run, &[]).await;
        assert_eq!((&replayed["differences"], &replayed["lacking"]), (&json!([]), &json!([])), "{script}: {replayed}");
        assert_ne!(replayed["recorded"]["answer"], replayed["recorded"]["failure"], "{script}: {replayed}");
    }
    let of = |script: &str| runs.iter().find(|(_, name)| name == script).unwrap().0.clone();

    // One that is not deployed anywhere.
    home.write("dearer.rhai", &ORDER.replace("- 1;", "- 2;").replace("log::info", "log::warn"));
    let order = of("order");
    let shown = home.picloud(&["invocations", "replay", &order, "--app", "shop", "--source", "dearer.rhai"]).await;
    for part in ["answer", "body.left", "- 97", "+ 96", "writes and messages", "kv.set stock/left: value", "logs"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.contains("- info order") && shown.contains("+ warn order"), "{shown}");

    // One that is deployed and not active.
    let fixed = r#"kv::collection("packed").set(ctx.event.queue.message.order, 1)"#;
    let version = json!({ "source": fixed, "activate": false });
    let versions = client().post(format!("{}/api/v1/admin/apps/shop/scripts/pack/versions", service.admin));
    let deployed = answer(versions.bearer_auth(service.key()).json(&version)).await;
    assert_eq!(deployed.0, StatusCode::CREATED, "{}", deployed.1);
    let tested = home.picloud(&["backtest", "pack", "--app", "shop", "--on", "2"]).await;
    for part in ["2 of 4 runs would come to the same", "2 would answer something else", "no box", "kv.set packed/"] {
        assert!(tested.contains(part), "{part}: {tested}");
    }
    let tested = home.picloud(&["backtest", "pack", "--app", "shop", "--on", "2", "--output", "json"]).await;
    let tested: Value = serde_json::from_str(&tested).unwrap();
    let counts =
        ["runs", "same", "answers_differ", "effects_differ", "uncertain", "left_out"].map(|name| &tested[name]);
    assert_eq!(counts, [&json!(4), &json!(2), &json!(2), &json!(2), &json!(0), &json!(0)], "{tested}");
    let neither = home.run(&["backtest", "pack", "--app", "shop"]).await;
    assert_eq!(neither.status.code(), Some(2), "{}", told(&neither));

    // All of that was looked at, and nothing was done.
    let after = history::of(&service).await;
    let more: Vec<&str> = after[before..].iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert!(more.iter().all(|kind| ["script.deployed", "seal.sealed"].contains(kind)), "{more:?}");
    service.stop().await;
}
