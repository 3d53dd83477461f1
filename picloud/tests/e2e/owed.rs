//! Work that is owed: runs after the answer, tried until they succeed or become dead letters.

use std::sync::Arc;

use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    cluster::{Pair, pair},
    eventually::eventually,
    history,
    home::Home,
    service::{Service, Start, answer, client},
};

/// `POST /orders/:id` is asynchronous: it waits for the gate to be open. `POST /open` opens it.
async fn shop(home: &Home, retry: &str) {
    let manifest = format!(
        "app = \"shop\"\nhosts = [\"shop.localhost\"]\n\
         [[script]]\nname = \"order\"\nroute = \"POST /orders/:id\"\nmode = \"async\"\nretry = {retry}\n\
         [[script]]\nname = \"open\"\nroute = \"POST /open\"\n"
    );
    home.write("shop/picloud.toml", &manifest);
    let order = r#"
        let id = ctx.request.params.id;
        kv::collection("tried").increment(id, 1);
        if !kv::collection("gate").has("open") { throw "the gate is shut for order " + id; }
        kv::collection("done").increment(id, 1);
        ctx.request.body"#;
    home.write("shop/order.rhai", order);
    home.write("shop/open.rhai", r#"kv::collection("gate").set("open", true)"#);
    home.picloud(&["deploy", "shop"]).await;
}

/// Orders; answers what the 202 says.
async fn order(service: &Service, id: &str) -> Value {
    let call = service.call(Method::POST, "shop.localhost", &format!("/orders/{id}")).json(&json!({ "of": id }));
    let (status, told) = answer(call).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{told}");
    serde_json::from_str(&told).unwrap()
}

async fn status(accepted: &Value) -> Value {
    let (status, told) = answer(client().get(accepted["status_url"].as_str().unwrap())).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    serde_json::from_str(&told).unwrap()
}

async fn until(accepted: &Value, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || async { Some(status(accepted).await).filter(|status| is_so(status)) }).await
}

const IMPATIENT: &str = r#"{ max_attempts = 3, backoff = "constant", base_ms = 20 }"#;
const PATIENT: &str = r#"{ max_attempts = 100, backoff = "constant", base_ms = 50 }"#;

#[tokio::test]
async fn a_call_that_fails_is_tried_again_until_it_succeeds_and_its_effects_are_there_once() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    shop(&home, PATIENT).await;
    let accepted = order(&service, "a1").await;
    let waiting = until(&accepted, "an attempt fails", |status| status["attempts"].as_u64() > Some(1)).await;
    assert!(waiting["last_error"].as_str().unwrap().contains("the gate is shut"), "{waiting}");
    service.post("shop.localhost", "/open").await;
    let done = until(&accepted, "it is done", |status| status["state"] == "delivered").await;
    let attempts = done["attempts"].as_u64().unwrap();
    assert!(attempts > 2 && done["ended_at"].is_string(), "{done}");
    let done = service.admin("/apps/shop/kv/done/a1").await;
    assert_eq!(done["value"], 1);
    assert_eq!(service.admin("/apps/shop/kv/tried/a1").await["value"], 1, "what failed wrote nothing");

    // The log tells the whole story, each attempt following from what owed it.
    let events = history::of(&service).await;
    let item = accepted["outbox_id"].as_str().unwrap();
    let about: Vec<&str> =
        events.iter().filter(|event| event["subject"] == item).map(|event| event["type"].as_str().unwrap()).collect();
    let mut wanted = vec!["outbox.enqueued"];
    wanted.extend((1..attempts).map(|_| "outbox.rescheduled"));
    wanted.push("outbox.delivered");
    assert_eq!(about, wanted);
    let enqueued = events.iter().find(|event| event["type"] == "outbox.enqueued").unwrap();
    let started: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "invocation.started" && event["cause"] == enqueued["id"])
        .collect();
    let numbers: Vec<u64> = started.iter().map(|event| event["data"]["attempt"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=attempts).collect::<Vec<_>>());
    // All attempts are of one chain, whatever of what is known names it.
    let [chain, request] = ["inv_", "req_"].map(|prefix| item.replace("out_", prefix));
    assert!(started.iter().all(|event| event["root"] == *chain), "{started:?}");
    for name in [item, &chain, &request] {
        let listed = home.picloud(&["events", "--root", name, "--output", "json"]).await;
        let listed: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let runs = listed.iter().filter(|event| event["type"] == "invocation.started").count() as u64;
        assert_eq!(runs, attempts, "{name}: {listed:#?}");
    }
    let last = started.last().unwrap()["subject"].as_str().unwrap();
    let timeline = service.admin(&format!("/apps/shop/invocations/{last}")).await["timeline"].clone();
    assert!(timeline.to_string().contains("outbox.delivered"), "{timeline:#}");
    assert!(!enqueued.to_string().contains("\"of\""), "what came in is sealed: {enqueued}");
    service.stop().await;
}

