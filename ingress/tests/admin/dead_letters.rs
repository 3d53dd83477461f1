//! Dead letters: looked at, tried again, closed. How they come about is the workers' business.

use chrono::{DateTime, Utc};
use http::Method;
use picloud_core::{
    event::{
        Actor, FailureReason,
        dead_letter::{Created, Reason},
        outbox::{Attempt, Enqueued, Source},
    },
    id::{AppId, DeadLetterId, OutboxId, RequestId, RouteId, ScriptId},
    keys::Purpose,
    log::{Commit, NewEvent},
    retry::RetryPolicy,
};
use picloud_projections::outbox;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::fixture::{World, each, text};

/// A letter of an app; answers its path.
pub(crate) async fn letter(world: &World, app: AppId, slug: &str, error: &str) -> String {
    let id = DeadLetterId::generate();
    let request = json!({ "request": { "method": "POST", "path": "/orders/7", "host": "shop.test", "body": "{}" } });
    let (bound_to, request) = (id.to_string(), request.to_string());
    let payload = world.plane.keyring.seal_apart(app, Purpose::Payload, bound_to.as_bytes(), request.as_bytes());
    let now: DateTime<Utc> = Utc::now();
    let attempt = Attempt {
        number: 1,
        invocation: None,
        at: now,
        reason: FailureReason::Threw,
        error: error.to_owned(),
        duration_us: 7,
    };
    let created = Created {
        dead_letter: id,
        item: OutboxId::generate(),
        source: Source::AsyncRoute { route: RouteId::generate() },
        script: ScriptId::generate(),
        script_name: "order".to_owned(),
        version: None,
        lane: None,
        priority: 0,
        retry: RetryPolicy::default(),
        enqueued_at: now,
        reason: Reason::AttemptsExhausted,
        error: error.to_owned(),
        fingerprint: format!("order: {error}"),
        attempts: vec![attempt],
        payload: payload.await.expect("a key"),
    };
    let caller = Actor::public(RequestId::generate(), Some("192.0.2.1".to_owned()));
    let event = NewEvent::new(Some(app), &caller, created);
    world.plane.committer.commit(Commit::new(world.plane.node.authority(), vec![event])).await.expect("committed");
    format!("/api/v1/admin/apps/{slug}/dead_letters/{id}")
}

