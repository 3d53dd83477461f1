//! An instance that was backed up while it worked, and lives again elsewhere.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use picloud::profile::Profile;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    eventually::eventually,
    history,
    home::{Home, told},
    service::{Service, Start},
    stream,
};

/// `POST /orders/:id` runs later, and fails as long as the gate is shut; `POST /broken` can only become a dead letter.
async fn shop(home: &Home) {
    home.write(
        "shop/picloud.toml",
        r#"app = "shop"
hosts = ["shop.localhost"]
[[script]]
name = "order"
route = "POST /orders/:id"
mode = "async"
retry = { max_attempts = 100, backoff = "constant", base_ms = 500 }
[[script]]
name = "broken"
route = "POST /broken"
mode = "async"
retry = { max_attempts = 1 }
[[script]]
name = "open"
route = "POST /open"
[[script]]
name = "keep"
route = "POST /keep/:key"
[[script]]
name = "say"
route = "POST /say"
"#,
    );
    let order = r#"
        if !kv::collection("gate").has("open") { throw "the gate is shut"; }
        kv::collection("done").increment(ctx.request.params.id, 1);"#;
    home.write("shop/order.rhai", order);
    home.write("shop/broken.rhai", r#"throw "never""#);
    home.write("shop/open.rhai", r#"kv::collection("gate").set("open", true)"#);
    home.write("shop/keep.rhai", r#"let key = ctx.request.params.key; kv::collection("kept").set(key, key); key"#);
    home.write("shop/say.rhai", r#"pubsub::publish("ticks", 1)"#);
    home.picloud(&["deploy", "shop"]).await;
    home.picloud(&["topics", "set", "ticks", "--auth", "public", "--app", "shop"]).await;
}

async fn post(service: &Service, path: &str) -> StatusCode {
    service.call(Method::POST, "shop.localhost", path).send().await.unwrap().status()
}

/// What a subscriber is told first, coming from a cursor.
async fn first_frame(service: &Service, cursor: &mut Option<String>) -> String {
    let url = format!("{}/realtime/topics/ticks", service.public);
    let mut first = None;
    let reading = stream::read(&url, "shop.localhost", cursor, |event, _| {
        first.get_or_insert_with(|| event.to_owned());
    });
    // It does not end by itself.
    let _ = timeout(Duration::from_millis(1500), reading).await;
    first.expect("something is told at once")
}

/// Writes until it is told to stop; what was acknowledged.
async fn keep(service: &Service, stop: &CancellationToken) -> Vec<String> {
    let mut kept = Vec::new();
    while !stop.is_cancelled() {
        let key = format!("key-{}", kept.len());
        assert_eq!(post(service, &format!("/keep/{key}")).await, StatusCode::OK);
        kept.push(key);
    }
    kept
}

async fn owed(service: &Service) -> usize {
    history::all(service, "/apps/shop/outbox?limit=100").await.len()
}

#[tokio::test]
async fn an_instance_lives_again_elsewhere_and_does_nothing_twice() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    shop(&home).await;
    for path in ["/orders/a", "/orders/b", "/broken"] {
        assert_eq!(post(&service, path).await, StatusCode::ACCEPTED);
    }
    eventually("the letter is there and the orders are tried", async || {
        let count = service.admin("/apps/shop/dead_letters/count?unresolved=true").await;
        (count["count"] == 1).then_some(())
    })
    .await;
    let mut cursor = None;
    post(&service, "/say").await;
    first_frame(&service, &mut cursor).await;
    assert!(cursor.is_some(), "it stands somewhere in this life");
    for n in 0..20 {
        assert_eq!(post(&service, &format!("/keep/before-{n}")).await, StatusCode::OK);
    }

    // While it is written to.
    let stop = CancellationToken::new();
    let (said, kept) = tokio::join!(
        async {
            let said = home.picloud(&["backup", "b.picloud", "--output", "json"]).await;
            stop.cancel();
            serde_json::from_str::<Value>(&said).unwrap()
        },
        keep(&service, &stop)
    );
    assert!(!kept.is_empty());
    let file = home.path().join("b.picloud");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(said["size_bytes"], fs::metadata(&file).unwrap().len());
    let names: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with(".picloud-backup")), "{names:?}");
    let again = home.run(&["backup", "b.picloud"]).await;
    assert_eq!(again.status.code(), Some(2), "{}", told(&again));
    assert!(told(&again).contains("is there already"), "{}", told(&again));

    // The old life goes on: what happens in it now is not in the backup.
    assert_eq!(post(&service, "/open").await, StatusCode::OK);
    eventually("the orders are done", async || (owed(&service).await == 0).then_some(())).await;
    let piped = home.run(&["backup", "-"]).await;
    assert!(piped.status.success(), "{}", told(&piped));
    fs::write(home.path().join("piped.picloud"), &piped.stdout).unwrap();
    let checked = home.picloud(&["restore", "--check", "piped.picloud"]).await;
    assert!(checked.contains("needs the master key with the fingerprint"), "{checked}");
    service.stop().await;

    let elsewhere = Arc::new(Home::new());
    let file = file.to_str().unwrap().to_owned();
    refusals(&home, &elsewhere, &file, said["master_key"].as_str().unwrap()).await;
    let restored = elsewhere.run(&["restore", &file, "--output", "json"]).await;
    assert!(restored.status.success(), "{}", told(&restored));
    let restored: Value = serde_json::from_slice(&restored.stdout).unwrap();
    assert_eq!(restored["verified"]["is_as_sealed"], true, "{restored}");
    assert_eq!((&restored["owed"], &restored["outbox_paused"]), (&2.into(), &true.into()));
    let twice = elsewhere.run(&["restore", &file]).await;
    assert!(told(&twice).contains("into an empty one only") && told(&twice).contains("`shop`"), "{}", told(&twice));

    // Its own command line goes where the old one's went.
    fs::copy(Profile::path(&home.data()), Profile::path(&elsewhere.data())).unwrap();
    let service = Start::new(&elsewhere).ready().await;
    let in_use = elsewhere.run(&["restore", &file]).await;
    assert!(told(&in_use).contains("is using the data directory"), "{}", told(&in_use));
    lives_on(&service, &elsewhere, &mut cursor).await;
    service.stop().await;
}

/// What is in the way of a restore, and said so before anything is written.
async fn refusals(home: &Home, elsewhere: &Home, file: &str, fingerprint: &str) {
    let key = elsewhere.data().join("master.key");
    let without = elsewhere.run(&["restore", file]).await;
    assert!(
        told(&without).contains(&format!("needs the one with the fingerprint {fingerprint}")),
        "{}",
        told(&without)
    );
    assert!(!key.exists() && !elsewhere.data().join("postgres").exists(), "nothing was made");
    fs::create_dir_all(elsewhere.data()).unwrap();
    fs::write(&key, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let wrong = elsewhere.run(&["restore", file]).await;
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        told(&wrong).contains(&format!("the master key with the fingerprint {fingerprint}, and")),
        "{}",
        told(&wrong)
    );
    assert!(!elsewhere.data().join("postgres").exists(), "nothing was made");
    fs::copy(home.data().join("master.key"), &key).unwrap();
    let mut cut = fs::read(file).unwrap();
    cut.truncate(cut.len() - 100);
    let cut = elsewhere.run_reading_bytes(&["restore", "-"], &cut).await;
    assert!(told(&cut).contains("was cut off: it ends at byte"), "{}", told(&cut));
}

/// Everything is there, nothing runs by itself, and then all of it, once.
async fn lives_on(service: &Service, elsewhere: &Home, cursor: &mut Option<String>) {
    let ready = service.get("shop.localhost", "/readyz").await;
    assert_eq!(ready.0, StatusCode::OK);
    assert!(ready.1.contains("the outbox is paused (restored from the backup of"), "{}", ready.1);
    let doctor = elsewhere.run(&["doctor"]).await;
    assert!(told(&doctor).contains("`picloud outbox resume` lets it go on"), "{}", told(&doctor));
    let kept = history::keys(service, "shop", "kept").await;
    assert!((0..20).all(|n| kept.contains(&format!("before-{n}"))), "{kept:?}");
    assert_eq!(service.admin("/apps/shop/dead_letters/count?unresolved=true").await["count"], 1);
    eventually("the lists are made anew", async || {
        let listed = service.admin("/apps/shop/invocations?limit=1000").await;
        (listed["items"].as_array().unwrap().len() >= 20).then_some(())
    })
    .await;
    let first = first_frame(service, cursor).await;
    assert_eq!(first, "reset", "that cursor is of another life");

    // Calls that are waited for are answered, and what they let happen does not happen yet.
    assert_eq!(post(service, "/open").await, StatusCode::OK);
    assert_eq!(post(service, "/orders/c").await, StatusCode::ACCEPTED);
    // Longer than the orders wait between their attempts, and than the dispatcher does between two looks.
    sleep(Duration::from_secs(6)).await;
    let done = history::keys(service, "shop", "done").await;
    assert!(done.is_empty() && owed(service).await == 3, "{done:?}");
    let runs = |events: &[Value]| events.iter().filter(|event| event["type"] == "outbox.delivered").count();
    assert_eq!(runs(&history::of(service).await), 0);

    let resumed = elsewhere.picloud(&["outbox", "resume"]).await;
    assert!(resumed.contains("Resumed the outbox"), "{resumed}");
    eventually("the orders are done", async || (owed(service).await == 0).then_some(())).await;
    for id in ["a", "b", "c"] {
        assert_eq!(service.admin(&format!("/apps/shop/kv/done/{id}")).await["value"], 1, "{id}, once");
    }
    let events = history::of(service).await;
    history::assert_gapless(&events);
    assert_eq!(runs(&events), 3);
    let ready: Value = serde_json::from_str(&service.get("shop.localhost", "/readyz").await.1).unwrap();
    let degraded = ready["degraded"].as_array().unwrap();
    // How full the disk is that this is tested on is none of its business.
    assert!(degraded.iter().all(|what| what.as_str().unwrap().contains("the disk")), "{ready}");
    // State was copied, and is what the log makes of it all the same: two lives of it by now.
    elsewhere.picloud(&["replay", "--state"]).await;
    let verified = elsewhere.picloud(&["verify"]).await;
    assert!(verified.contains("are as they were sealed"), "{verified}");
    let asked = BTreeMap::from([("PICLOUD_KEY", service.key().to_owned())]);
    let remote = elsewhere.run_with(&["backup", "remote.picloud", "--url", &service.admin], &asked).await;
    assert!(remote.status.success() && told(&remote).contains("as of"), "{}", told(&remote));
    elsewhere.picloud(&["restore", "--check", "remote.picloud"]).await;
    let none = elsewhere.run(&["backup", "-"]).await;
    assert!(none.status.success() && none.stdout.starts_with(b"picloud backup 1\n"), "it can be backed up again");
}
