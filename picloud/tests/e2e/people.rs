//! Several people and programs on one instance, each from a machine of its own.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    app,
    eventually::eventually,
    home::{Home, told},
    service::{Service, Start, answer, client},
};

const PASSWORD: &str = "correct horse battery";

/// Another machine: nothing is there but the command line.
fn elsewhere() -> Home {
    Home::new()
}

async fn ok(home: &Home, arguments: &[&str], stdin: &str) -> String {
    let output = home.run_reading(arguments, stdin).await;
    assert!(output.status.success(), "picloud {}: {}", arguments.join(" "), told(&output));
    told(&output)
}

async fn sign_in(home: &Home, service: &Service, email: &str) -> String {
    ok(home, &["login", &service.admin, "--email", email], &format!("{PASSWORD}\n")).await
}

#[tokio::test]
async fn an_owner_a_viewer_and_a_program_each_do_what_they_may() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let folder = app::write(&home, "shop", &[("hello", "GET /hello", "`one`")]);
    home.picloud(&["deploy", &folder]).await;

    // The first account, beside the service; then from a machine of its own.
    let made = ok(&home, &["account", "create", "ada@example.com", "--role", "owner"], &format!("{PASSWORD}\n")).await;
    assert!(made.contains("ada@example.com"), "{made}");
    let ada = elsewhere();
    let signed = sign_in(&ada, &service, "Ada@example.com").await;
    assert!(signed.contains("as ada@example.com") && signed.contains("plain http"), "{signed}");
    let profile = ada.path().join("config/picloud/default.toml");
    assert_eq!(fs::metadata(&profile).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(ada.picloud(&["whoami"]).await.contains("owner"));

    // She invites somebody to look.
    let invited: Value =
        serde_json::from_str(&ada.picloud(&["--output", "json", "account", "invite", "bob@example.com"]).await)
            .unwrap();
    ada.picloud(&["member", "add", "bob@example.com", "viewer", "--app", "shop"]).await;
    let link = invited["link"]["url"].as_str().unwrap();
    let (path, token) = link.split_once("?token=").unwrap();
    let form = format!("token={token}&password={}", PASSWORD.replace(' ', "+"));
    let joining = client().post(path).header("origin", &service.admin).body(form);
    let (status, page) = answer(joining).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    let bob = elsewhere();
    sign_in(&bob, &service, "bob@example.com").await;
    assert!(bob.picloud(&["app", "ls"]).await.contains("shop"));
    assert!(!bob.picloud(&["app", "ls"]).await.contains("default"), "what he may not see is not there");
    let folder_of_bob = app::write(&bob, "shop", &[("hello", "GET /hello", "`two`")]);
    let refused = bob.run(&["deploy", &folder_of_bob]).await;
    assert_eq!(refused.status.code(), Some(4));
    assert!(told(&refused).contains("AppWriteScript"), "{}", told(&refused));
    assert_eq!(service.get("shop.localhost", "/hello").await.1, "\"one\"");

    // A program deploys with a key, from yet another machine.
    let key: Value = serde_json::from_str(
        &ada.picloud(&[
            "--output",
            "json",
            "key",
            "create",
            "ci",
            "--app",
            "shop",
            "--scope",
            "AppRead",
            "--scope",
            "AppWriteScript",
            "--scope",
            "AppWriteRoute",
            "--expires",
            "90d",
        ])
        .await,
    )
    .unwrap();
    let machine = elsewhere();
    let folder = app::write(&machine, "shop", &[("hello", "GET /hello", "`three`")]);
    let as_key = BTreeMap::from([
        ("PICLOUD_URL", service.admin.clone()),
        ("PICLOUD_KEY", key["key"].as_str().unwrap().to_owned()),
    ]);
    let deployed = machine.run_with(&["deploy", &folder], &as_key).await;
    assert!(deployed.status.success(), "{}", told(&deployed));
    assert_eq!(service.get("shop.localhost", "/hello").await.1, "\"three\"");

    // Revoked, it is worth nothing from the next call on.
    ada.picloud(&["key", "revoke", key["id"].as_str().unwrap()]).await;
    let refused = machine.run_with(&["deploy", &folder], &as_key).await;
    assert_eq!(refused.status.code(), Some(4), "{}", told(&refused));
    assert!(ada.picloud(&["key", "ls"]).await.contains("local CLI"));

    // Who did what is in the log.
    let events = ada.picloud(&["--output", "json", "events", "--app", "shop", "--kind", "script.deployed"]).await;
    let actors: Vec<String> = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["actor"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(actors.last().map(String::as_str), key["id"].as_str(), "{events}");

    ada.picloud(&["logout"]).await;
    assert!(!profile.exists());
    let out = ada.run(&["whoami"]).await;
    assert_eq!(out.status.code(), Some(3), "{}", told(&out));
    service.stop().await;
}

#[tokio::test]
async fn an_app_is_paused_renamed_and_deleted_with_all_its_traces() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let source = "kv::collection(`c`).set(`k`, 1); `here`".replace('`', "\"");
    let folder = app::write(&home, "shop", &[("hello", "GET /hello", &source)]);
    home.picloud(&["deploy", &folder]).await;
    assert_eq!(service.get("shop.localhost", "/hello").await.0, StatusCode::OK);

    home.picloud(&["app", "pause", "shop"]).await;
    let (status, body) = service.get("shop.localhost", "/hello").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("/problems/app-paused"), "{body}");
    home.picloud(&["app", "resume", "shop"]).await;
    assert_eq!(service.get("shop.localhost", "/hello").await.0, StatusCode::OK);

    home.picloud(&["app", "rename", "shop", "store"]).await;
    assert!(home.picloud(&["env", "set", "A=1", "--app", "shop"]).await.contains('A'), "the old name leads to it");
    let raw = client().get(format!("{}/api/v1/admin/apps/shop/env?limit=1", service.admin));
    let moved = raw.bearer_auth(service.key()).send().await.unwrap();
    assert_eq!(moved.status(), StatusCode::PERMANENT_REDIRECT);
    assert_eq!(moved.headers()["location"], "/api/v1/admin/apps/store/env?limit=1");
    let taken = home.run(&["app", "create", "shop"]).await;
    assert!(told(&taken).contains("leads to the app `store`"), "{}", told(&taken));

    let asked = home.run(&["app", "delete", "store"]).await;
    assert_eq!(asked.status.code(), Some(1));
    assert!(told(&asked).contains("1 scripts, 1 routes") && told(&asked).contains("1 kv entries"), "{}", told(&asked));
    home.picloud(&["app", "delete", "store", "--confirm", "store", "--purge"]).await;
    assert_eq!(service.get("shop.localhost", "/hello").await.0, StatusCode::NOT_FOUND);
    assert_eq!(home.run(&["app", "show", "store"]).await.status.code(), Some(1));
    home.picloud(&["app", "create", "store"]).await;
    service.stop().await;
}

