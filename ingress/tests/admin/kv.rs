use chrono::{TimeDelta, Utc};
use picloud_core::{
    event::{Actor, kv},
    id::AppId,
    log::{Commit, NewEvent},
};
use serde_json::{json, value::RawValue};
use sqlx::PgPool;

use crate::fixture::{World, each, text};

async fn set(world: &World, app: AppId, collection: &str, key: &str, value: &str, expires_in_s: Option<i64>) {
    let set = kv::Set {
        collection: collection.to_owned(),
        key: key.to_owned(),
        value: RawValue::from_string(value.to_owned()).expect("JSON"),
        expires_at: expires_in_s.map(|seconds| Utc::now() + TimeDelta::seconds(seconds)),
    };
    let event = NewEvent::new(Some(app), &Actor::SYSTEM, set);
    world.plane.committer.commit(Commit::new(world.plane.node.authority(), vec![event])).await.expect("a commit");
}

#[sqlx::test(migrations = "../migrations")]
async fn stored_values_are_shown_as_they_were_written(pool: PgPool) {
    let world = World::start(pool).await;
    let (app, other) = (world.app("shop").await, world.app("other").await);
    for (key, value) in [("a/1", r#"{"z": 1, "a": [2]}"#), ("a/2", "2"), ("b", "3"), ("ä\n", "\"x\"")] {
        set(&world, app, "carts", key, value, None).await;
    }
    set(&world, app, "carts", "gone", "1", Some(-1)).await;
    set(&world, app, "users", "u", "1", Some(3600)).await;
    set(&world, other, "theirs", "secret", "1", None).await;

    let kv = "/api/v1/admin/apps/shop/kv";
    assert_eq!(each(&world.owner.get(kv).await.is(200), "name"), ["carts", "users"]);
    let first = world.owner.get(&format!("{kv}/carts?prefix=a/&limit=1")).await.is(200);
    assert_eq!(each(&first, "key"), ["a/1"]);
    let second = format!("{kv}/carts?prefix=a/&limit=1&cursor={}", text(&first["cursor"]));
    let second = world.owner.get(&second).await.is(200);
    assert_eq!((each(&second, "key"), &second["cursor"]), (vec!["a/2".to_owned()], &json!(null)));
    assert_eq!(each(&world.owner.get(&format!("{kv}/carts")).await.is(200), "key"), ["a/1", "a/2", "b", "ä\n"]);

    let one = world.owner.get(&format!("{kv}/carts/a%2F1")).await;
    assert!(std::str::from_utf8(&one.body).expect("text").contains(r#""value":{"z": 1, "a": [2]}"#), "{one:?}");
    assert_eq!(world.owner.get(&format!("{kv}/carts/%C3%A4%0A")).await.is(200)["value"], "x");
    assert!(world.owner.get(&format!("{kv}/users/u")).await.is(200)["expires_at"].is_string());
    world.owner.get(&format!("{kv}/carts/gone")).await.problem(404);
    world.owner.get(&format!("{kv}/theirs/secret")).await.problem(404);
    world.owner.get(&format!("{kv}/carts/%00")).await.problem(422);
    world.owner.get(&format!("{kv}/No")).await.problem(422);
    world.stop().await;
}
