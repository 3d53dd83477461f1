use http::Method;
use picloud_core::{
    backup::{Part, Reader},
    capability::Capability,
};
use sqlx::PgPool;

use crate::fixture::{World, each};

const BACKUP: &str = "/api/v1/admin/backup";

#[sqlx::test(migrations = "../migrations")]
async fn a_backup_is_streamed_whole_to_who_may_see_and_change_everything(pool: PgPool) {
    let world = World::start(pool).await;
    world.app("shop").await;
    let reply = world.owner.ask(Method::GET, BACKUP, None).await;
    assert_eq!(reply.status.as_u16(), 200, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
    assert!(reply.header("content-disposition").is_some_and(|value| value.ends_with("Z.picloud\"")), "{reply:?}");
    let (mut reader, manifest) = Reader::open(&reply.body[..]).expect("a backup");
    while reader.next_part().expect("it is whole") != Part::End {}
    assert_eq!(manifest.master_key.fingerprint, world.plane.keyring.master_fingerprint());
    assert!(manifest.tables.iter().any(|table| table.name == "state.app" && table.rows == 2), "{manifest:?}");

    // The log says who has everything now.
    let events = world.owner.get("/api/v1/admin/events?kind=backup.taken").await.is(200);
    assert_eq!(each(&events, "type"), ["backup.taken"]);
    let said = &events["items"][0];
    assert!(said["actor"].as_str().is_some_and(|actor| actor.starts_with("key_")), "{said}");
    assert_eq!(said["data"]["size_bytes"], reply.body.len());
    assert_eq!((&said["data"]["rows"], &said["data"]["head"]), (&manifest.rows().into(), &manifest.head.0.into()));

    for (held, missing) in [
        (Capability::InstanceReadLog, Capability::InstanceManageSettings),
        (Capability::InstanceManageSettings, Capability::InstanceReadLog),
    ] {
        let refused = world.key(&[held], None).await.get(BACKUP).await;
        refused.problem(403);
        assert_eq!(refused.json()["capability"], missing.as_str());
    }

    let mut other = world.plane.pool.begin().await.expect("a transaction");
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('picloud backup', 0))")
        .execute(&mut *other)
        .await
        .expect("locked");
    let busy = world.owner.get(BACKUP).await;
    assert!(busy.problem(409).contains("a backup is being taken already"), "{busy:?}");
    other.rollback().await.expect("let go");
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn that_a_backup_failed_is_in_the_log_and_that_another_is_under_way_is_not(pool: PgPool) {
    let world = World::start(pool).await;
    let mut other = world.plane.pool.begin().await.expect("a transaction");
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('picloud backup', 0))")
        .execute(&mut *other)
        .await
        .expect("locked");
    world.owner.get(BACKUP).await.problem(409);
    other.rollback().await.expect("let go");

    sqlx::query(
        "update _sqlx_migrations set version = 999999 where version = (select max(version) from _sqlx_migrations)",
    )
    .execute(&world.plane.pool)
    .await
    .expect("a newer database");
    world.owner.get(BACKUP).await.problem(500);
    let events = world.owner.get("/api/v1/admin/events?kind=backup.failed").await.is(200);
    assert_eq!(each(&events, "type"), ["backup.failed"], "{events}");
    let said = &events["items"][0];
    assert!(said["data"]["error"].as_str().is_some_and(|error| error.contains("schema version 999999")), "{said}");
    assert!(said["actor"].as_str().is_some_and(|actor| actor.starts_with("key_")), "{said}");
    world.stop().await;
}
