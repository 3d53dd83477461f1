use picloud_core::{
    capability::Capability,
    event::{Actor, kv},
    id::{AppId, HistoryId},
    keys::Cursor,
    log::{Commit, NewEvent, Position},
};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::fixture::{Client, World, each, text};

async fn delete_key(world: &World, app: AppId, key: &str) {
    let deleted = kv::Deleted { collection: "c".to_owned(), key: key.to_owned() };
    let event = NewEvent::new(Some(app), &Actor::SYSTEM, deleted);
    world.plane.committer.commit(Commit::new(world.plane.node.authority(), vec![event])).await.expect("a commit");
}

#[sqlx::test(migrations = "../migrations")]
async fn an_event_is_a_cloud_event(pool: PgPool) {
    let world = World::start(pool).await;
    let reply = world.owner.put("/api/v1/admin/apps/default/env/CURRENCY", json!({ "value": "EUR" })).await;
    let app = text(&world.owner.get("/api/v1/admin/apps/default").await.is(200)["id"]);
    let keys = world.owner.get("/api/v1/admin/api_keys").await.is(200);

    let page = world.owner.get("/api/v1/admin/apps/default/events?kind=env&limit=1").await.is(200);
    let mut event = page["items"][0].clone();
    let members = event.as_object_mut().expect("an object");
    assert!(text(&members.remove("id").expect("id")).starts_with("evt_"));
    let time = text(&members.remove("time").expect("time"));
    assert!(time.ends_with('Z') && time.len() == "2026-01-01T00:00:00.000000Z".len(), "{time}");
    assert_eq!(
        event,
        json!({
            "specversion": "1.0",
            "source": format!("/apps/{app}"),
            "type": "env.set",
            "subject": "env:CURRENCY",
            "datacontenttype": "application/json",
            "actor": each(&keys, "id")[0],
            "actorkind": "api_key",
            "requestid": reply.header("x-request-id"),
            "depth": 0,
            "cursor": reply.cursor(),
            "data": { "name": "CURRENCY", "value": "EUR" },
        })
    );
    // Operators of the instance see the place and the address too.
    let page = world.owner.get("/api/v1/admin/events?kind=env.set").await.is(200);
    assert_eq!(page["items"][0]["actoraddress"], "203.0.113.9");
    assert_eq!(page["items"][0]["position"], world.plane.reader.head().await.expect("a head").0);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn pages_go_both_ways_without_gap_or_repetition(pool: PgPool) {
    let world = World::start(pool).await;
    let (app, other) = (world.app("shop").await, world.app("other").await);
    for n in 0..10 {
        delete_key(&world, app, &format!("k{n}")).await;
        delete_key(&world, other, "theirs").await;
    }
    let expected: Vec<String> = (0..10).map(|n| format!("kv:c/k{n}")).collect();
    for order in ["asc", "desc"] {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/api/v1/admin/apps/shop/events?kind=kv&limit=3&order={order}{cursor}");
            let page = world.owner.get(&path).await.is(200);
            seen.extend(each(&page, "subject"));
            let Some(next) = page["cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        if order == "desc" {
            seen.reverse();
        }
        assert_eq!(seen, expected);
    }
    // From an event's own cursor, to either side.
    let page = world.owner.get("/api/v1/admin/apps/shop/events?subject=kv:c/k5").await.is(200);
    let middle = text(&page["items"][0]["cursor"]);
    let at = |query: &str| format!("/api/v1/admin/apps/shop/events?kind=kv.deleted&limit=1&{query}={middle}");
    let after = world.owner.get(&(at("after") + "&order=asc")).await.is(200);
    let before = world.owner.get(&at("before")).await.is(200);
    assert_eq!((each(&after, "subject"), each(&before, "subject")), (vec!["kv:c/k6".into()], vec!["kv:c/k4".into()]));

    let time = text(&page["items"][0]["time"]);
    let since = world.owner.get(&format!("/api/v1/admin/apps/shop/events?kind=kv&since={time}")).await.is(200);
    assert_eq!(each(&since, "subject").len(), 5);
    let until = world.owner.get(&format!("/api/v1/admin/apps/shop/events?kind=kv&until={time}")).await.is(200);
    assert_eq!(each(&until, "subject").len(), 5);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_cursor_of_another_app_or_history_is_refused(pool: PgPool) {
    let world = World::start(pool).await;
    world.app("other").await;
    let theirs = world.owner.put("/api/v1/admin/apps/other/env/A", json!({ "value": "1" })).await.cursor();
    let mine = "/api/v1/admin/apps/default/events";
    for query in ["after", "before", "cursor"] {
        let refused = world.owner.get(&format!("{mine}?{query}={theirs}")).await;
        assert!(refused.problem(422).contains("not a cursor of this log"));
        assert_eq!(refused.json()["field"], query);
    }
    world.owner.get(&format!("/api/v1/admin/events?after={theirs}")).await.problem(422);
    world.owner.get(&format!("/api/v1/admin/apps/default/invocations?cursor={theirs}")).await.problem(422);

    let slip = world.owner.get(&format!("{mine}?kind=kv.sett")).await.problem(422);
    assert!(slip.contains("did you mean `kv.set`?"), "{slip}");
    world.owner.get(&format!("{mine}?order=up")).await.problem(422);
    world.owner.get(&format!("{mine}?subject=%00")).await.problem(422);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_stream_resumes_without_gap_or_duplicate(pool: PgPool) {
    let world = World::start(pool).await;
    let (app, other) = (world.app("shop").await, world.app("other").await);
    let start = world.owner.put("/api/v1/admin/apps/shop/env/A", json!({ "value": "1" })).await.cursor();
    for n in 0..5 {
        delete_key(&world, app, &format!("k{n}")).await;
        delete_key(&world, other, "theirs").await;
    }
    let path = format!("/api/v1/admin/apps/shop/events/stream?kind=kv&after={start}");
    let mut frames = world.owner.stream(&path, None).await;
    let mut subjects = Vec::new();
    let mut last = None;
    for _ in 0..3 {
        let frame = frames.message().await;
        assert_eq!(frame.json()["cursor"].as_str(), frame.id.as_deref());
        subjects.push(text(&frame.json()["subject"]));
        last = frame.id;
    }
    drop(frames);
    // While nobody listens, and then live.
    delete_key(&world, app, "k5").await;
    let mut frames = world.owner.stream(&path, last.as_deref()).await;
    for _ in 0..3 {
        subjects.push(text(&frames.message().await.json()["subject"]));
    }
    let told = frames.next().await.expect("a frame");
    assert_eq!(told.event, "up-to-date");
    assert!(told.id.is_some() && told.json()["cursor"].is_string());
    for n in 6..9 {
        delete_key(&world, app, &format!("k{n}")).await;
        subjects.push(text(&frames.message().await.json()["subject"]));
    }
    assert_eq!(subjects, (0..9).map(|n| format!("kv:c/k{n}")).collect::<Vec<_>>());

    // The cursor of a control frame is as good as an event's.
    let mut frames = world.owner.stream(&path, told.id.as_deref()).await;
    assert_eq!(text(&frames.message().await.json()["subject"]), "kv:c/k6");
    drop(frames);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_stream_from_nowhere_begins_now_and_says_so(pool: PgPool) {
    let world = World::start(pool).await;
    let app = world.app("shop").await;
    delete_key(&world, app, "before").await;
    world.settled().await;
    let theirs = world.owner.put("/api/v1/admin/apps/default/env/A", json!({ "value": "1" })).await.cursor();
    let key = world.plane.keyring.app(app).await.expect("a key");
    let other_life = Cursor { history: HistoryId::generate(), position: Position(1) }.seal(&key);
    let beyond = Cursor { history: world.plane.history, position: Position(1_000_000) }.seal(&key);
    let stream = "/api/v1/admin/apps/shop/events/stream?kind=kv";
    for gone in [theirs.as_str(), &other_life, &beyond, "nonsense"] {
        let mut frames = world.owner.stream(stream, Some(gone)).await;
        let reset = frames.next().await.expect("a frame");
        assert_eq!((reset.event.as_str(), &reset.json()["reason"]), ("reset", &json!("gone")), "{gone}");
        assert_eq!(frames.next().await.expect("a frame").event, "up-to-date");
        delete_key(&world, app, "now").await;
        assert_eq!(text(&frames.message().await.json()["subject"]), "kv:c/now");
    }
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_stream_ends_with_its_key_and_with_the_node(pool: PgPool) {
    let world = World::start(pool).await;
    let app = world.app("shop").await;
    let minted = json!({ "name": "watcher", "scopes": [Capability::AppReadLog], "app": "shop" });
    let minted = world.owner.post("/api/v1/admin/api_keys", minted).await.is(201);
    let watcher = Client { key: Some(text(&minted["key"])), ..world.owner.clone() };
    let stream = "/api/v1/admin/apps/shop/events/stream?kind=kv";
    let mut theirs = watcher.stream(stream, None).await;
    let mut ours = world.owner.stream(stream, None).await;
    assert_eq!(theirs.next().await.expect("a frame").event, "up-to-date");
    assert_eq!(ours.next().await.expect("a frame").event, "up-to-date");

    world.owner.delete(&format!("/api/v1/admin/api_keys/{}", text(&minted["id"]))).await.is(204);
    delete_key(&world, app, "k").await;
    let closed = theirs.next().await.expect("a frame");
    assert_eq!((closed.event.as_str(), &closed.json()["reason"]), ("closed", &json!("unauthorized")));
    assert_eq!(theirs.next().await, None);

    assert_eq!(text(&ours.message().await.json()["subject"]), "kv:c/k");
    world.plane.stop.cancel();
    let closed = ours.next().await.expect("a frame");
    assert_eq!((closed.event.as_str(), &closed.json()["reason"]), ("closed", &json!("shutting_down")));
    assert_eq!(ours.next().await, None);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn the_instances_stream_has_everybodys_events_and_places(pool: PgPool) {
    let world = World::start(pool).await;
    let mut frames = world.owner.stream("/api/v1/admin/events/stream", None).await;
    let app = world.app("shop").await;
    let made: Value = frames.message().await.json();
    assert_eq!((&made["type"], &made["source"]), (&json!("app.created"), &json!(format!("/apps/{app}"))));
    assert!(made["position"].is_i64() && made["actoraddress"].is_string());
    drop(frames);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_stretch_of_time_is_found_in_a_long_log(pool: PgPool) {
    let world = World::start(pool).await;
    let app = world.app("shop").await;
    let many = async |kind: &str| {
        let key = |n: u32| kv::Deleted { collection: "c".to_owned(), key: format!("{kind}{n}") };
        let events = (0..1_200).map(|n| NewEvent::new(Some(app), &Actor::SYSTEM, key(n))).collect();
        world.plane.committer.commit(Commit::new(world.plane.node.authority(), events)).await.expect("a commit")
    };
    many("a").await;
    delete_key(&world, app, "first").await;
    delete_key(&world, app, "second").await;
    many("b").await;
    let list = "/api/v1/admin/apps/shop/events";
    let time = async |subject: &str| {
        let page = world.owner.get(&format!("{list}?subject=kv:c/{subject}")).await.is(200);
        text(&page["items"][0]["time"])
    };
    let (from, to) = (time("first").await, time("b0").await);
    assert!(from < to, "{from} {to}");
    for order in ["asc", "desc"] {
        let page = world.owner.get(&format!("{list}?since={from}&until={to}&order={order}")).await.is(200);
        let mut subjects = each(&page, "subject");
        subjects.sort();
        assert_eq!(subjects, ["kv:c/first", "kv:c/second"]);
    }
    world.stop().await;
}