#[tokio::test]
async fn what_cannot_succeed_becomes_a_dead_letter() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    shop(&home, IMPATIENT).await;
    let accepted = order(&service, "a1").await;
    let dead = until(&accepted, "it is a dead letter", |status| status["state"] == "dead").await;
    assert_eq!(dead["attempts"], 3, "{dead}");
    assert_eq!(dead["last_error"], "the gate is shut for order a1", "{dead}");

    // It is all in the letter, and only there in plain text.
    let run =
        async |arguments: &[&str]| home.picloud(&[&["dead-letters"], arguments, &["--app", "shop"]].concat()).await;
    let listed: Value = serde_json::from_str(&run(&["--output", "json", "ls"]).await).unwrap();
    let letter = listed["items"][0].clone();
    let id = letter["id"].as_str().unwrap();
    assert_eq!((&letter["reason"], &letter["script_name"]), (&json!("attempts_exhausted"), &json!("order")));
    let shown = run(&["show", id]).await;
    assert!(shown.contains("attempt 3") && shown.contains("\"{\\\"of\\\":\\\"a1\\\"}\""), "{shown}");
    let log = history::of(&service).await;
    assert!(!log.iter().any(|event| event.to_string().contains("\\\"of\\\"")));

    // As it was it fails again; once the gate is open it succeeds, with what somebody changed.
    run(&["replay", id]).await;
    let again = home.run(&["dead-letters", "replay", id, "--app", "shop"]).await;
    let refused = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && refused.contains("closed as `replayed` by key_"), "{refused}");
    let second = eventually("it fails again", || async {
        let unresolved = service.admin("/apps/shop/dead_letters?unresolved=true").await;
        unresolved["items"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    assert_ne!(second, id);
    service.post("shop.localhost", "/open").await;
    let detail = service.admin(&format!("/apps/shop/dead_letters/{second}")).await;
    let mut payload = detail["payload"].clone();
    payload["request"]["params"] = json!([["id", "mended"]]);
    run(&["replay", &second, "--payload", &payload.to_string()]).await;
    eventually("it is done", || async {
        history::keys(&service, "shop", "done").await.contains("mended").then_some(())
    })
    .await;
    assert_eq!(service.admin("/apps/shop/dead_letters/count?unresolved=true").await["count"], 0);
    let log = history::of(&service).await;
    let of = |kind: &str| log.iter().filter(|event| event["type"] == kind).count();
    assert_eq!((of("dead_letter.created"), of("dead_letter.replayed"), of("outbox.delivered")), (2, 2, 1));
    service.stop().await;
}

#[tokio::test]
async fn the_same_request_again_is_the_same_work() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    shop(&home, IMPATIENT).await;
    service.post("shop.localhost", "/open").await;
    let ask = async || {
        let call = service.call(Method::POST, "shop.localhost", "/orders/a1").header("idempotency-key", "k1").body("x");
        let (status, told) = answer(call).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{told}");
        serde_json::from_str::<Value>(&told).unwrap()
    };
    let first = ask().await;
    assert_eq!(ask().await, first);
    until(&first, "it is done", |status| status["state"] == "delivered").await;
    assert_eq!(ask().await, first);
    assert_eq!(service.admin("/apps/shop/kv/done/a1").await["value"], 1);
    service.stop().await;
}

#[tokio::test]
async fn work_that_a_killed_service_left_is_taken_up_by_the_next() {
    let home = Arc::new(Home::new());
    let mut service = Start::new(&home).ready().await;
    shop(&home, PATIENT).await;
    for n in 0..50 {
        order(&service, &format!("a{n}")).await;
    }
    service.kill().await;
    let service = Start::new(&home).ready().await;
    service.post("shop.localhost", "/open").await;
    let all: std::collections::BTreeSet<String> = (0..50).map(|n| format!("a{n}")).collect();
    eventually("all are done", || async { (history::keys(&service, "shop", "done").await == all).then_some(()) }).await;
    let done = history::all(&service, "/apps/shop/kv/done?limit=1000").await;
    assert!(done.iter().all(|entry| entry["value"] == 1), "each of them once: {done:?}");
    let events = history::of(&service).await;
    history::assert_gapless(&events);
    assert_eq!(history::subjects(&events, "outbox.enqueued"), history::subjects(&events, "outbox.delivered"));
    service.stop().await;
}

#[tokio::test]
async fn a_paused_app_keeps_its_work_until_it_goes_on() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    shop(&home, PATIENT).await;
    let accepted = order(&service, "a1").await;
    until(&accepted, "an attempt fails", |status| status["attempts"].as_u64() > Some(0)).await;
    home.picloud(&["app", "pause", "shop"]).await;
    // What was under way when it was paused may end; then there are no others, however long it is.
    let events = eventually("nothing happens any more", || async {
        let before = history::of(&service).await.len();
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        Some(history::of(&service).await.len()).filter(|after| *after == before)
    })
    .await;
    home.picloud(&["app", "resume", "shop"]).await;
    service.post("shop.localhost", "/open").await;
    until(&accepted, "it is done", |status| status["state"] == "delivered").await;
    assert!(history::of(&service).await.len() > events);
    service.stop().await;
}

