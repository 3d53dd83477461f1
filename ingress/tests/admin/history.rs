//! Who changed a thing, when, and from what to what.

use picloud_core::{
    event::{Actor, kv},
    id::AppId,
    log::{Commit, NewEvent},
};
use serde_json::{Value, json, value::RawValue};
use sqlx::PgPool;

use crate::{
    dead_letters::letter,
    fixture::{World, each, text},
};

const SHOP: &str = "/api/v1/admin/apps/shop";

async fn set(world: &World, app: AppId, value: &str) {
    let set = kv::Set {
        collection: "carts".to_owned(),
        key: "42".to_owned(),
        value: RawValue::from_string(value.to_owned()).expect("JSON"),
        expires_at: None,
    };
    let event = NewEvent::new(Some(app), &Actor::SYSTEM, set);
    world.plane.committer.commit(Commit::new(world.plane.node.authority(), vec![event])).await.expect("a commit");
}

/// What each entry says of its changes, the newest first.
fn changes(page: &Value) -> Vec<String> {
    let entries = page["items"].as_array().expect("a list");
    let told = |entry: &Value| {
        let changes = entry["changes"].as_array().expect("a list");
        let changes: Vec<_> = changes
            .iter()
            .map(|change| format!("{} {} → {}", text(&change["field"]), change["before"], change["after"]))
            .collect();
        format!("{}: {}", text(&entry["type"]), changes.join(", "))
    };
    entries.iter().map(told).collect()
}

#[sqlx::test(migrations = "../migrations")]
async fn each_change_says_who_made_what_of_what(pool: PgPool) {
    let world = World::start(pool).await;
    world.app("shop").await;
    let ada = world.person("ada@example.com", "owner").await;
    let script =
        ada.post(&format!("{SHOP}/scripts"), json!({ "name": "greet", "source": "let a = 1;\na\n" })).await.is(201);
    let route =
        ada.post(&format!("{SHOP}/routes"), json!({ "method": "GET", "path": "/a", "script": "greet" })).await.is(201);
    let path = format!("{SHOP}/routes/{}", text(&route["id"]));
    ada.put(&path, json!({ "path": "/b", "script": "greet", "rate_limit": { "per_second": 5 } })).await.is(200);
    world.owner.delete(&path).await.is(204);
    let versions = format!("{SHOP}/scripts/greet/versions");
    ada.post(&versions, json!({ "source": "let a = 2;\na\n", "activate": false })).await.is(201);

    let of = |subject: &str| format!("{SHOP}/events/history?subject={subject}");
    let history = world.owner.get(&of(&text(&route["id"]))).await.is(200);
    assert_eq!(each(&history, "type"), ["route.unbound", "route.updated", "route.bound"]);
    assert!(each(&history, "by")[0].starts_with("key_"), "{history}");
    assert_eq!(each(&history, "by")[1..], ["ada@example.com", "ada@example.com"]);
    let told = changes(&history);
    assert_eq!(
        told[1],
        r#"route.updated: method "GET" → null, path "/a" → "/b", rate_limit.burst null → 0, rate_limit.per_second null → 5"#
    );
    assert!(told[0].contains(r#"path "/b" → null"#) && told[2].contains(r#"path null → "/a""#), "{told:?}");

    // A page begins where the one before ended, and knows what was before it.
    let first = world.owner.get(&format!("{}&limit=1", of(&text(&route["id"])))).await.is(200);
    let next = format!("{}&limit=1&cursor={}", of(&text(&route["id"])), text(&first["cursor"]));
    assert_eq!(changes(&world.owner.get(&next).await.is(200)), told[1..2]);

    let by_name = world.owner.get(&of("script:greet")).await.is(200);
    assert_eq!(by_name, world.owner.get(&of(&text(&script["id"]))).await.is(200));
    assert_eq!(changes(&by_name)[0], "script.deployed: version 1 → 2");
    let diff = text(&by_name["items"][0]["diff"]);
    assert!(diff.contains("-let a = 1;\n+let a = 2;\n a\n"), "{diff}");
    // What it says of a moment is what is shown of that moment.
    let at = format!("{path}?at={}", text(&history["items"][1]["cursor"]));
    assert_eq!(world.owner.get(&at).await.is(200)["path"], "/b");
    world.owner.get(&of("script:none")).await.problem(404);
    world.owner.get(&format!("{SHOP}/events/history")).await.problem(422);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn values_letters_and_what_is_not_folded_have_a_history_and_other_apps_have_none(pool: PgPool) {
    let world = World::start(pool).await;
    let (app, other) = (world.app("shop").await, world.app("other").await);
    set(&world, app, r#"{"state": "new", "n": 1}"#).await;
    set(&world, other, "7").await;
    set(&world, app, r#"{"state": "paid", "n": 1}"#).await;
    let of = |app: &str, subject: &str| format!("/api/v1/admin/apps/{app}/events/history?subject={subject}");
    let told = changes(&world.owner.get(&of("shop", "kv:carts/42")).await.is(200));
    let wanted = [r#"kv.set: value.state "new" → "paid""#, r#"kv.set: value.n null → 1, value.state null → "new""#];
    assert_eq!(told, wanted);
    assert_eq!(changes(&world.owner.get(&of("other", "kv:carts/42")).await.is(200)), ["kv.set: value null → 7"]);

    let path = letter(&world, app, "shop", "boom").await;
    let id = path.rsplit('/').next().expect("an id").to_owned();
    world.owner.post(&format!("{path}/resolve"), json!({ "reason": "known" })).await.is(200);
    let history = world.owner.get(&of("shop", &id)).await.is(200);
    assert_eq!(changes(&history)[0], r#"dead_letter.resolved: resolution null → "ignored", why null → "known""#);
    assert_eq!(world.owner.get(&of("other", &id)).await.is(200)["items"], json!([]));

    let env = format!("{SHOP}/env/currency");
    world.owner.put(&env, json!({ "value": "EUR" })).await.is(200);
    world.owner.put(&env, json!({ "value": "CHF" })).await.is(200);
    world.owner.delete(&env).await.is(204);
    let told = changes(&world.owner.get(&of("shop", "env:currency")).await.is(200));
    assert_eq!(told[1], r#"env.set: value "EUR" → "CHF""#);
    assert!(told[0].contains(r#"value "CHF" → null"#), "{told:?}");
    world.stop().await;
}
