//! Triggers and queues as a folder declares them and as the command line shows and changes them.

use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    eventually::eventually,
    home::Home,
    service::{Service, Start, answer, client},
};

const SCRIPTS: &str = r#"
app = "shop"
hosts = ["shop.localhost"]

[[script]]
name = "cart"
route = "POST /carts/:id"

[[script]]
name = "recount"

[[script]]
name = "send"
"#;

const QUEUE: &str = r#"
[[trigger]]
kind = "queue"
queue = "mail"
script = "send"
retry = { max_attempts = 8 }

[[queue]]
name = "mail"
max_concurrency = 2
"#;

const KV: &str = r#"
[[trigger]]
kind = "kv"
collection = "carts"
ops = ["set"]
script = "recount"
"#;

/// Writes the app; answers the folder to deploy.
fn shop(home: &Home, triggers: &[&str]) -> &'static str {
    home.write("shop/picloud.toml", &format!("{SCRIPTS}{}", triggers.concat()));
    home.write("shop/cart.rhai", r#"kv::collection("carts").set(ctx.request.params.id, 1)"#);
    home.write("shop/recount.rhai", r#"kv::collection("counted").increment(ctx.event.kv.key, 1)"#);
    home.write("shop/send.rhai", r#"kv::collection("sent").increment(ctx.event.queue.message.to, 1)"#);
    "shop"
}

/// The only trigger of a kind.
async fn trigger(home: &Home, kind: &str) -> Value {
    let listed = home.picloud(&["triggers", "ls", "--app", "shop", "--output", "json"]).await;
    let page: Value = serde_json::from_str(&listed).unwrap();
    let mut found: Vec<Value> =
        page["items"].as_array().unwrap().iter().filter(|trigger| trigger["kind"] == kind).cloned().collect();
    assert_eq!(found.len(), 1, "{page}");
    found.remove(0)
}

/// Until an entry of the app is there.
async fn kept(service: &Service, path: &str) {
    eventually(path, || async {
        let url = format!("{}/api/v1/admin/apps/shop/kv/{path}", service.admin);
        let (status, _) = answer(client().get(url).bearer_auth(service.key())).await;
        (status == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_folder_declares_what_runs_when_and_the_command_line_shows_and_changes_it() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let folder = shop(&home, &[QUEUE, KV]);
    let dry = home.picloud(&["deploy", folder, "--dry-run"]).await;
    assert!(dry.contains("+ trigger queue mail → send\n+ trigger kv carts → recount\n"), "{dry}");
    assert!(dry.contains("+ queue mail at most 2 at once\n"), "{dry}");
    home.picloud(&["deploy", folder]).await;
    let again = home.picloud(&["deploy", folder]).await;
    assert!(again.starts_with("Nothing to change"), "{again}");

    let listed = home.picloud(&["triggers", "ls", "--app", "shop"]).await;
    for words in [["kv", "carts", "recount", "enabled"], ["queue", "mail", "send", "enabled"]] {
        let is_it = |line: &str| line.split_whitespace().take(4).eq(words);
        assert!(listed.lines().any(is_it), "{words:?}:\n{listed}");
    }
    let queues = home.picloud(&["queues", "ls", "--app", "shop"]).await;
    let columns: Vec<&str> = queues.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(columns, ["mail", "0", "0", "2", "false", "send"], "{queues}");

    // What happens runs what is to be run; what is tried out does, too.
    let (status, told) = service.post("shop.localhost", "/carts/7").await;
    assert_eq!(status, StatusCode::OK, "{told}");
    kept(&service, "counted/7").await;
    let mail = trigger(&home, "queue").await;
    let id = mail["id"].as_str().unwrap();
    let event = json!({ "queue": "mail", "message": { "to": "ada" } }).to_string();
    home.picloud(&["triggers", "run", id, "--app", "shop", "--event", &event]).await;
    kept(&service, "sent/ada").await;

    home.picloud(&["triggers", "disable", id, "--app", "shop"]).await;
    home.picloud(&["queues", "pause", "mail", "--app", "shop"]).await;
    home.picloud(&["queues", "set", "mail", "--unlimited", "--app", "shop"]).await;
    assert_eq!(trigger(&home, "queue").await["enabled"], false);
    let queue = home.picloud(&["queues", "show", "mail", "--app", "shop", "--output", "json"]).await;
    let queue: Value = serde_json::from_str(&queue).unwrap();
    assert_eq!((&queue["paused"], &queue["max_concurrency"]), (&json!(true), &Value::Null));

    // What was disabled by hand stays so; what is gone from the file goes; what it says of the queue is so again.
    let folder = shop(&home, &[QUEUE]);
    let deployed = home.picloud(&["deploy", folder]).await;
    assert!(deployed.contains("- trigger kv carts\n~ queue mail at most 2 at once\n"), "{deployed}");
    assert_eq!(trigger(&home, "queue").await["enabled"], false);

    let nightly =
        ["--schedule", "0 3 * * *", "--time-zone", "Europe/Berlin", "--script", "send", "--max-attempts", "2"];
    let made = home.picloud(&[&["triggers", "add", "cron", "--app", "shop"], &nightly[..]].concat()).await;
    assert_eq!(made.lines().filter(|line| line.starts_with("next ")).count(), 5, "{made}");
    let cron = trigger(&home, "cron").await;
    assert_eq!((&cron["retry"]["max_attempts"], &cron["time_zone"]), (&json!(2), &json!("Europe/Berlin")));
    let cron = cron["id"].as_str().unwrap();
    let shown = home.picloud(&["triggers", "show", cron, "--app", "shop"]).await;
    assert_eq!(shown.lines().filter(|line| line.starts_with("next ")).count(), 5, "{shown}");
    home.picloud(&["triggers", "rm", cron, "--app", "shop"]).await;
    let refused = home.run(&["triggers", "show", cron, "--app", "shop"]).await;
    assert_eq!(refused.status.code(), Some(1));
    service.stop().await;
}

#[tokio::test]
async fn a_paused_script_answers_nobody_until_it_goes_on() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    home.picloud(&["deploy", shop(&home, &[])]).await;
    let set = async |what: &str| {
        let url = format!("{}/api/v1/admin/apps/shop/scripts/cart/{what}", service.admin);
        let (status, told) = answer(client().request(Method::POST, url).bearer_auth(service.key())).await;
        assert_eq!(status, StatusCode::OK, "{told}");
    };
    set("pause").await;
    eventually("the data plane has heard of it", || async {
        let (status, told) = service.post("shop.localhost", "/carts/7").await;
        (status == StatusCode::SERVICE_UNAVAILABLE && told.contains("/problems/script-paused")).then_some(())
    })
    .await;
    set("resume").await;
    eventually("it goes on", || async {
        (service.post("shop.localhost", "/carts/7").await.0 == StatusCode::OK).then_some(())
    })
    .await;
    service.stop().await;
}
