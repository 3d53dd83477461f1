//! Many dead letters at once: from the command line, through a crash.

use std::{collections::BTreeSet, fs, process::Stdio, sync::Arc};

use reqwest::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    eventually::eventually,
    history,
    home::{Home, told},
    service::{Service, Start, answer},
};

/// `POST /orders/:id` is asynchronous and fails unless the gate is open. It has two attempts: one may be lost with the
/// service. `POST /open` opens the gate.
async fn shop(home: &Home) {
    let manifest = "app = \"shop\"\nhosts = [\"shop.localhost\"]\n\
         [[script]]\nname = \"order\"\nroute = \"POST /orders/:id\"\nmode = \"async\"\nretry = { max_attempts = 2, backoff = \"constant\", base_ms = 1 }\n\
         [[script]]\nname = \"open\"\nroute = \"POST /open\"\n";
    home.write("shop/picloud.toml", manifest);
    let order = r#"
        if !kv::collection("gate").has("open") { throw "the gate is shut"; }
        kv::collection("done").increment(ctx.request.params.id, 1);"#;
    home.write("shop/order.rhai", order);
    home.write("shop/open.rhai", r#"kv::collection("gate").set("open", true)"#);
    home.picloud(&["deploy", "shop"]).await;
}

/// Orders that become letters.
async fn letters(service: &Service, count: usize) {
    let mut calls = JoinSet::new();
    for n in 0..count {
        calls.spawn(answer(service.call(Method::POST, "shop.localhost", &format!("/orders/a{n}"))));
    }
    for (status, told) in calls.join_all().await {
        assert_eq!(status, StatusCode::ACCEPTED, "{told}");
    }
    eventually("all are letters", || async { (unresolved(service).await == count as u64).then_some(()) }).await;
}

async fn unresolved(service: &Service) -> u64 {
    let counted = service.admin("/apps/shop/dead_letters/count?unresolved=true").await;
    assert_eq!(counted["is_exact"], true);
    counted["count"].as_u64().unwrap()
}

async fn job(service: &Service, id: &str) -> Value {
    service.admin(&format!("/apps/shop/jobs/{id}")).await
}

#[tokio::test]
async fn a_job_that_a_crash_cut_off_goes_on_and_tries_each_letter_again_once() {
    let home = Arc::new(Home::new());
    let mut service = Start::new(&home).ready().await;
    shop(&home).await;
    letters(&service, 300).await;
    service.post("shop.localhost", "/open").await;
    let bulk = ["dead-letters", "bulk", "replay", "--app", "shop", "--script", "order", "--per-second", "150"];
    let started = home.picloud(&[&bulk[..], &["--yes", "--no-wait", "--output", "json"]].concat()).await;
    let started: Value = serde_json::from_str(&started).unwrap();
    assert_eq!(started["total"], 300);
    let id = started["id"].as_str().unwrap();
    eventually("it is in the midst of it", || async { (unresolved(&service).await <= 250).then_some(()) }).await;
    service.kill().await;

    let service = Start::new(&home).ready().await;
    assert!(unresolved(&service).await > 0, "it was killed before the end");
    let said = home.picloud(&["jobs", "show", id, "--wait", "--app", "shop"]).await;
    assert_eq!(said, "Replayed 300 of 300 letters.\n");
    let ended = job(&service, id).await;
    assert_eq!((&ended["state"], &ended["done"], &ended["skipped"]), (&json!("done"), &json!(300), &json!(0)));
    let all: BTreeSet<String> = (0..300).map(|n| format!("a{n}")).collect();
    eventually("all are done", || async { (history::keys(&service, "shop", "done").await == all).then_some(()) }).await;
    let done = history::all(&service, "/apps/shop/kv/done?limit=1000").await;
    assert!(done.iter().all(|entry| entry["value"] == 1), "each of them once: {done:?}");

    let events = history::of(&service).await;
    history::assert_gapless(&events);
    let of = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    assert_eq!((of("dead_letter.replayed"), of("job.started"), of("job.ended")), (300, 1, 1));
    let created = history::subjects(&events, "dead_letter.created");
    assert_eq!(history::subjects(&events, "dead_letter.replayed"), created);
    let began = events.iter().find(|event| event["type"] == "job.started").unwrap();
    let replays = events.iter().filter(|event| event["type"] == "dead_letter.replayed");
    for replay in replays {
        assert_eq!((&replay["cause"], &replay["actor"]), (&began["id"], &began["actor"]), "{replay}");
    }
    service.stop().await;
}

#[tokio::test]
async fn who_asks_is_told_how_many_it_is_about_and_what_became_of_them() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    shop(&home).await;
    let bulk =
        async |arguments: &[&str]| home.run(&[&["dead-letters", "bulk"], arguments, &["--app", "shop"]].concat()).await;
    let nothing = bulk(&["replay"]).await;
    assert!(nothing.status.success() && told(&nothing).contains("No open letter matches"), "{}", told(&nothing));
    letters(&service, 12).await;

    let unsaid = bulk(&["resolve"]).await;
    assert_eq!(unsaid.status.code(), Some(2), "{}", told(&unsaid));
    assert!(told(&unsaid).contains("12 open letters match; say with --yes that you want to resolve them"));
    assert_eq!(unresolved(&service).await, 12);

    // One that takes its time, looked at by somebody who goes away, and called off by somebody else.
    let started = bulk(&["replay", "--yes", "--no-wait", "--per-second", "1", "--output", "json"]).await;
    let started: Value = serde_json::from_slice(&started.stdout).unwrap();
    let id = started["id"].as_str().unwrap();
    let mut waiting = home.command();
    waiting.args(["jobs", "show", id, "--wait", "--app", "shop"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let waiting = tokio::process::Command::from(waiting).kill_on_drop(true).spawn().unwrap();
    let pid = Pid::from_raw(waiting.id().unwrap().try_into().unwrap()).unwrap();
    eventually("it listens for ctrl-C", || async { catches_interrupts(pid).then_some(()) }).await;
    kill_process(pid, Signal::INT).unwrap();
    let left = waiting.wait_with_output().await.unwrap();
    let wanted = format!("{id} goes on: `picloud jobs show {id} --app shop` shows how far it has come");
    assert!(left.status.success() && told(&left).contains(&wanted), "{}", told(&left));
    assert!(job(&service, id).await["ended_at"].is_null());
    home.picloud(&["jobs", "cancel", id, "--app", "shop"]).await;
    let ended = home.run(&["jobs", "show", id, "--wait", "--app", "shop"]).await;
    assert_eq!(ended.status.code(), Some(1), "{}", told(&ended));
    assert!(told(&ended).contains(&format!("{id} was cancelled by key_")), "{}", told(&ended));

    // The rest, and those that failed again, is closed at once.
    let open = eventually("what was tried again has failed again", || async {
        let waits = service.admin("/apps/shop/outbox").await;
        let open = unresolved(&service).await;
        (waits["items"] == json!([]) && open == 12).then_some(open)
    })
    .await;
    let closed = bulk(&["resolve", "--yes", "--reason", "by hand"]).await;
    assert_eq!(told(&closed), format!("Closed {open} of {open} letters.\n"));
    assert_eq!(unresolved(&service).await, 0);
    let listed: Value =
        serde_json::from_str(&home.picloud(&["jobs", "ls", "--app", "shop", "--output", "json"]).await).unwrap();
    let states: Vec<&str> =
        listed["items"].as_array().unwrap().iter().map(|job| job["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["done", "cancelled"]);
    let letters = service.admin("/apps/shop/dead_letters?resolution=ignored").await;
    assert_eq!(
        (&letters["items"][0]["resolved_why"], &letters["items"][0]["job"]),
        (&json!("by hand"), &listed["items"][0]["id"])
    );
    service.stop().await;
}

/// Whether a process has a handler of its own for ctrl-C.
fn catches_interrupts(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0");
    u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (Signal::INT.as_raw() - 1)) != 0
}
