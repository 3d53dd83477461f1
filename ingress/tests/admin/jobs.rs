//! Decisions about many letters at once: how many they are about, and jobs. Working on jobs is the workers' business.

use http::Method;
use picloud_core::{
    event::{
        Actor,
        job::{Counts, Ended, Outcome},
    },
    id::{AppId, JobId},
    log::{Commit, NewEvent},
};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{
    dead_letters::letter,
    fixture::{World, each, text},
};

const BULK: &str = "/api/v1/admin/apps/shop/dead_letters/bulk";
const JOBS: &str = "/api/v1/admin/apps/shop/jobs";

/// Letters that exist in the database alone: enough to be counted, too many to be made one by one.
async fn crowd(world: &World, app: AppId, count: i32, fingerprint: &str) {
    sqlx::query(
        "insert into state.dead_letter (id, app_id, item, data, actor, depth, script_id, source, reason, fingerprint,
            created_at, position)
        select gen_random_uuid(), $1, gen_random_uuid(), '{}', '{}', 0, $1, 'invoke', 'gave_up', $3, now(), 1
        from generate_series(1, $2)",
    )
    .bind(app.uuid())
    .bind(count)
    .bind(fingerprint)
    .execute(&world.plane.pool)
    .await
    .expect("inserted");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_job_has_the_open_letters_that_match_oldest_first_and_says_who_wanted_what(pool: PgPool) {
    let world = World::start(pool).await;
    let shop = world.app("shop").await;
    let ada = world.person("ada@example.com", "owner").await;
    let mut ids = Vec::new();
    for error in ["boom", "bang", "boom", "boom"] {
        let path = letter(&world, shop, "shop", error).await;
        ids.push(path.rsplit('/').next().expect("an id").to_owned());
    }
    world.owner.post(&format!("/api/v1/admin/apps/shop/dead_letters/{}/resolve", ids[0]), json!({})).await.is(200);

    let boom = json!({ "fingerprint": "order: boom" });
    let dry = json!({ "action": "replay", "filter": boom, "dry_run": true });
    assert_eq!(ada.post(BULK, dry).await.is(200), json!({ "matching": 2 }));
    assert_eq!(ada.post(BULK, json!({ "action": "replay", "dry_run": true })).await.is(200), json!({ "matching": 3 }));
    assert!(each(&ada.get(JOBS).await.is(200), "id").is_empty(), "nothing was begun");

    let wanted = json!({ "action": "resolve", "filter": boom, "resolution": "handled_by_script", "reason": "the night job",
        "per_second": 20 });
    let job = ada.post(BULK, wanted).await;
    assert!(job.header("x-picloud-cursor").is_some());
    let job = job.is(202);
    assert_eq!((&job["state"], &job["total"], &job["done"]), (&json!("waiting"), &json!(2), &json!(0)));
    assert_eq!((&job["action"], &job["resolution"]), (&json!("resolve"), &json!("handled_by_script")));
    assert_eq!((&job["started_by"], &job["reason"]), (&json!("ada@example.com"), &json!("the night job")));
    assert_eq!((&job["filter"], &job["per_second"]), (&boom, &json!(20)));
    let path = format!("{JOBS}/{}", text(&job["id"]));
    assert_eq!(ada.get(&path).await.is(200), job);
    let events = world.owner.get("/api/v1/admin/apps/shop/events?kind=job").await.is(200);
    let mut letters = vec![ids[2].clone(), ids[3].clone()];
    letters.sort();
    assert_eq!(events["items"][0]["data"]["letters"], json!(letters));
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_cannot_be_wanted_is_refused_and_nothing_is_begun(pool: PgPool) {
    let world = World::start(pool).await;
    let shop = world.app("shop").await;
    letter(&world, shop, "shop", "boom").await;
    for (wanted, told) in [
        (json!({}), "missing field `action`"),
        (json!({ "action": "forget" }), "unknown variant `forget`"),
        (json!({ "action": "replay", "filter": { "limit": 5 } }), "unknown field `limit`"),
        (json!({ "action": "replay", "filter": { "resolution": "ignored" } }), "letters that are `ignored` are closed"),
        (json!({ "action": "replay", "filter": { "script": "none" } }), "none"),
        (json!({ "action": "replay", "reason": "x" }), "`reason` goes with `resolve`"),
        (json!({ "action": "replay", "resolution": "ignored" }), "`resolution` goes with `resolve`"),
        (json!({ "action": "resolve", "per_second": 0 }), "per_second is 0: allowed is 1 to 10000"),
        (json!({ "action": "resolve", "per_second": 10_001 }), "allowed is 1 to 10000"),
    ] {
        let refused = world.owner.post(BULK, wanted.clone()).await;
        assert!([404, 422].contains(&refused.status.as_u16()), "{wanted}: {refused:?}");
        let detail = text(&refused.json()["detail"]);
        assert!(detail.contains(told), "{wanted}: {detail}");
    }
    assert!(each(&world.owner.get(JOBS).await.is(200), "id").is_empty());
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn more_letters_than_a_job_takes_are_counted_exactly_and_refused_as_a_whole(pool: PgPool) {
    let world = World::start(pool).await;
    let shop = world.app("shop").await;
    crowd(&world, shop, 10_000, "a").await;
    crowd(&world, shop, 1_500, "b").await;
    let narrowed = json!({ "reason": "gave_up" });
    let dry = json!({ "action": "replay", "filter": narrowed, "dry_run": true });
    assert_eq!(world.owner.post(BULK, dry).await.is(200), json!({ "matching": 11_500 }));
    let refused = world.owner.post(BULK, json!({ "action": "replay", "filter": narrowed })).await;
    let detail = refused.problem(422);
    assert!(detail.contains("11500 letters match, and a job takes 10000 at most: nothing was begun"), "{detail}");
    assert_eq!((&refused.json()["matching"], &refused.json()["allowed"]), (&json!(11_500), &json!(10_000)));
    assert!(each(&world.owner.get(JOBS).await.is(200), "id").is_empty());
    let job = world.owner.post(BULK, json!({ "action": "replay", "filter": { "fingerprint": "a" } })).await.is(202);
    assert_eq!(job["total"], 10_000);

    // A list counts as far as a thousand where no counter knows.
    let count = "/api/v1/admin/apps/shop/dead_letters/count";
    let counted = world.owner.get(&format!("{count}?fingerprint=b")).await.is(200);
    assert_eq!(counted, json!({ "count": 1_000, "is_exact": false }));
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_the_counters_tell_apart_is_counted_exactly_however_many_there_are(pool: PgPool) {
    let world = World::start(pool).await;
    let shop = world.app("shop").await;
    letter(&world, shop, "shop", "boom").await;
    sqlx::query("update state.dead_letter_count set letters = 123456").execute(&world.plane.pool).await.expect("set");
    let count = "/api/v1/admin/apps/shop/dead_letters/count";
    for query in ["", "?unresolved=true"] {
        let counted = world.owner.get(&format!("{count}{query}")).await.is(200);
        assert_eq!(counted, json!({ "count": 123_456, "is_exact": true }));
    }
    let counted = world.owner.get(&format!("{count}?resolution=replayed")).await.is(200);
    assert_eq!(counted, json!({ "count": 0, "is_exact": true }));
    world.stop().await;
}

/// Says that a job is over, as who works on it would.
async fn end(world: &World, app: AppId, job: &str) {
    let job: JobId = job.parse().expect("a job");
    let ended = Ended { job, outcome: Outcome::Done, counts: Counts::default(), error: None };
    let event = NewEvent::new(Some(app), &Actor::SYSTEM, ended);
    world.plane.committer.commit(Commit::new(world.plane.node.authority(), vec![event])).await.expect("committed");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_job_is_called_off_once_and_not_when_it_is_over(pool: PgPool) {
    let world = World::start(pool).await;
    let shop = world.app("shop").await;
    let ada = world.person("ada@example.com", "owner").await;
    letter(&world, shop, "shop", "boom").await;
    let job = text(&world.owner.post(BULK, json!({ "action": "replay" })).await.is(202)["id"]);
    let cancel = format!("{JOBS}/{job}/cancel");
    let cancelled = ada.post(&cancel, Value::Null).await.is(200);
    assert_eq!((&cancelled["state"], &cancelled["cancelled_by"]), (&json!("cancelling"), &json!("ada@example.com")));
    assert_eq!(world.owner.post(&cancel, Value::Null).await.is(200), cancelled, "who asked first");
    let events = world.owner.get("/api/v1/admin/apps/shop/events?kind=job.cancellation_requested").await.is(200);
    assert_eq!(each(&events, "subject"), std::slice::from_ref(&job));
    end(&world, shop, &job).await;
    let told = ada.post(&cancel, Value::Null).await.problem(409);
    assert_eq!(told, format!("the job `{job}` is over: it is done"));
    let ended = ada.get(&format!("{JOBS}/{job}")).await.is(200);
    assert!(ended["state"] == "done" && ended["ended_at"].is_string(), "{ended}");
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn jobs_are_listed_newest_first_page_by_page_and_not_too_many_wait(pool: PgPool) {
    let world = World::start(pool).await;
    let shop = world.app("shop").await;
    let mut started = Vec::new();
    for _ in 0..20 {
        started.push(text(&world.owner.post(BULK, json!({ "action": "replay" })).await.is(202)["id"]));
    }
    let told = world.owner.post(BULK, json!({ "action": "replay" })).await.problem(409);
    assert!(told.contains("20 jobs of this app are not over"), "{told}");
    end(&world, shop, &started[0]).await;
    started.push(text(&world.owner.post(BULK, json!({ "action": "replay" })).await.is(202)["id"]));
    started.sort();
    started.reverse();
    let first = world.owner.get(&format!("{JOBS}?limit=15")).await.is(200);
    let second = world.owner.get(&format!("{JOBS}?limit=15&cursor={}", text(&first["cursor"]))).await.is(200);
    assert_eq!([each(&first, "id"), each(&second, "id")].concat(), started);
    assert_eq!(second["cursor"], Value::Null);
    world.owner.get(&format!("{JOBS}?cursor=abc")).await.problem(422);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn nothing_of_a_job_shows_through_another_app(pool: PgPool) {
    let world = World::start(pool).await;
    let shop = world.app("shop").await;
    world.app("other").await;
    letter(&world, shop, "shop", "boom").await;
    let job = text(&world.owner.post(BULK, json!({ "action": "replay" })).await.is(202)["id"]);
    let elsewhere = "/api/v1/admin/apps/other/jobs";
    world.owner.get(&format!("{elsewhere}/{job}")).await.problem(404);
    world.owner.ask(Method::POST, &format!("{elsewhere}/{job}/cancel"), None).await.problem(404);
    world.owner.get(&format!("{elsewhere}/nonsense")).await.problem(404);
    assert!(each(&world.owner.get(elsewhere).await.is(200), "id").is_empty());
    let dry = json!({ "action": "resolve", "dry_run": true });
    let theirs = world.owner.post("/api/v1/admin/apps/other/dead_letters/bulk", dry).await.is(200);
    assert_eq!(theirs, json!({ "matching": 0 }));
    assert_eq!(world.owner.get(&format!("{JOBS}/{job}")).await.is(200)["cancelled_by"], Value::Null);
    world.stop().await;
}
