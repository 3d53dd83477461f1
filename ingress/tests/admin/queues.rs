use http::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::fixture::{World, each, text};

const QUEUES: &str = "/api/v1/admin/apps/default/queues";
const TRIGGERS: &str = "/api/v1/admin/apps/default/triggers";
const SCRIPTS: &str = "/api/v1/admin/apps/default/scripts";

/// With a consumer of `mail`.
async fn world(pool: PgPool) -> (World, String) {
    let world = World::start(pool).await;
    world.owner.post(SCRIPTS, json!({ "name": "send", "source": "1" })).await.is(201);
    let consumer = json!({ "kind": "queue", "queue": "mail", "script": "send" });
    let trigger = text(&world.owner.post(TRIGGERS, consumer).await.is(201)["id"]);
    (world, trigger)
}

#[sqlx::test(migrations = "../migrations")]
async fn a_queue_is_there_with_its_consumer_and_shows_what_waits(pool: PgPool) {
    let (world, trigger) = world(pool).await;
    let mail = format!("{QUEUES}/mail");
    let shown = world.owner.get(&mail).await.is(200);
    assert_eq!((&shown["max_concurrency"], &shown["paused"]), (&Value::Null, &json!(false)));
    assert_eq!(shown["consumers"][0]["trigger"], trigger.as_str());
    assert_eq!((&shown["consumers"][0]["script_name"], &shown["is_exact"]), (&json!("send"), &json!(true)));
    assert_eq!((&shown["waiting"], &shown["running"]), (&json!(0), &json!(0)));
    // Of another trigger of the same script: it waits, but not here.
    let topic = json!({ "kind": "topic", "topic": "a", "script": "send" });
    let topic = text(&world.owner.post(TRIGGERS, topic).await.is(201)["id"]);
    for (trigger, times) in [(&trigger, 3), (&topic, 1)] {
        for _ in 0..times {
            world.owner.post(&format!("{TRIGGERS}/{trigger}/run"), json!({})).await.is(202);
        }
    }
    let item = sqlx::query_scalar::<_, sqlx::types::Uuid>("select item from live.ready where gate = $1 limit 1");
    let gate: picloud_core::id::TriggerId = trigger.parse().expect("an id");
    let item = item.bind(gate.uuid()).fetch_one(&world.plane.pool).await.expect("an item");
    let node = world.plane.node.epoch().uuid();
    let leased = sqlx::query("insert into live.lease (item, epoch) values ($1, $2)").bind(item).bind(node);
    leased.execute(&world.plane.pool).await.expect("leased");
    let shown = world.owner.get(&mail).await.is(200);
    assert_eq!((&shown["waiting"], &shown["running"]), (&json!(2), &json!(1)));
    assert_eq!(each(&world.owner.get(QUEUES).await.is(200), "name"), ["mail"]);

    world.owner.get(&format!("{QUEUES}/nothing")).await.problem(404);
    world.app("other").await;
    world.owner.get("/api/v1/admin/apps/other/queues/mail").await.problem(404);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_said_of_a_queue_is_kept_and_changed_by_version(pool: PgPool) {
    let (world, _) = world(pool).await;
    let mail = format!("{QUEUES}/mail");
    let unsaid = world.owner.get(&mail).await.etag();
    let set = world.owner.ask_for(Method::PUT, &mail, &unsaid, json!({ "max_concurrency": 2 })).await;
    set.cursor();
    assert_eq!(set.is(200)["max_concurrency"], 2);
    world.owner.ask_for(Method::PUT, &mail, &unsaid, json!({ "max_concurrency": 3 })).await.problem(412);
    for (most, told) in [(0, "`max_concurrency` is 0: 1 to 1000"), (1001, "is 1001")] {
        let refused = world.owner.put(&mail, json!({ "max_concurrency": most })).await;
        assert!(refused.problem(422).contains(told));
        assert_eq!(refused.json()["field"], "max_concurrency");
    }
    assert_eq!(
        world.owner.put(&mail, json!({ "max_concurrency": null })).await.is(200)["max_concurrency"],
        Value::Null
    );

    // Something may be said of one before anybody takes from it.
    world.owner.put(&format!("{QUEUES}/later"), json!({ "max_concurrency": 1 })).await.is(200);
    assert_eq!(each(&world.owner.get(QUEUES).await.is(200), "name"), ["later", "mail"]);
    world.owner.put(&format!("{QUEUES}/No"), json!({ "max_concurrency": 1 })).await.problem(422);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn queues_and_scripts_are_paused_and_go_on(pool: PgPool) {
    let (world, _) = world(pool).await;
    let ada = world.person("ada@example.com", "member").await;
    world.owner.put("/api/v1/admin/apps/default/members/ada@example.com", json!({ "role": "viewer" })).await.is(201);
    for (path, capability) in
        [(format!("{QUEUES}/mail"), "AppQueueManage"), (format!("{SCRIPTS}/send"), "AppWriteScript")]
    {
        for (what, is_paused) in [("pause", true), ("pause", true), ("resume", false)] {
            let told = world.owner.post(&format!("{path}/{what}"), Value::Null).await.is(200);
            assert_eq!(told["paused"], is_paused, "{path} {what}");
            assert_eq!(world.owner.get(&path).await.is(200)["paused"], is_paused, "{path} {what}");
            let refused = ada.post(&format!("{path}/{what}"), Value::Null).await;
            refused.problem(403);
            assert_eq!(refused.json()["capability"], capability);
        }
    }
    for kind in ["queue.paused", "queue.resumed", "script.paused", "script.resumed"] {
        let events = world.owner.get(&format!("/api/v1/admin/apps/default/events?kind={kind}")).await.is(200);
        assert_eq!(each(&events, "type"), [kind]);
    }
    world.owner.post(SCRIPTS, json!({ "name": "lib", "kind": "module", "source": "fn a() {}" })).await.is(201);
    assert!(world.owner.post(&format!("{SCRIPTS}/lib/pause"), Value::Null).await.problem(422).contains("is a module"));
    world.owner.post(&format!("{SCRIPTS}/nobody/pause"), Value::Null).await.problem(404);
    world.stop().await;
}