#[tokio::test]
async fn the_master_key_is_changed_while_everything_runs_and_after_a_restart() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    let folder = app::write(&home, "shop", &[("hello", "POST /hello", "`${ctx.request.body_raw.len()}`")]);
    home.picloud(&["deploy", &folder]).await;
    let account = json!({ "email": "ada@example.com", "password": PASSWORD, "role": "owner" });
    let accounts = client().post(format!("{}/api/v1/admin/accounts", service.admin)).bearer_auth(service.key());
    assert_eq!(answer(accounts.json(&account)).await.0, StatusCode::CREATED);
    let idempotent = |service: &Service| {
        let request = service.call(Method::POST, "shop.localhost", "/hello");
        answer(request.header("idempotency-key", "order-1").body("hello"))
    };
    let first = idempotent(&service).await;
    assert_eq!(first.0, StatusCode::OK, "{}", first.1);

    let before = fs::read(home.data().join("master.key")).unwrap();
    let rotated = home.picloud(&["master-key", "rotate"]).await;
    assert!(rotated.contains("Back the new file up"), "{rotated}");
    assert_ne!(fs::read(home.data().join("master.key")).unwrap(), before);
    // What was sealed before is read; what is new is written.
    assert_eq!(idempotent(&service).await, first);
    service.stop().await;

    let service = Start::new(&home).ready().await;
    assert_eq!(idempotent(&service).await, first, "the outcome was sealed under the old master key's data key");
    let there = elsewhere();
    sign_in(&there, &service, "ada@example.com").await;
    assert!(there.picloud(&["app", "ls"]).await.contains("shop"));
    service.stop().await;
}

#[tokio::test]
async fn an_account_that_is_deactivated_is_out_within_a_second() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).ready().await;
    ok(&home, &["account", "create", "eve@example.com", "--role", "admin"], &format!("{PASSWORD}\n")).await;
    let eve = elsewhere();
    sign_in(&eve, &service, "eve@example.com").await;
    home.picloud(&["account", "deactivate", "eve@example.com"]).await;
    let began = std::time::Instant::now();
    eventually("she is out", || async { (eve.run(&["whoami"]).await.status.code() == Some(4)).then_some(()) }).await;
    assert!(began.elapsed() < Duration::from_secs(5));
    service.stop().await;
}

#[tokio::test]
async fn who_starts_it_at_a_terminal_makes_the_first_account_at_a_link_that_works_once() {
    let home = Arc::new(Home::new());
    let service = Start::new(&home).at_a_terminal().ready().await;
    let said = service.until_it_says("/setup/").await;
    let link = said.split_whitespace().find(|word| word.contains("/setup/")).unwrap();
    assert!(link.starts_with(&service.admin), "{link}");
    let (page, token) = link.split_once("?token=").unwrap();
    let make = async |email: &str| {
        let form = format!("token={token}&name=Ada&email={email}&password={}", PASSWORD.replace(' ', "+"));
        answer(client().post(page).header("origin", &service.admin).body(form)).await
    };
    let (status, made) = make("ada@example.com").await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let (status, told) = make("eve@example.com").await;
    assert_eq!(status, StatusCode::CONFLICT, "{told}");
    let ada = elsewhere();
    sign_in(&ada, &service, "ada@example.com").await;
    assert!(ada.picloud(&["whoami"]).await.contains("owner"));
    service.stop().await;

    // There is an owner: nobody else is asked to become one.
    let service = Start::new(&home).at_a_terminal().ready().await;
    let said = service.until_it_says("Next, in another terminal").await;
    assert!(!said.contains("/setup/"), "{said}");
    service.stop().await;
}
