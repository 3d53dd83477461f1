use http::Method;
use picloud_core::capability::Capability;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::fixture::{Client, World, each, text};

const TRIGGERS: &str = "/api/v1/admin/apps/default/triggers";

async fn world(pool: PgPool) -> World {
    let world = World::start(pool).await;
    let scripts = "/api/v1/admin/apps/default/scripts";
    world.owner.post(scripts, json!({ "name": "greet", "source": "1" })).await.is(201);
    world.owner.post(scripts, json!({ "name": "lib", "kind": "module", "source": "fn a() {}" })).await.is(201);
    world
}

fn carts() -> Value {
    json!({ "kind": "kv", "collection": "carts*", "ops": ["set"], "script": "greet" })
}

/// Makes a trigger; answers its path.
async fn made(client: &Client, said: Value) -> String {
    format!("{TRIGGERS}/{}", text(&client.post(TRIGGERS, said).await.is(201)["id"]))
}

/// The events of an app of one kind, oldest first.
async fn events(world: &World, kind: &str) -> Vec<Value> {
    let path = format!("/api/v1/admin/apps/default/events?kind={kind}&order=asc");
    world.owner.get(&path).await.is(200)["items"].as_array().expect("events").clone()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_trigger_is_made_changed_and_deleted(pool: PgPool) {
    let world = world(pool).await;
    let reply = world.owner.post(TRIGGERS, carts()).await;
    reply.cursor();
    let made = reply.is(201);
    assert_eq!(
        (&made["kind"], &made["collection"], &made["ops"]),
        (&json!("kv"), &json!("carts*"), &json!(["set"])),
        "flat, as it was said"
    );
    assert_eq!(
        (&made["script_name"], &made["enabled"], &made["paused"]),
        (&json!("greet"), &json!(true), &json!(false))
    );
    assert_eq!((&made["retry"]["max_attempts"], &made["disabled_why"]), (&json!(5), &Value::Null));
    assert!(text(&made["registrant"]).starts_with("key_"), "the first key is nobody's: {made}");
    assert_eq!(made.get("next"), None, "it does not fire by the clock");
    let path = format!("{TRIGGERS}/{}", text(&made["id"]));
    let shown = world.owner.get(&path).await;
    let version = shown.etag();
    assert_eq!(shown.is(200), made);

    let cron = json!({ "kind": "cron", "schedule": "0 3 * * *", "time_zone": "Europe/Berlin", "script": "greet",
        "retry": { "max_attempts": 2 } });
    let changed = world.owner.ask_for(Method::PUT, &path, &version, cron.clone()).await.is(200);
    assert_eq!(
        (&changed["kind"], &changed["missed"], &changed["retry"]["max_attempts"]),
        (&json!("cron"), &json!("skip"), &json!(2))
    );
    assert_eq!(changed["next"].as_array().map(Vec::len), Some(5));
    world.owner.ask_for(Method::PUT, &path, &version, carts()).await.problem(412);
    world.owner.ask_for(Method::DELETE, &path, &version, Value::Null).await.problem(412);
    // What it says already makes no event.
    world.owner.put(&path, cron).await.is(200);
    assert_eq!(events(&world, "trigger.updated").await.len(), 1);

    assert_eq!(each(&world.owner.get(TRIGGERS).await.is(200), "id"), [text(&made["id"])]);
    world.owner.delete(&path).await.is(204);
    world.owner.get(&path).await.problem(404);
    world.owner.put(&path, carts()).await.problem(404);
    assert!(each(&world.owner.get(TRIGGERS).await.is(200), "id").is_empty());
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_trigger_counts_and_waits_as_it_is_told(pool: PgPool) {
    let world = world(pool).await;
    let mut said = carts();
    said["enabled"] = json!(false);
    let path = made(&world.owner, said).await;
    let state = async |what: &str| {
        let shown = world.owner.post(&format!("{path}/{what}"), Value::Null).await.is(200);
        assert_eq!(shown, world.owner.get(&path).await.is(200), "{what}");
        (shown["enabled"].as_bool().expect("a bool"), shown["paused"].as_bool().expect("a bool"))
    };
    assert_eq!(state("disable").await, (false, false));
    assert_eq!(state("enable").await, (true, false));
    assert_eq!(state("pause").await, (true, true));
    assert_eq!(state("pause").await, (true, true));
    assert_eq!(state("disable").await, (false, true));
    assert_eq!(state("resume").await, (false, false));
    // Each once, however often it was asked for.
    for (kind, times) in [("disabled", 2), ("enabled", 1), ("paused", 1), ("resumed", 1)] {
        assert_eq!(events(&world, &format!("trigger.{kind}")).await.len(), times, "{kind}");
    }
    // A change leaves it as it is, unless that is said, too.
    assert_eq!(
        world.owner.put(&path, json!({ "kind": "topic", "topic": "a", "script": "greet" })).await.is(200)["enabled"],
        false
    );
    let enabled = json!({ "kind": "topic", "topic": "a", "script": "greet", "enabled": true });
    assert_eq!(world.owner.put(&path, enabled).await.is(200)["enabled"], true);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_cannot_be_is_refused_with_its_field(pool: PgPool) {
    let world = world(pool).await;
    let gone = "scr_01ARZ3NDEKTSV4RRFFQ69G5FAV";
    for (said, field, told) in [
        (json!({ "kind": "kw", "script": "greet" }), "kw", "did you mean `kv`?"),
        (json!({ "script": "greet" }), "kind", "missing field `kind`"),
        (json!({ "kind": "kv", "colection": "a", "script": "greet" }), "colection", "did you mean `collection`?"),
        (json!({ "kind": "queue", "queue": "a", "collection": "b", "script": "greet" }), "collection", "unknown field"),
        (json!({ "kind": "kv", "collection": "a" }), "script", "missing field `script`"),
        (json!({ "kind": "kv", "script": "greet" }), "collection", "missing field `collection`"),
        (json!({ "kind": "kv", "collection": "A", "script": "greet" }), "collection", "`A` is no collection"),
        (json!({ "kind": "cron", "schedule": "61 * * * *", "script": "greet" }), "schedule", "61"),
        (
            json!({ "kind": "cron", "schedule": "@daily", "time_zone": "Mars/Base", "script": "greet" }),
            "time_zone",
            "Mars/Base",
        ),
        (json!({ "kind": "topic", "topic": "a", "script": "nobody" }), "script", "no script `nobody`"),
        (json!({ "kind": "topic", "topic": "a", "script": "lib" }), "script", "is a module"),
        (json!({ "kind": "dead_letter", "failed_script": gone, "script": "greet" }), "failed_script", gone),
        (
            json!({ "kind": "topic", "topic": "a", "script": "greet", "retry": { "max_attempts": 101 } }),
            "retry.max_attempts",
            "`max_attempts` is 101: 1 to 100 are allowed",
        ),
    ] {
        let refused = world.owner.post(TRIGGERS, said.clone()).await;
        let detail = refused.problem(422);
        assert!(detail.contains(told), "{said}: {detail}");
        assert_eq!(refused.json()["field"], field, "{said}: {detail}");
    }
    let retry = json!({ "kind": "topic", "topic": "a", "script": "greet", "retry": { "max_atempts": 1 } });
    assert!(world.owner.post(TRIGGERS, retry).await.problem(422).contains("did you mean `max_attempts`?"));
    assert!(each(&world.owner.get(TRIGGERS).await.is(200), "id").is_empty());
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn an_event_owes_a_hundred_runs_and_no_more(pool: PgPool) {
    let world = world(pool).await;
    let mail = json!({ "kind": "queue", "queue": "mail", "script": "greet" });
    let mut last = String::new();
    for _ in 0..100 {
        last = made(&world.owner, mail.clone()).await;
    }
    let refused = world.owner.post(TRIGGERS, mail.clone()).await;
    assert!(refused.problem(422).contains("one event could owe 101 runs: at most 100 are allowed"));
    assert_eq!((&refused.json()["limit"], &refused.json()["allowed"]), (&json!("owed_per_event"), &json!(100)));
    // Another event, or one that does not count: both are fine.
    let other = made(&world.owner, json!({ "kind": "queue", "queue": "other", "script": "greet" })).await;
    let mut disabled = mail.clone();
    disabled["enabled"] = json!(false);
    let disabled = made(&world.owner, disabled).await;
    world.owner.post(&format!("{disabled}/enable"), Value::Null).await.problem(422);
    world.owner.put(&other, mail.clone()).await.problem(422);
    // It is not in its own way.
    let patient = json!({ "kind": "queue", "queue": "mail", "script": "greet", "retry": { "max_attempts": 9 } });
    world.owner.put(&last, patient).await.is(200);
    world.owner.post(&format!("{last}/disable"), Value::Null).await.is(200);
    world.owner.post(&format!("{disabled}/enable"), Value::Null).await.is(200);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn who_changes_a_trigger_answers_for_it(pool: PgPool) {
    let world = world(pool).await;
    let ada = world.person("ada@example.com", "owner").await;
    let path = made(&world.owner, carts()).await;
    let registrant = async || text(&world.owner.get(&path).await.is(200)["registrant"]);
    assert!(registrant().await.starts_with("key_"));
    ada.put(&path, json!({ "kind": "topic", "topic": "a", "script": "greet" })).await.is(200);
    assert_eq!(registrant().await, "ada@example.com");
    // Letting it wait is no say in what it does.
    world.owner.post(&format!("{path}/pause"), Value::Null).await.is(200);
    world.owner.post(&format!("{path}/disable"), Value::Null).await.is(200);
    assert_eq!(registrant().await, "ada@example.com");
    world.owner.post(&format!("{path}/enable"), Value::Null).await.is(200);
    assert!(registrant().await.starts_with("key_"));
    let enabled = events(&world, "trigger.enabled").await.pop().expect("an event");
    assert!(enabled["data"]["registrant"]["scopes"].as_array().is_some_and(|scopes| !scopes.is_empty()), "{enabled}");

    let minted = json!({ "name": "ci", "scopes": ["AppRead", "AppManageTriggers"], "app": "default" });
    let minted = ada.post("/api/v1/admin/api_keys", minted).await.is(201);
    let ci = Client { key: Some(text(&minted["key"])), ..ada.clone() };
    ci.put(&path, carts()).await.is(200);
    assert_eq!(registrant().await, "ada@example.com");
    let updated = events(&world, "trigger.updated").await.pop().expect("an event");
    assert_eq!(updated["data"]["registrant"]["scopes"], json!(["AppRead", "AppManageTriggers"]));
    assert_eq!(updated["data"]["registrant"].get("key"), None);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn when_its_registrant_goes_a_trigger_stays_disabled_and_says_why(pool: PgPool) {
    let world = world(pool).await;
    world.app("other").await;
    let members = "/api/v1/admin/apps/default/members";
    let why = async |path: &str| {
        let shown = world.owner.get(path).await.is(200);
        assert_eq!(shown["enabled"] == json!(true), shown["disabled_why"].is_null(), "{shown}");
        shown["disabled_why"].as_str().map(str::to_owned)
    };
    let editor = async |who: &str| {
        let person = world.person(who, "member").await;
        world.owner.put(&format!("{members}/{who}"), json!({ "role": "editor" })).await.is(201);
        person
    };
    // Taken out of the app.
    let ada = editor("ada@example.com").await;
    let adas = made(&ada, carts()).await;
    world.owner.delete(&format!("{members}/ada@example.com")).await.is(204);
    assert_eq!(
        why(&adas).await.as_deref(),
        Some("ada@example.com, who registered it, is no member of this app any more")
    );
    // Deactivated; what was disabled by hand is still that.
    let bob = editor("bob@example.com").await;
    let (bobs, by_hand) = (made(&bob, carts()).await, made(&bob, carts()).await);
    bob.post(&format!("{by_hand}/disable"), Value::Null).await.is(200);
    world.owner.post("/api/v1/admin/accounts/bob@example.com/deactivate", Value::Null).await.is(204);
    assert_eq!(why(&bobs).await.as_deref(), Some("the account of bob@example.com, who registered it, was deactivated"));
    assert_eq!(world.owner.get(&by_hand).await.is(200)["disabled_why"], Value::Null);
    let events = events(&world, "trigger.disabled").await;
    assert_eq!(events.len(), 3, "{events:?}");
    // With another role on the instance.
    let eve = world.person("eve@example.com", "admin").await;
    let eves = made(&eve, carts()).await;
    world.owner.patch("/api/v1/admin/accounts/eve@example.com", json!({ "role": "member" })).await.is(200);
    assert!(why(&eves).await.is_some_and(|why| why.contains("eve@example.com, who registered it, has no role")));
    // A key that is nobody's, bound to the app.
    let key = world.key(&[Capability::AppManageTriggers], Some("default")).await;
    let keys = made(&key, carts()).await;
    let id = text(&world.owner.get(&keys).await.is(200)["registrant"]);
    world.owner.delete(&format!("/api/v1/admin/api_keys/{id}")).await.is(204);
    assert_eq!(why(&keys).await.as_deref(), Some("the API key `a key`, which registered it, was revoked"));
    // Somebody else can answer for it from then on.
    world.owner.post(&format!("{keys}/enable"), Value::Null).await.is(200);
    assert_eq!(why(&keys).await, None);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn who_keeps_a_role_keeps_the_triggers(pool: PgPool) {
    let world = world(pool).await;
    let member = "/api/v1/admin/apps/default/members/ada@example.com";
    let ada = world.person("ada@example.com", "admin").await;
    world.owner.put(member, json!({ "role": "editor" })).await.is(201);
    let path = made(&ada, carts()).await;
    let is_enabled = async || world.owner.get(&path).await.is(200)["enabled"] == json!(true);
    // An admin is editor of every app, member or not; a member is so without being admin.
    world.owner.delete(member).await.is(204);
    assert!(is_enabled().await);
    world.owner.put(member, json!({ "role": "editor" })).await.is(201);
    world.owner.patch("/api/v1/admin/accounts/ada@example.com", json!({ "role": "member" })).await.is(200);
    assert!(is_enabled().await);
    // What a key of hers made is hers.
    let minted = json!({ "name": "ci", "scopes": ["AppManageTriggers"], "app": "default" });
    let minted = ada.post("/api/v1/admin/api_keys", minted).await.is(201);
    let ci = Client { key: Some(text(&minted["key"])), ..ada.clone() };
    let keys = made(&ci, carts()).await;
    ada.delete(&format!("/api/v1/admin/api_keys/{}", text(&minted["id"]))).await.is(204);
    assert_eq!(world.owner.get(&keys).await.is(200)["enabled"], true);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn of_a_trigger_made_and_its_maker_deactivated_at_once_none_is_left_enabled(pool: PgPool) {
    let world = world(pool).await;
    let other = world.another().await;
    for n in 0..8 {
        let who = format!("ada{n}@example.com");
        let ada = world.person(&who, "admin").await;
        other.settled().await;
        let deactivate = format!("/api/v1/admin/accounts/{who}/deactivate");
        let (made, gone) = tokio::join!(ada.post(TRIGGERS, carts()), other.owner.post(&deactivate, Value::Null));
        gone.is(204);
        assert!(matches!(made.status.as_u16(), 201 | 401 | 403), "{made:?}");
    }
    world.settled().await;
    let left = world.owner.get(TRIGGERS).await.is(200);
    assert!(left["items"].as_array().expect("items").iter().all(|trigger| trigger["enabled"] == false), "{left}");
    other.stop().await;
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_trigger_is_tried_out_with_a_sample_event(pool: PgPool) {
    let world = world(pool).await;
    let path = made(&world.owner, carts()).await;
    let run = format!("{path}/run");
    let owed = world.owner.post(&run, json!({})).await;
    owed.cursor();
    let owed = owed.is(202);
    assert_eq!(
        owed["event"],
        json!({ "op": "set", "collection": "carts", "key": "example", "value": { "example": true } })
    );
    let item = format!("/api/v1/admin/apps/default/outbox/{}", text(&owed["outbox_id"]));
    let item = world.owner.get(&item).await.is(200);
    let id = path.rsplit('/').next().expect("an id");
    assert_eq!((&item["state"], &item["source"]), (&json!("waiting"), &json!({ "kind": "trigger", "trigger": id })));
    let enqueued = events(&world, "outbox.enqueued").await.pop().expect("an event");
    let event = &enqueued["data"]["payload"]["event"];
    assert_eq!((&event["kind"], &event["trigger_id"], &event["id"]), (&json!("kv"), &json!(id), &enqueued["id"]));
    assert_eq!(event["kv"], owed["event"]);

    let own = json!({ "op": "delete", "collection": "carts", "key": "7" });
    assert_eq!(world.owner.post(&run, json!({ "event": own })).await.is(202)["event"], own);
    let refused = world.owner.post(&run, json!({ "event": { "key": "a\0" } })).await;
    assert!(refused.problem(422).contains("U+0000"));
    world.owner.post(&run, json!({ "event": { "key": "x".repeat(70_000) } })).await.problem(422);
    world.owner.post(&run, json!({ "event": 1 })).await.problem(422);
    world.owner.post(&run, json!({ "evnt": {} })).await.problem(422);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_script_that_a_trigger_runs_is_not_deleted(pool: PgPool) {
    let world = world(pool).await;
    let path = made(&world.owner, carts()).await;
    let script = "/api/v1/admin/apps/default/scripts/greet";
    let refused = world.owner.delete(script).await;
    let id = path.rsplit('/').next().expect("an id");
    assert_eq!(
        refused.problem(409),
        format!("the script `greet` is run by 1 trigger(s), {id} for one; delete them or let them run another")
    );
    assert_eq!(refused.json()["triggers"], json!([id]));
    world.owner.delete(&path).await.is(204);
    world.owner.delete(script).await.is(204);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn nothing_of_a_trigger_shows_through_another_app_and_viewers_only_look(pool: PgPool) {
    let world = world(pool).await;
    world.app("other").await;
    let path = made(&world.owner, carts()).await;
    let elsewhere = path.replace("/default/", "/other/");
    let all = ["enable", "disable", "pause", "resume", "run"];
    for what in all {
        world.owner.post(&format!("{elsewhere}/{what}"), json!({})).await.problem(404);
    }
    world.owner.get(&elsewhere).await.problem(404);
    world.owner.delete(&elsewhere).await.problem(404);
    let here = "/api/v1/admin/apps/other/triggers";
    assert_eq!(world.owner.get(here).await.is(200)["items"], json!([]));
    // The script of another app is none of this one's.
    assert_eq!(world.owner.post(here, carts()).await.json()["field"], "script");

    let eve = world.person("eve@example.com", "member").await;
    let member = "/api/v1/admin/apps/default/members/eve@example.com";
    world.owner.put(member, json!({ "role": "viewer" })).await.is(201);
    eve.get(&path).await.is(200);
    eve.get(TRIGGERS).await.is(200);
    let refused = |reply: crate::fixture::Reply| {
        reply.problem(403);
        assert_eq!(reply.json()["capability"], "AppManageTriggers");
    };
    refused(eve.post(TRIGGERS, carts()).await);
    refused(eve.put(&path, carts()).await);
    refused(eve.delete(&path).await);
    for what in all {
        refused(eve.post(&format!("{path}/{what}"), json!({})).await);
    }
    assert_eq!(world.owner.get(&path).await.is(200)["enabled"], true);
    world.stop().await;
}
