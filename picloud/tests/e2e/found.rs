//! What went wrong, found out from the command line.

use std::sync::Arc;

use reqwest::{Method, StatusCode};

use crate::{app, eventually::eventually, home::Home, service::Start};

const SHIP: &str = r#"
let order = ctx.request.params.order;
log::info(`order ${order} is packed`);
if order == "42" { throw `no address for order ${order}`; }
order
"#;

#[tokio::test]
async fn a_run_is_found_by_what_it_said_and_shown_with_why_it_failed() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let shop = app::write(&home, "shop", &[("ship", "POST /ship/:order", SHIP)]);
    home.picloud(&["deploy", &shop]).await;
    for (order, status) in [(41, StatusCode::OK), (42, StatusCode::INTERNAL_SERVER_ERROR), (43, StatusCode::OK)] {
        let shipped = service.call(Method::POST, "shop.localhost", &format!("/ship/{order}")).send().await.unwrap();
        assert_eq!(shipped.status(), status);
    }
    let found = home.picloud(&["invocations", "ls", "--app", "shop", "--search", "order 42"]).await;
    let rows: Vec<&str> = found.lines().collect();
    assert_eq!(rows.len(), 2, "{found}");
    assert!(rows[1].contains("ship") && rows[1].contains("failed") && rows[1].contains("no address"), "{found}");
    let id = rows[1].split_whitespace().find(|word| word.starts_with("inv_")).unwrap();

    let shown = home.picloud(&["invocations", "show", id, "--app", "shop"]).await;
    for told in ["no address for order 42", "order 42 is packed", "invocation.failed"] {
        assert!(shown.contains(told), "{told}:\n{shown}");
    }
    let errors = home.picloud(&["errors", "--app", "shop"]).await;
    assert!(errors.contains("no address for order 42") && errors.contains(id), "{errors}");
    let metrics = home.picloud(&["metrics", "--app", "shop"]).await;
    let all = metrics.lines().find(|line| line.starts_with("all")).unwrap();
    assert_eq!(all.split_whitespace().skip(1).take(2).collect::<Vec<_>>(), ["2", "1"], "{metrics}");
    service.stop().await;
}

const CHECKOUT: &str = r#"
let order = ctx.request.params.order;
log::info(`order ${order} is paid`);
kv::collection("orders").set(order, #{ state: "paid" });
order
"#;

const SHIP_PAID: &str = r#"
let order = ctx.event.kv.key;
if order == "42" { throw `no address for order ${order}`; }
kv::collection("shipped").set(order, true);
"#;

#[tokio::test]
async fn why_last_nights_order_never_shipped_is_found_from_the_command_line_alone() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let scripts = [("checkout", "POST /checkout/:order", CHECKOUT), ("ship", "POST /ship", SHIP_PAID)];
    let shop = app::write(&home, "shop", &scripts);
    home.picloud(&["deploy", &shop]).await;
    let watch = ["triggers", "add", "kv", "--collection", "orders", "--script", "ship", "--app", "shop"];
    home.picloud(&[&watch[..], &["--max-attempts", "2", "--base-ms", "10"]].concat()).await;
    for order in ["41", "42"] {
        service.call(Method::POST, "shop.localhost", &format!("/checkout/{order}")).send().await.unwrap();
    }
    eventually("the letter is there", async || {
        let letters = home.picloud(&["dead-letters", "ls", "--app", "shop"]).await;
        letters.contains("no address for order 42").then_some(())
    })
    .await;

    let found = home.picloud(&["invocations", "ls", "--app", "shop", "--search", "order 42 is paid"]).await;
    let id = found.split_whitespace().find(|word| word.starts_with("inv_")).unwrap();
    let tree = home.picloud(&["invocations", "show", id, "--app", "shop", "--tree"]).await;
    let told = ["run of checkout", "kv.set kv:orders/42", "owed: ship", "attempt 1", "attempt 2", "dead letter ship"];
    let lines: Vec<&str> = tree.lines().collect();
    let mut rest = lines.iter();
    for told in told {
        assert!(rest.any(|line| line.contains(told)), "{told}, in this order:\n{tree}");
    }
    assert!(tree.contains("no address for order 42") && !tree.contains("orders/41"), "{tree}");
    // From one of the attempts the whole of it is seen as well.
    let attempt = lines.iter().find(|line| line.contains("attempt 2")).unwrap();
    let attempt = attempt.split_whitespace().find(|word| word.starts_with("inv_")).unwrap();
    let again = home.picloud(&["invocations", "show", attempt, "--app", "shop", "--tree", "--output", "json"]).await;
    let again: serde_json::Value = serde_json::from_str(&again).unwrap();
    assert_eq!((again["id"].as_str(), again["trees"].as_array().unwrap().len()), (Some(attempt), 1), "{again:#}");
    assert_eq!(again["trees"][0]["id"], *id);

    // What the order was before somebody had it shipped by hand, and who that was.
    let paid = lines.iter().find(|line| line.contains("kv.set kv:orders/42")).unwrap();
    assert!(!paid.contains("shipped"));
    let before = home.picloud(&["kv", "get", "orders", "42", "--app", "shop", "--output", "json"]).await;
    let event = home.picloud(&["history", "kv:orders/42", "--app", "shop", "--output", "json"]).await;
    let event: serde_json::Value = serde_json::from_str(&event).unwrap();
    let event = event["items"][0]["id"].as_str().unwrap();
    let then = home.picloud(&["kv", "get", "orders", "42", "--app", "shop", "--at", event, "--output", "json"]).await;
    assert_eq!(then, before);
    let script = home.picloud(&["scripts", "show", "ship", "--app", "shop", "--at", event]).await;
    assert!(script.contains("version 1") && script.contains("no address for order"), "{script}");
    let history = home.picloud(&["history", "script:ship", "--app", "shop"]).await;
    assert!(history.contains("script.deployed") && history.contains("+if order == \"42\""), "{history}");
    service.stop().await;
}