#[sqlx::test(migrations = "../migrations")]
async fn a_letter_is_shown_with_all_that_was_tried_and_found_by_what_it_says(pool: PgPool) {
    let world = World::start(pool).await;
    let shop = world.app("shop").await;
    let mut paths = Vec::new();
    for error in ["boom", "boom", "bang"] {
        paths.push(letter(&world, shop, "shop", error).await);
    }
    let shown = world.owner.get(&paths[0]).await.is(200);
    assert_eq!((&shown["error"], &shown["tried"][0]["duration_us"]), (&json!("boom"), &json!(7)));
    assert_eq!(shown["payload"]["request"]["path"], "/orders/7");
    let letters = "/api/v1/admin/apps/shop/dead_letters";
    assert_eq!(each(&world.owner.get(letters).await.is(200), "error"), ["bang", "boom", "boom"], "newest first");
    let first = world.owner.get(&format!("{letters}?limit=2")).await.is(200);
    let second = world.owner.get(&format!("{letters}?limit=2&cursor={}", text(&first["cursor"]))).await.is(200);
    assert_eq!((each(&second, "error"), &second["cursor"]), (vec!["boom".to_owned()], &Value::Null));
    let groups = world.owner.get(&format!("{letters}/groups")).await.is(200);
    assert_eq!(each(&groups, "fingerprint"), ["order: boom", "order: bang"]);

    world.owner.post(&format!("{}/resolve", paths[0]), json!({ "reason": "by hand" })).await.is(200);
    let counted =
        async |query: &str| world.owner.get(&format!("{letters}/count{query}")).await.is(200)["count"].clone();
    assert_eq!(counted("").await, 3);
    assert_eq!(counted("?unresolved=true").await, 2);
    assert_eq!(counted("?resolution=ignored").await, 1);
    assert_eq!(counted("?resolution=ignored&unresolved=true").await, 0);
    assert_eq!(counted("?fingerprint=order:%20boom&unresolved=true").await, 1);
    let script = text(&shown["script"]);
    assert_eq!(counted(&format!("?script={script}")).await, 1);
    for refused in ["limit=1", "cursor=abc"] {
        let told = world.owner.get(&format!("{letters}/count?{refused}")).await.problem(422);
        assert!(told.contains("unknown field"), "{told}");
    }
    world.owner.get(&format!("{letters}?resolution=lost")).await.problem(422);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_letter_is_decided_about_once(pool: PgPool) {
    let world = World::start(pool).await;
    let shop = world.app("shop").await;
    let ada = world.person("ada@example.com", "owner").await;
    let path = letter(&world, shop, "shop", "boom").await;
    let (replay, resolve) = (format!("{path}/replay"), format!("{path}/resolve"));
    // Of two who decide at once one does.
    let (one, other) = tokio::join!(ada.post(&replay, json!({})), ada.post(&resolve, json!({})));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    for again in [&replay, &resolve] {
        let told = world.owner.post(again, json!({})).await.problem(409);
        assert!(told.contains(" by ada@example.com at 20"), "{told}");
    }

    let path = letter(&world, shop, "shop", "boom").await;
    let replayed = ada.post(&format!("{path}/replay"), json!({})).await.is(200);
    assert_eq!((&replayed["resolution"], &replayed["resolved_by"]), (&json!("replayed"), &json!("ada@example.com")));
    let item = format!("/api/v1/admin/apps/shop/outbox/{}", text(&replayed["replay"]));
    let item = world.owner.get(&item).await.is(200);
    assert_eq!((&item["state"], &item["attempts"]), (&json!("waiting"), &json!([])));
    // In whose name it is: not of who replays it.
    let events = world.owner.get("/api/v1/admin/apps/shop/events?kind=outbox&order=asc").await.is(200);
    let enqueued = events["items"].as_array().expect("events").last().cloned().expect("an event");
    assert_eq!((&enqueued["type"], &enqueued["actorkind"]), (&json!("outbox.enqueued"), &json!("public")));
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_a_letter_gets_can_be_changed_into_what_a_run_can_get_and_nothing_else(pool: PgPool) {
    let world = World::start(pool).await;
    let shop = world.app("shop").await;
    let path = letter(&world, shop, "shop", "boom").await;
    for wrong in [json!({}), json!({ "request": {} }), json!([1]), json!({ "request": { "path": 1 } })] {
        let refused = world.owner.post(&format!("{path}/replay"), json!({ "payload": wrong })).await;
        assert!(refused.problem(422).contains("`payload` is not of the shape"), "{wrong}");
    }
    world.owner.post(&format!("{path}/replay"), json!({ "version": 7 })).await.problem(404);
    let good = world.owner.get(&path).await.is(200)["payload"].clone();
    world.owner.post(&format!("{path}/replay"), json!({ "payload": good })).await.is(200);
    let events = world.owner.get("/api/v1/admin/apps/shop/events?kind=dead_letter.replayed").await.is(200);
    assert_eq!(events["items"][0]["data"]["is_edited"], true);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn work_that_is_taken_back_is_over(pool: PgPool) {
    let world = World::start(pool).await;
    let shop = world.app("shop").await;
    let path = letter(&world, shop, "shop", "boom").await;
    let item = text(&world.owner.post(&format!("{path}/replay"), json!({})).await.is(200)["replay"]);
    let outbox = "/api/v1/admin/apps/shop/outbox";
    assert_eq!(each(&world.owner.get(outbox).await.is(200), "id"), std::slice::from_ref(&item));
    // Somebody may ask what became of this one.
    let found =
        outbox::find(&world.plane.pool, item.parse().expect("an id")).await.expect("an answer").expect("an item");
    let watched = Enqueued { item: OutboxId::generate(), is_watched: true, ..found.enqueued };
    let of_watched = format!("{outbox}/{}/cancel", watched.item);
    let event = NewEvent::new(Some(shop), &Actor::public(RequestId::generate(), None), watched);
    world.plane.committer.commit(Commit::new(world.plane.node.authority(), vec![event])).await.expect("committed");
    let page = world.owner.get(&format!("{outbox}?limit=1")).await.is(200);
    assert_eq!(each(&page, "id"), std::slice::from_ref(&item));
    let rest = world.owner.get(&format!("{outbox}?cursor={}", text(&page["cursor"]))).await.is(200);
    assert_eq!((each(&rest, "id").len(), &rest["cursor"]), (1, &Value::Null));
    assert_ne!(each(&rest, "id"), std::slice::from_ref(&item));
    assert!(world.owner.get(&format!("{outbox}?cursor=x")).await.problem(422).contains("`x` is not a cursor"));
    world.owner.post(&of_watched, Value::Null).await.is(204);
    assert!(world.owner.post(&of_watched, Value::Null).await.problem(409).ends_with("is over: it is cancelled"));

    world.owner.post(&format!("{outbox}/{item}/cancel"), Value::Null).await.is(204);
    assert!(each(&world.owner.get(outbox).await.is(200), "id").is_empty());
    world.owner.post(&format!("{outbox}/{item}/cancel"), Value::Null).await.problem(404);
    let left = sqlx::query_scalar::<_, i64>("select count(*) from live.ready").fetch_one(&world.plane.pool).await;
    assert_eq!(left.expect("a count"), 0);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn nothing_of_a_letter_shows_through_another_app(pool: PgPool) {
    let world = World::start(pool).await;
    let shop = world.app("shop").await;
    world.app("other").await;
    let path = letter(&world, shop, "shop", "boom").await;
    let item = text(&world.owner.get(&path).await.is(200)["outbox_id"]);
    let elsewhere = path.replace("/shop/", "/other/");
    for (method, path) in [
        (Method::GET, elsewhere.clone()),
        (Method::POST, format!("{elsewhere}/replay")),
        (Method::POST, format!("{elsewhere}/resolve")),
        (Method::GET, format!("/api/v1/admin/apps/other/outbox/{item}")),
        (Method::POST, format!("/api/v1/admin/apps/other/outbox/{item}/cancel")),
    ] {
        world.owner.ask(method, &path, Some(json!({}))).await.problem(404);
    }
    for list in ["dead_letters", "dead_letters/groups", "outbox"] {
        let listed = world.owner.get(&format!("/api/v1/admin/apps/other/{list}")).await.is(200);
        assert_eq!(listed["items"], json!([]), "{list}");
    }
    assert_eq!(world.owner.get("/api/v1/admin/apps/other/dead_letters/count").await.is(200)["count"], 0);
    assert_eq!(world.owner.get(&path).await.is(200)["resolution"], Value::Null, "and nothing was changed");
    world.stop().await;
}
