//! Who is told when something is wrong: set, shown without its address, tried out, removed.

use http::Method;
use std::sync::Arc;

use picloud_core::{
    capability::Capability,
    keys::{Destination, Webhook},
};
use picloud_ingress::admin;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::fixture::{Client, Deaf, World, each};

const ALERTS: &str = "/api/v1/admin/alerts";
const OPS: &str = "/api/v1/admin/alerts/ops";
const URL: &str = "https://hooks.example.com/services/T0/open-sesame";

/// The address that a channel has.
async fn webhook(world: &World, channel: &str) -> Webhook {
    let secret = world.plane.setup.get().alert_channels[channel].secret;
    match world.plane.keyring.destination(secret).await.expect("a keyring") {
        Some(Destination::Webhook(webhook)) => webhook,
        other => panic!("{other:?}"),
    }
}

async fn addresses(pool: &PgPool) -> i64 {
    let count = sqlx::query_scalar("select count(*) from live.secret_material where kind = 'alert_channel'");
    count.fetch_one(pool).await.expect("a count")
}

#[sqlx::test(migrations = "../migrations")]
async fn a_channel_is_made_with_a_secret_that_is_shown_once_and_an_address_that_is_never(pool: PgPool) {
    let world = World::start(pool.clone()).await;
    let made = world.owner.put(OPS, json!({ "url": URL })).await.is(201);
    let secret = made["secret"].as_str().expect("it is shown").to_owned();
    assert_eq!(secret, webhook(&world, "ops").await.secret.reveal());
    let shown = json!({
        "name": "ops",
        "kind": "webhook",
        "host": "hooks.example.com",
        "to": null,
        "conditions": null,
        "cooldown_s": 3600,
        "enabled": true,
        "hindrance": null,
        "owed": 0,
        "last_error": null,
        "created_at": made["created_at"],
    });
    assert_eq!(world.owner.get(OPS).await.is(200), shown);
    assert_eq!(world.owner.get(ALERTS).await.is(200)["items"], json!([shown]));

    // Nothing of it is anywhere in the log, nor lies open in the database.
    let events = world.owner.get("/api/v1/admin/events?kind=alert_channel.set").await.is(200);
    let event = &events["items"][0];
    assert_eq!((&event["subject"], &event["data"]["host"]), (&json!("alert_channel:ops"), &json!("hooks.example.com")));
    let log: Vec<String> =
        sqlx::query_scalar("select data::text || actor::text from log.events").fetch_all(&pool).await.expect("a log");
    assert!(log.iter().all(|line| !line.contains("sesame") && !line.contains("whsec_")), "{log:?}");
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_set_again_keeps_what_is_left_out_of_its_address_and_nothing_else(pool: PgPool) {
    let world = World::start(pool.clone()).await;
    let settings =
        json!({ "url": URL, "conditions": ["disk", "dead_letter", "disk"], "cooldown_s": 60, "enabled": false });
    let made = world.owner.put(OPS, settings.clone()).await.is(201);
    assert_eq!(made["conditions"], json!(["dead_letter", "disk"]));
    assert_eq!((&made["cooldown_s"], &made["enabled"]), (&json!(60), &json!(false)));
    // The same again is no change.
    let again = world.owner.put(OPS, settings).await.is(200);
    assert_eq!(again["secret"], Value::Null);
    let events = world.owner.get("/api/v1/admin/events?kind=alert_channel.set").await.is(200);
    assert_eq!(each(&events, "type").len(), 1);

    let first = webhook(&world, "ops").await;
    let changed = world.owner.put(OPS, json!({})).await.is(200);
    assert_eq!(
        (&changed["conditions"], &changed["cooldown_s"], &changed["secret"]),
        (&Value::Null, &json!(3600), &Value::Null)
    );
    assert_eq!(webhook(&world, "ops").await.url, first.url);

    // Another address keeps the secret, another secret the address; what was before is erased.
    let moved = world.owner.put(OPS, json!({ "url": "http://192.168.1.7:8065/hooks/x" })).await.is(200);
    assert_eq!((&moved["host"], &moved["secret"]), (&json!("192.168.1.7:8065"), &Value::Null));
    assert_eq!(webhook(&world, "ops").await.secret, first.secret);
    let rotated = world.owner.put(OPS, json!({ "rotate_secret": true })).await.is(200);
    let now = webhook(&world, "ops").await;
    assert_eq!(rotated["secret"], json!(now.secret.reveal()));
    assert!(now.secret != first.secret && now.url.as_str() == "http://192.168.1.7:8065/hooks/x");
    assert_eq!(addresses(&pool).await, 1);

    world.owner.delete(OPS).await.is(204);
    assert_eq!(addresses(&pool).await, 0);
    let gone = world.owner.get(OPS).await.problem(404);
    assert!(gone.contains("there is no alert channel named `ops`"), "{gone}");
    world.owner.delete(OPS).await.problem(404);
    assert_eq!(world.owner.get(ALERTS).await.is(200)["items"], json!([]));
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_channel_whose_address_cannot_be_read_gets_another(pool: PgPool) {
    let world = World::start(pool.clone()).await;
    let made = world.owner.put(OPS, json!({ "url": URL })).await.is(201);
    sqlx::query("update live.secret_material set material = 'broken' where kind = 'alert_channel'")
        .execute(&pool)
        .await
        .expect("broken");
    let refused = world.owner.put(OPS, json!({ "enabled": false })).await;
    assert!(refused.problem(422).contains("the channel has no address that can be read"), "{refused:?}");
    let mended = world.owner.put(OPS, json!({ "url": URL })).await.is(200);
    assert!(mended["secret"].is_string() && mended["secret"] != made["secret"], "{mended}");
    assert_eq!(webhook(&world, "ops").await.url.as_str(), URL);
    assert_eq!(addresses(&pool).await, 1);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_cannot_be_set_says_which_field_and_why(pool: PgPool) {
    let world = World::start(pool.clone()).await;
    for (channel, settings, field, says) in [
        ("ops", json!({}), "url", "`url` is missing"),
        ("ops", json!({ "url": "ftp://example.com/" }), "url", "begins with `ftp:`"),
        ("ops", json!({ "url": "https://me:sesame@example.com/" }), "url", "user name or password"),
        ("ops", json!({ "url": URL, "cooldown_s": 59 }), "cooldown_s", "`cooldown_s` is 59: 60 to 2592000"),
        ("ops", json!({ "url": URL, "conditions": [] }), "conditions", "`conditions` names nothing"),
        ("Ops", json!({ "url": URL }), "channel", "`Ops` is no name"),
        ("ops", json!({ "url": URL, "to": ["ops@example.com"] }), "to", "`url` and `to` are both there"),
        ("ops", json!({ "kind": "webhook", "to": ["ops@example.com"] }), "to", "`to` is for `email`"),
        ("ops", json!({ "kind": "email", "url": URL }), "url", "`url` is for `webhook`"),
        ("ops", json!({ "kind": "email" }), "to", "`to` is missing"),
        ("ops", json!({ "to": [] }), "to", "`to` names nobody"),
        ("ops", json!({ "to": ["ops"] }), "to", "`ops` is no address for mail"),
        (
            "ops",
            json!({ "to": ["a@b.example\r\nBcc: c@d.example"] }),
            "to",
            r"`a@b.example\r\nBcc: c@d.example` is no address",
        ),
        ("ops", json!({ "to": ["ops@example.com"], "rotate_secret": true }), "rotate_secret", "mail is not signed"),
        ("ops", json!({ "to": (0..21).map(|n| format!("{n}@example.com")).collect::<Vec<_>>() }), "to", "21 addresses"),
    ] {
        let refused = world.owner.put(&format!("{ALERTS}/{channel}"), settings.clone()).await;
        let detail = refused.problem(422);
        assert!(detail.contains(says) && !detail.contains("sesame"), "{settings}: {detail}");
        assert_eq!(refused.json()["field"], field, "{settings}");
    }
    let unknown = world.owner.put(OPS, json!({ "url": URL, "conditions": ["rain"] })).await;
    assert!(unknown.problem(422).contains("rain"));
    let pigeon = world.owner.put(OPS, json!({ "url": URL, "kind": "pigeon" })).await;
    assert!(pigeon.problem(422).contains("webhook"));
    for n in 0..20 {
        world.owner.put(&format!("{ALERTS}/c{n}"), json!({ "url": URL })).await.is(201);
    }
    let detail = world.owner.put(OPS, json!({ "url": URL })).await.problem(422);
    assert!(detail.contains("there are 20 alert channels, which is the most"), "{detail}");
    assert_eq!(addresses(&pool).await, 20, "what was not committed is erased");
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_channel_of_mail_has_addresses_that_are_shown_here_and_are_not_in_the_log(pool: PgPool) {
    let world = World::start(pool.clone()).await;
    let to = json!(["Anna@Example.com", "bob@example.org", "Anna@example.com"]);
    let made = world.owner.put(OPS, json!({ "to": to })).await.is(201);
    assert_eq!((&made["kind"], &made["secret"]), (&json!("email"), &Value::Null));
    assert_eq!(made["to"], json!(["Anna@example.com", "bob@example.org"]));
    assert_eq!(made["host"], "example.com, example.org");
    assert_eq!(made["hindrance"], Value::Null);
    // What is left out stays, and the same again is no change.
    let changed = world.owner.put(OPS, json!({ "cooldown_s": 60 })).await.is(200);
    assert_eq!((&changed["kind"], &changed["to"]), (&json!("email"), &made["to"]));
    world.owner.put(OPS, json!({ "kind": "email", "to": made["to"], "cooldown_s": 60 })).await.is(200);
    let events = world.owner.get("/api/v1/admin/events?kind=alert_channel.set").await.is(200);
    assert_eq!(each(&events, "type").len(), 2);
    let log: Vec<String> =
        sqlx::query_scalar("select data::text || actor::text from log.events").fetch_all(&pool).await.expect("a log");
    assert!(log.iter().all(|line| !line.to_lowercase().contains("anna")), "{log:?}");

    // Another address, and another kind; what was before is erased.
    let moved = world.owner.put(OPS, json!({ "to": ["carol@example.com"] })).await.is(200);
    assert_eq!((&moved["to"], &moved["host"]), (&json!(["carol@example.com"]), &json!("example.com")));
    let turned = world.owner.put(OPS, json!({ "url": URL })).await.is(200);
    assert_eq!((&turned["kind"], &turned["to"]), (&json!("webhook"), &Value::Null));
    assert!(turned["secret"].is_string());
    assert_eq!(addresses(&pool).await, 1);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn without_a_server_no_channel_of_mail_is_made_and_one_that_is_there_says_so(pool: PgPool) {
    let world = World::start(pool.clone()).await;
    world.owner.put(OPS, json!({ "to": ["ops@example.com"] })).await.is(201);
    // The same instance, started again without the settings.
    let plane = admin::AdminPlane { courier: Arc::new(Deaf { sends_mail: false }), ..world.plane.clone() };
    let without = Client { router: admin::router(plane), ..world.owner.clone() };
    let refused = without.put("/api/v1/admin/alerts/phone", json!({ "to": ["anna@example.com"] })).await;
    assert!(refused.problem(422).contains("start `picloud serve` with --smtp-url and --mail-from"), "{refused:?}");
    assert_eq!(refused.json()["field"], "kind");
    without.put("/api/v1/admin/alerts/hook", json!({ "url": URL })).await.is(201);
    let hook = without.put("/api/v1/admin/alerts/hook", json!({ "to": ["anna@example.com"] })).await;
    hook.problem(422);
    let shown = without.get(OPS).await.is(200);
    assert!(shown["hindrance"].as_str().expect("it says so").contains("--smtp-url"), "{shown}");
    assert_eq!(without.get("/api/v1/admin/alerts/hook").await.is(200)["hindrance"], Value::Null);
    without.put(OPS, json!({ "enabled": false })).await.is(200);
    assert_eq!(addresses(&pool).await, 2, "what was refused is not kept");

    sqlx::query("delete from live.secret_material where kind = 'alert_channel'").execute(&pool).await.expect("erased");
    let lost = world.owner.get(OPS).await.is(200);
    assert_eq!((&lost["to"], &lost["host"]), (&Value::Null, &json!("example.com")));
    assert!(lost["hindrance"].as_str().expect("it says so").contains("set the channel again"), "{lost}");
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn who_sees_the_log_sees_channels_and_who_manages_the_instance_sets_and_tries_them(pool: PgPool) {
    let world = World::start(pool).await;
    world.owner.put(OPS, json!({ "url": URL })).await.is(201);
    let reader = world.key(&[Capability::InstanceReadLog], None).await;
    reader.get(ALERTS).await.is(200);
    let etag = reader.get(OPS).await.header("etag").expect("a version").to_owned();
    for refused in [
        reader.put(OPS, json!({ "url": URL })).await,
        reader.delete(OPS).await,
        reader.post(&format!("{OPS}/test"), json!({})).await,
    ] {
        refused.problem(403);
        assert_eq!(refused.json()["capability"], "InstanceManageSettings");
    }
    // Of two who have read the same, the second is told.
    world.owner.ask_for(Method::PUT, OPS, &etag, json!({ "enabled": false })).await.is(200);
    world.owner.ask_for(Method::PUT, OPS, &etag, json!({ "enabled": true })).await.problem(412);

    let tested = world.owner.post(&format!("{OPS}/test"), json!({})).await.is(200);
    assert_eq!(
        tested,
        json!({ "delivered": false, "status": 410, "error": "it answered 410", "refused": null, "said": "go away" })
    );
    world.owner.post(&format!("{ALERTS}/nobody/test"), json!({})).await.problem(404);
    world.stop().await;
}