/// Waits for about two seconds, then writes: long enough to be stopped in between.
const SLOW: &str = r#"
    let id = ctx.request.params.id;
    let n = 0;
    retry::run(#{ max_attempts: 20, backoff: "constant", base_ms: 150, max_ms: 150 }, || {
        n += 1;
        if n < 20 { throw "not yet"; }
    });
    kv::collection("done").increment(id, 1);"#;

async fn slow_shop(home: &Home) {
    let manifest = "app = \"shop\"\nhosts = [\"shop.localhost\"]\n\
         [[script]]\nname = \"order\"\nroute = \"POST /orders/:id\"\nmode = \"async\"\n";
    home.write("shop/picloud.toml", manifest);
    home.write("shop/order.rhai", SLOW);
    home.picloud(&["deploy", "shop"]).await;
}

async fn is_running(service: &Service, accepted: &Value) {
    let item = accepted["outbox_id"].as_str().unwrap();
    eventually("a node runs it", || async {
        let item = service.admin(&format!("/apps/shop/outbox/{item}")).await;
        (item["state"] == "running").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_node_that_stops_in_the_midst_of_work_loses_it_to_another_and_writes_nothing_when_it_wakes() {
    let Pair { mut one, two, home, database } = pair().await;
    slow_shop(&home).await;
    eventually("the other serves it, too", || async {
        let unknown = answer(two.call(Method::GET, "shop.localhost", "/orders/x")).await.0;
        (unknown == StatusCode::METHOD_NOT_ALLOWED).then_some(())
    })
    .await;
    let accepted = order(&one, "a1").await;
    is_running(&two, &accepted).await;
    one.signal(Signal::STOP);
    let stopped = std::time::Instant::now();
    let elsewhere = accepted["status_url"].as_str().unwrap().replace(&one.public, &two.public);
    let accepted = json!({ "outbox_id": accepted["outbox_id"], "status_url": elsewhere });
    until(&accepted, "the other has it", |status| status["attempts"] == 1 && status["state"] == "running").await;
    assert!(stopped.elapsed() < std::time::Duration::from_secs(15), "taken up after {:?}", stopped.elapsed());
    let done = until(&accepted, "the other has done it", |status| status["state"] == "delivered").await;
    assert_eq!((&done["attempts"], &done["last_error"]), (&json!(2), &json!("the node that ran it went away")));
    one.signal(Signal::CONT);
    let (ended, said) = one.ended().await;
    assert!(!ended.success() && said.contains("lost its right to write"), "{said}");
    assert_eq!(two.admin("/apps/shop/kv/done/a1").await["value"], 1, "its effects are there once");
    history::assert_gapless(&history::of(&two).await);
    two.stop().await;
    drop(database);
}

#[tokio::test]
async fn work_that_is_taken_back_while_it_runs_leaves_nothing() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    slow_shop(&home).await;
    let accepted = order(&service, "a1").await;
    is_running(&service, &accepted).await;
    home.picloud(&["outbox", "cancel", accepted["outbox_id"].as_str().unwrap(), "--app", "shop"]).await;
    assert_eq!(status(&accepted).await["state"], "cancelled");
    let ended = eventually("its run has ended", || async {
        let runs = service.admin("/apps/shop/invocations").await;
        let run = runs["items"][0].clone();
        (run["status"] != "running").then_some(run)
    })
    .await;
    assert_eq!((&ended["status"], &ended["reason"]), (&json!("failed"), &json!("abandoned")));
    assert!(history::keys(&service, "shop", "done").await.is_empty());
    assert_eq!(status(&accepted).await["state"], "cancelled");
    service.stop().await;
}
