use picloud_core::capability::Capability;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::fixture::{World, each, text};

const TOPICS: &str = "/api/v1/admin/apps/default/topics";

#[sqlx::test(migrations = "../migrations")]
async fn what_is_said_of_a_topic_is_kept_changed_by_version_and_taken_back(pool: PgPool) {
    let world = World::start(pool).await;
    let room = format!("{TOPICS}/room.*");
    world.owner.get(&room).await.problem(404);
    let said = json!({ "external": true, "auth": "token" });
    let shown = world.owner.put(&room, said.clone()).await;
    shown.cursor();
    let shown = shown.is(200);
    assert_eq!((&shown["name"], &shown["external"], &shown["auth"]), (&json!("room.*"), &json!(true), &json!("token")));
    let etag = world.owner.get(&room).await.etag();
    world.owner.put(&room, said).await.is(200);
    assert_eq!(world.owner.get(&room).await.etag(), etag, "the same said again changes nothing");
    let internal = json!({ "external": false });
    world.owner.ask_for(http::Method::PUT, &room, &etag, internal.clone()).await.is(200);
    world.owner.ask_for(http::Method::PUT, &room, &etag, internal).await.problem(412);
    assert_eq!(world.owner.get(&room).await.is(200)["auth"], Value::Null);
    world.owner.put(&format!("{TOPICS}/news"), json!({ "external": true, "auth": "public" })).await.is(200);
    assert_eq!(each(&world.owner.get(TOPICS).await.is(200), "name"), ["news", "room.*"]);

    world.owner.delete(&room).await.is(204);
    world.owner.delete(&room).await.problem(404);
    let events = world.owner.get("/api/v1/admin/apps/default/events?kind=topic&order=asc").await.is(200);
    let kinds = ["topic.registered", "topic.registered", "topic.registered", "topic.deleted"];
    assert_eq!(each(&events, "type"), kinds);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_makes_no_sense_of_a_topic_is_refused_by_name(pool: PgPool) {
    let world = World::start(pool).await;
    for (topic, said, told) in [
        ("Room", json!({ "external": false }), "`Room` is no topic"),
        ("a..b", json!({ "external": false }), "`a..b` is no topic"),
        ("room*", json!({ "external": false }), "`room*` is no topic"),
        ("room", json!({ "external": true }), "`auth` is missing"),
        ("room", json!({ "external": false, "auth": "token" }), "`auth` is said of a topic that is not external"),
        ("room", json!({ "external": true, "auth": "everybody" }), "everybody"),
    ] {
        let refused = world.owner.put(&format!("{TOPICS}/{topic}"), said).await.problem(422);
        assert!(refused.contains(told), "{refused}");
    }
    let reader = world.key(&[Capability::AppRead], None).await;
    assert!(each(&reader.get(TOPICS).await.is(200), "name").is_empty());
    let said = json!({ "external": true, "auth": "public" });
    let refused = reader.put(&format!("{TOPICS}/room"), said).await;
    refused.problem(403);
    assert_eq!(refused.json()["capability"], "AppManageTopics");
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_message_is_published_as_a_script_would(pool: PgPool) {
    let world = World::start(pool).await;
    let publish = |topic: &str| format!("{TOPICS}/{topic}/publish");
    world.owner.post(&publish("orders.paid"), json!({ "message": { "id": 7 } })).await.is(204);
    world.owner.post(&publish("orders.noted"), json!({ "message": "the escape \\u0000" })).await.is(204);
    let events = world.owner.get("/api/v1/admin/apps/default/events?kind=message.published&order=asc").await.is(200);
    assert_eq!(events["items"][0]["data"], json!({ "topic": "orders.paid", "message": { "id": 7 } }));
    assert_eq!(events["items"][1]["data"]["message"], "the escape \\u0000");
    for (topic, body, told) in [
        ("orders.*", json!({ "message": 1 }), "`orders.*` is no topic to publish to"),
        ("orders", json!({}), "message"),
        ("orders", json!({ "message": "a\u{0}b" }), "U+0000"),
        ("orders", json!({ "message": "x".repeat(300_000) }), "bytes long"),
    ] {
        let refused = world.owner.post(&publish(topic), body).await.problem(422);
        assert!(refused.contains(told), "{refused}");
    }
    let manager = world.key(&[Capability::AppManageTopics, Capability::AppRead], None).await;
    manager.post(&publish("orders"), json!({ "message": 1 })).await.problem(403);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_token_is_made_for_topics_and_a_time(pool: PgPool) {
    let world = World::start(pool).await;
    let tokens = "/api/v1/admin/apps/default/subscriber_tokens";
    let made = world.owner.post(tokens, json!({ "topics": ["room.7", "news.*"], "ttl_s": 60 })).await.is(200);
    assert_eq!(text(&made["token"]).split('.').count(), 3);
    for (body, told) in [
        (json!({ "topics": [] }), "`topics` names 0 topics"),
        (json!({ "topics": ["Room"] }), "`Room` is no topic"),
        (json!({ "topics": ["a"], "ttl_s": 0 }), "`ttl_s` is 0: 1 to 604800"),
        (json!({ "topics": ["a"], "ttl_s": 604_801 }), "`ttl_s` is 604801"),
    ] {
        let refused = world.owner.post(tokens, body).await.problem(422);
        assert!(refused.contains(told), "{refused}");
    }
    world.owner.post(&format!("{tokens}/rotate"), Value::Null).await.is(204);
    let events = world.owner.get("/api/v1/admin/apps/default/events?kind=topic.key_rotated").await.is(200);
    assert!(text(&events["items"][0]["data"]["key"]).starts_with("sec_"));
    let publisher = world.key(&[Capability::AppTopicPublish], None).await;
    publisher.post(tokens, json!({ "topics": ["a"] })).await.problem(403);
    world.stop().await;
}
