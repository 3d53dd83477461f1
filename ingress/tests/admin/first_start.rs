use picloud_core::capability::Capability;
use picloud_ingress::admin::first_start;
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
    let again = first_start(&world.plane.pool, &world.plane.committer, &world.plane.node).await.expect("a start");
    assert_eq!(again, None);
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
    let again = first_start(&world.plane.pool, &world.plane.committer, &world.plane.node).await.expect("a start");
    assert_eq!(again, None);
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
    let starts = nodes.iter().map(|node| first_start(&node.plane.pool, &node.plane.committer, &node.plane.node));
    let starts = futures::future::join_all(starts).await;
    let keys: Vec<String> = starts.into_iter().filter_map(|start| start.expect("a start")).collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
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
