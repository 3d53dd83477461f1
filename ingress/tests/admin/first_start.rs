use std::io;

use picloud_core::capability::Capability;
use picloud_ingress::admin::{FirstKey, FirstStartError, first_start};
use serde_json::json;
use sqlx::PgPool;

use crate::fixture::{World, each};

#[sqlx::test(migrations = "../migrations")]
async fn the_first_start_makes_an_app_for_this_machine_and_a_key_that_works(pool: PgPool) {
    let world = World::start(pool).await;
    let apps = world.owner.get("/api/v1/admin/apps").await.is(200);
    assert_eq!(each(&apps, "slug"), ["default"]);
    assert_eq!(apps["items"][0]["hosts"], json!(["127.0.0.1", "[::1]", "localhost"]));

    let keys = world.owner.get("/api/v1/admin/api_keys").await.is(200);
    assert_eq!(each(&keys, "name"), ["local CLI"]);
    assert_eq!(keys["items"][0]["scopes"].as_array().map(Vec::len), Some(Capability::ALL.len()));
    let key = world.owner.key.clone().expect("a key");
    assert_eq!(key.len(), 4 + 43);
    assert_eq!(keys["items"][0]["prefix"], key[..12]);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn the_second_start_makes_nothing(pool: PgPool) {
    let world = World::start(pool).await;
    let head = world.plane.reader.head().await.expect("a head");
    assert_eq!(world.first_start().await, (FirstKey::Present, None));
    assert_eq!(world.plane.reader.head().await.expect("a head"), head);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_revoked_first_key_is_not_made_anew(pool: PgPool) {
    let world = World::start(pool).await;
    let keys = world.owner.get("/api/v1/admin/api_keys").await.is(200);
    let path = format!("/api/v1/admin/api_keys/{}", each(&keys, "id")[0]);
    world.owner.delete(&path).await.is(204);
    world.owner.get("/api/v1/admin/apps").await.problem(401);
    assert_eq!(world.first_start().await, (FirstKey::Present, None));
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn of_nodes_that_start_at_once_one_makes_the_app_and_one_the_key(pool: PgPool) {
    let master = World::start(pool).await;
    // As if nothing had been: the race needs an empty instance and nodes that are up already.
    for table in ["state.api_key", "state.domain", "state.app"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("delete from {table}")))
            .execute(&master.plane.pool)
            .await
            .expect("empty");
    }
    let mut nodes = Vec::new();
    for _ in 0..4 {
        nodes.push(master.another().await);
    }
    let starts = futures::future::join_all(nodes.iter().map(|node| node.first_start())).await;
    let minted = starts.iter().filter(|(first, _)| *first == FirstKey::Minted).count();
    assert_eq!(minted, 1, "{starts:?}");
    for (first, kept) in &starts {
        assert_eq!(kept.is_some(), *first != FirstKey::Present, "{starts:?}");
    }
    let count = |table: &str| {
        let sql = format!("select count(*) from {table}");
        let pool = master.plane.pool.clone();
        async move { sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql)).fetch_one(&pool).await.expect("a count") }
    };
    assert_eq!((count("state.app").await, count("state.domain").await, count("state.api_key").await), (1, 3, 1));
    // The hash of the key before, and of the one that was minted: nothing is left of those that came to nothing.
    let hashes = sqlx::query_scalar::<_, i64>("select count(*) from live.secret_material where kind = 'api_key'");
    assert_eq!(hashes.fetch_one(&master.plane.pool).await.expect("a count"), 2);
    for node in nodes {
        node.stop().await;
    }
    master.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn the_first_key_is_kept_before_it_is_minted_or_not_minted_at_all(pool: PgPool) {
    let world = World::start(pool).await;
    let (pool, plane) = (&world.plane.pool, &world.plane);
    sqlx::query("delete from state.api_key").execute(pool).await.expect("as if nothing had been");
    let hashes = async || {
        let count = sqlx::query_scalar::<_, i64>("select count(*) from live.secret_material where kind = 'api_key'");
        count.fetch_one(pool).await.expect("a count")
    };
    let (head, before) = (plane.reader.head().await.expect("a head"), hashes().await);
    let full = |_: &str| Err(io::Error::from(io::ErrorKind::StorageFull));
    let refused = first_start(pool, &plane.committer, &plane.node, full).await.expect_err("nowhere to keep it");
    assert!(matches!(refused, FirstStartError::Keep(_)), "{refused}");
    assert_eq!((plane.reader.head().await.expect("a head"), hashes().await), (head, before));

    // The next start makes up for it.
    let (first, kept) = world.first_start().await;
    assert_eq!(first, FirstKey::Minted);
    world.settled().await;
    let owner = crate::fixture::Client { key: kept, ..world.owner.clone() };
    owner.get("/api/v1/admin/apps").await.is(200);
    world.stop().await;
}
