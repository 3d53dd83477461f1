//! Things as they were.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use picloud_core::{
    event::{Actor, kv},
    id::{AppId, EventId},
    log::{Commit, NewEvent},
};
use serde_json::{Value, json, value::RawValue};
use sqlx::PgPool;

use crate::fixture::{World, each, text};

const SHOP: &str = "/api/v1/admin/apps/shop";

async fn set(world: &World, app: AppId, key: &str, value: &str) {
    let set = kv::Set {
        collection: "carts".to_owned(),
        key: key.to_owned(),
        value: RawValue::from_string(value.to_owned()).expect("JSON"),
        expires_at: None,
    };
    let event = NewEvent::new(Some(app), &Actor::SYSTEM, set);
    world.plane.committer.commit(Commit::new(world.plane.node.authority(), vec![event])).await.expect("a commit");
}

/// The last event of an app.
async fn last(world: &World) -> Value {
    world.owner.get(&format!("{SHOP}/events?limit=1")).await.is(200)["items"][0].clone()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_list_of_entries_is_of_one_moment_on_all_its_pages(pool: PgPool) {
    let world = World::start(pool).await;
    let (app, other) = (world.app("shop").await, world.app("other").await);
    for (key, value) in [("a/1", "1"), ("a/2", "2"), ("b", "3"), ("a/3", "4")] {
        set(&world, app, key, value).await;
    }
    set(&world, other, "a/9", "9").await;
    let then = last(&world).await;
    let list = format!("{SHOP}/kv/carts?prefix=a/&limit=1&at={}", text(&then["id"]));
    let first = world.owner.get(&list).await.is(200);
    assert_eq!(first["items"], json!([{ "key": "a/1", "value": 1, "expires_at": null }]));
    // What happens between the pages is not in them.
    let deleted = kv::Deleted { collection: "carts".to_owned(), key: "a/3".to_owned() };
    let event = NewEvent::new(Some(app), &Actor::SYSTEM, deleted);
    world.plane.committer.commit(Commit::new(world.plane.node.authority(), vec![event])).await.expect("a commit");
    set(&world, app, "a/2", "20").await;
    set(&world, app, "a/25", "25").await;
    let now = last(&world).await;
    // Nor does another name of the moment make it another.
    let next =
        |cursor: &Value| format!("{SHOP}/kv/carts?prefix=a/&limit=1&at={}&cursor={}", text(&now["time"]), text(cursor));
    let second = world.owner.get(&next(&first["cursor"])).await.is(200);
    assert_eq!(second["items"][0], json!({ "key": "a/2", "value": 2, "expires_at": null }));
    let third = world.owner.get(&next(&second["cursor"])).await.is(200);
    assert_eq!((each(&third, "key"), &third["cursor"]), (vec!["a/3".to_owned()], &Value::Null));
    let all = |at: &Value| format!("{SHOP}/kv/carts?at={}", text(&at["cursor"]));
    assert_eq!(each(&world.owner.get(&all(&then)).await.is(200), "key"), ["a/1", "a/2", "a/3", "b"]);
    assert_eq!(each(&world.owner.get(&all(&now)).await.is(200), "key"), ["a/1", "a/2", "a/25", "b"]);

    // Cursors of the two lists are not taken for each other.
    let live = world.owner.get(&format!("{SHOP}/kv/carts?limit=1")).await.is(200);
    let refused = world.owner.get(&next(&live["cursor"])).await;
    assert!(refused.problem(422).contains("is not a cursor of this list as of a moment"), "{refused:?}");
    let refused = world.owner.get(&format!("{SHOP}/kv/carts?cursor={}", text(&first["cursor"]))).await;
    assert!(refused.problem(422).contains("is not a cursor of this list"), "{refused:?}");
    // Nor are those of another app, which would say how much has happened elsewhere.
    let theirs =
        format!("/api/v1/admin/apps/other/kv/carts?at={}&cursor={}", text(&then["time"]), text(&first["cursor"]));
    world.owner.get(&theirs).await.problem(422);
    let tomorrow = (Utc::now() + TimeDelta::days(1)).to_rfc3339_opts(SecondsFormat::Secs, true);
    assert!(world.owner.get(&format!("{SHOP}/kv/carts?at={tomorrow}")).await.problem(422).contains("has not come yet"));
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn an_entry_is_shown_as_of_a_time_an_event_and_a_cursor(pool: PgPool) {
    let world = World::start(pool).await;
    let (app, other) = (world.app("shop").await, world.app("other").await);
    let before = last(&world).await;
    set(&world, app, "a/1", "1").await;
    let first = last(&world).await;
    set(&world, other, "a/1", "\"theirs\"").await;
    set(&world, app, "a/1", r#"{"z": 2}"#).await;
    let second = last(&world).await;

    let entry = format!("{SHOP}/kv/carts/a%2F1");
    for at in ["id", "cursor", "time"] {
        let at = |event: &Value| text(&event[at]);
        assert_eq!(world.owner.get(&format!("{entry}?at={}", at(&first))).await.is(200)["value"], 1);
        assert_eq!(world.owner.get(&format!("{entry}?at={}", at(&second))).await.is(200)["value"], json!({ "z": 2 }));
        let detail = world.owner.get(&format!("{entry}?at={}", at(&before))).await.problem(404);
        assert!(detail.contains("was not there yet"), "{detail}");
        assert!(detail.contains(text(&first["time"]).trim_end_matches('Z')), "{detail}");
    }
    // A time in another zone is the same time.
    let time: DateTime<Utc> = text(&first["time"]).parse().expect("a time");
    let elsewhere = time.with_timezone(&chrono::FixedOffset::east_opt(7_200).expect("an offset"));
    let elsewhere = elsewhere.to_rfc3339_opts(SecondsFormat::Micros, false).replace('+', "%2B");
    assert_eq!(world.owner.get(&format!("{entry}?at={elsewhere}")).await.is(200)["value"], 1);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_moment_that_cannot_be_told_is_refused_and_says_why(pool: PgPool) {
    let world = World::start(pool).await;
    let (app, other) = (world.app("shop").await, world.app("other").await);
    set(&world, other, "a", "1").await;
    let theirs = world.owner.get("/api/v1/admin/apps/other/events?limit=1").await.is(200)["items"][0].clone();
    set(&world, app, "a", "1").await;
    let ours = last(&world).await;

    let entry = format!("{SHOP}/kv/carts/a");
    let future = (Utc::now() + TimeDelta::hours(1)).to_rfc3339_opts(SecondsFormat::Secs, true);
    let wrong = [
        ("yesterday".to_owned(), "is no moment of this log"),
        ("2026-01-01T00:00:00+02:00".to_owned(), "is written"),
        (future, "has not come yet"),
        ("2001-01-01T00:00:00Z".to_owned(), "begins at"),
        (EventId::generate().to_string(), "has no event"),
        ("evt_x".to_owned(), "has no event"),
        // Another app's are not there.
        (text(&theirs["id"]), "has no event"),
        (text(&theirs["cursor"]), "is no moment of this log"),
    ];
    for (at, why) in wrong {
        let refused = world.owner.get(&format!("{entry}?at={at}")).await;
        let detail = refused.problem(422);
        assert!(detail.contains(why), "{at}: {detail}");
        assert_eq!(refused.json()["field"], "at");
    }
    // What retention has dropped cannot be told. It never drops what lies at the head.
    world.owner.put(&format!("{SHOP}/env/currency"), json!({ "value": "EUR" })).await.is(200);
    let at = text(&ours["cursor"]);
    world.owner.get(&format!("{entry}?at={at}")).await.is(200);
    sqlx::query("update log.segments set classes = '{config,run}' where low = 1")
        .execute(&world.plane.pool)
        .await
        .expect("an update");
    let another = world.another().await;
    let detail = another.owner.get(&format!("{entry}?at={at}")).await.problem(422);
    assert!(detail.contains("before what the log can tell"), "{detail}");
    another.stop().await;
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn scripts_routes_and_triggers_are_shown_as_they_were_when_they_are_gone_too(pool: PgPool) {
    let world = World::start(pool).await;
    world.app("shop").await;
    let before = text(&last(&world).await["cursor"]);
    let script = world.owner.post(&format!("{SHOP}/scripts"), json!({ "name": "greet", "source": "1" })).await.is(201);
    let route = json!({ "method": "GET", "path": "/a", "script": "greet" });
    let route = world.owner.post(&format!("{SHOP}/routes"), route).await.is(201);
    let trigger = json!({ "kind": "kv", "collection": "carts", "script": "greet" });
    let trigger = world.owner.post(&format!("{SHOP}/triggers"), trigger).await.is(201);
    let shown = world.owner.get(&format!("{SHOP}/scripts/greet")).await.is(200);
    let first = text(&last(&world).await["cursor"]);

    let path = |noun: &str, thing: &Value| format!("{SHOP}/{noun}/{}", text(&thing["id"]));
    world.owner.post(&format!("{SHOP}/scripts/greet/versions"), json!({ "source": "2" })).await.is(201);
    let changed = json!({ "method": "GET", "path": "/b", "script": "greet" });
    world.owner.put(&path("routes", &route), changed).await.is(200);
    world.owner.post(&format!("{}/disable", path("triggers", &trigger)), json!({})).await.is(200);
    let second = text(&last(&world).await["cursor"]);
    world.owner.delete(&path("routes", &route)).await.is(204);
    world.owner.delete(&path("triggers", &trigger)).await.is(204);
    world.owner.delete(&format!("{SHOP}/scripts/greet")).await.is(204);
    let third = text(&last(&world).await["cursor"]);

    let at = async |path: &str, cursor: &str| world.owner.get(&format!("{path}?at={cursor}")).await;
    let (scripts, routes, triggers) = (format!("{SHOP}/scripts"), format!("{SHOP}/routes"), format!("{SHOP}/triggers"));
    for named in ["greet", &text(&script["id"])] {
        let path = format!("{scripts}/{named}");
        assert_eq!(at(&path, &first).await.is(200), shown);
        let active = at(&path, &second).await.is(200)["active"].clone();
        assert_eq!((&active["number"], &active["source"]), (&json!(2), &json!("2")));
        at(&path, &third).await.problem(404);
    }
    assert_eq!(at(&path("routes", &route), &first).await.is(200), route);
    assert_eq!(at(&routes, &first).await.is(200)["items"], json!([route]));
    assert_eq!(each(&at(&routes, &second).await.is(200), "path"), ["/b"]);
    assert_eq!(at(&path("triggers", &trigger), &first).await.is(200), trigger);
    assert_eq!(at(&triggers, &first).await.is(200)["items"], json!([trigger]));
    assert_eq!(at(&path("triggers", &trigger), &second).await.is(200)["enabled"], false);
    for list in [&routes, &triggers] {
        assert_eq!(at(list, &before).await.is(200)["items"], json!([]));
        assert_eq!(at(list, &third).await.is(200)["items"], json!([]));
    }
    for thing in [path("routes", &route), path("triggers", &trigger)] {
        assert!(at(&thing, &before).await.problem(404).contains("was not there yet"));
        assert!(at(&thing, &third).await.problem(404).contains("was not there any more"));
    }
    assert!(at(&format!("{scripts}/none"), &first).await.problem(404).contains("knows of none"));
    // Another app's are not there, at no time.
    world.app("other").await;
    let other = world.owner.get("/api/v1/admin/apps/other/events?limit=1").await.is(200)["items"][0]["cursor"].clone();
    let theirs = format!("/api/v1/admin/apps/other/routes/{}", text(&route["id"]));
    assert!(at(&theirs, &text(&other)).await.problem(404).contains("knows of none"));
    world.stop().await;
}
