use picloud_core::capability::Capability;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::fixture::{World, each};

const OUTBOX: &str = "/api/v1/admin/outbox";

#[sqlx::test(migrations = "../migrations")]
async fn the_outbox_of_the_instance_is_paused_with_a_reason_and_goes_on(pool: PgPool) {
    let world = World::start(pool).await;
    let never = world.owner.get(OUTBOX).await.is(200);
    assert_eq!(never, json!({ "paused": false, "reason": null, "changed_at": null }));

    let pause = format!("{OUTBOX}/pause");
    let paused = world.owner.post(&pause, json!({ "reason": "moving house" })).await.is(200);
    assert_eq!((&paused["paused"], &paused["reason"]), (&json!(true), &json!("moving house")));
    assert!(paused["changed_at"].is_string(), "{paused}");
    assert_eq!(world.owner.get(OUTBOX).await.is(200), paused);
    // Again: nothing changes, and the first reason stands.
    assert_eq!(world.owner.post(&pause, json!({ "reason": "another" })).await.is(200), paused);
    // The next start knows, too.
    let another = world.another().await;
    assert_eq!(another.owner.get(OUTBOX).await.is(200), paused);

    let refused = world.owner.post(&pause, json!({ "reason": "x".repeat(301) })).await;
    assert!(refused.problem(422).contains("the reason has 301 characters: 300 at most"));
    let reader = world.key(&[Capability::InstanceReadLog], None).await;
    reader.get(OUTBOX).await.is(200);
    let refused = reader.post(&format!("{OUTBOX}/resume"), Value::Null).await;
    refused.problem(403);
    assert_eq!(refused.json()["capability"], "InstanceManageSettings");

    let resumed = world.owner.post(&format!("{OUTBOX}/resume"), Value::Null).await.is(200);
    assert_eq!((&resumed["paused"], &resumed["reason"]), (&json!(false), &Value::Null));
    assert_ne!(resumed["changed_at"], paused["changed_at"]);
    for kind in ["outbox.paused", "outbox.resumed"] {
        let events = world.owner.get(&format!("/api/v1/admin/events?kind={kind}")).await.is(200);
        assert_eq!(each(&events, "type"), [kind], "once");
    }
    another.stop().await;
    world.stop().await;
}
