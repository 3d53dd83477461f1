use futures::future::join_all;
use picloud_core::capability::Capability;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::fixture::{World, each, text};

const DEPLOY: &str = "/api/v1/admin/apps/default/deploy";

fn greet(source: &str) -> Value {
    json!({ "scripts": [{ "name": "greet", "source": source, "routes": [{ "method": "ANY", "path": "/greet" }] }] })
}

/// `action kind name`, a line a change.
fn changes(deployed: &Value) -> Vec<String> {
    let line =
        |change: &Value| format!("{} {} {}", text(&change["action"]), text(&change["kind"]), text(&change["name"]));
    deployed["changes"].as_array().expect("changes").iter().map(line).collect()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_script_and_its_route_are_there_when_it_answers(pool: PgPool) {
    let world = World::start(pool).await;
    let reply = world.owner.post(DEPLOY, greet("1")).await;
    let deployed = reply.is(200);
    assert_eq!(changes(&deployed), ["create script greet", "create route ANY /greet"]);
    assert_eq!(deployed["urls"], json!(["http://127.0.0.1:8080/greet"]));
    assert_eq!(deployed["cursor"], reply.cursor());
    let setup = world.plane.setup.get();
    let app = setup.app("default").expect("the app");
    assert_eq!((app.scripts.len(), app.routes.len()), (1, 1));
    assert_eq!(app.scripts[0].active.as_ref().map(|active| active.number), Some(1));

    // The same again: nothing happens, and it says so.
    let before = world.plane.reader.head().await.expect("a head");
    let again = world.owner.post(DEPLOY, greet("1")).await.is(200);
    assert_eq!(changes(&again), ["unchanged script greet", "unchanged route ANY /greet"]);
    assert_eq!(world.plane.reader.head().await.expect("a head"), before);
    assert_eq!(again["urls"], deployed["urls"]);

    let next = world.owner.post(DEPLOY, greet("2")).await.is(200);
    assert_eq!(changes(&next), ["update script greet", "unchanged route ANY /greet"]);
    assert_eq!(next["changes"][0]["detail"], "version 2");
    assert!(text(&next["changes"][0]["diff"]).contains("-1\n"), "{next}");
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_dry_run_says_what_would_change_and_changes_nothing(pool: PgPool) {
    let world = World::start(pool).await;
    let before = world.plane.reader.head().await.expect("a head");
    let dry = world.owner.post(&format!("{DEPLOY}?dry_run=true"), greet("1")).await.is(200);
    assert_eq!(changes(&dry), ["create script greet", "create route ANY /greet"]);
    assert_eq!((&dry["dry_run"], &dry["cursor"]), (&json!(true), &json!(null)));
    assert_eq!(world.plane.reader.head().await.expect("a head"), before);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_missing_app_is_made_where_that_is_wanted(pool: PgPool) {
    let world = World::start(pool).await;
    let deploy = "/api/v1/admin/apps/shop/deploy";
    let mut manifest = greet("1");
    world.owner.post(deploy, manifest.clone()).await.problem(404);
    manifest["create_app"] = json!(true);
    manifest["app"] = json!("shop");
    manifest["hosts"] = json!(["Shop.localhost"]);
    manifest["env"] = json!({ "currency": "EUR" });
    let deployed = world.owner.post(deploy, manifest.clone()).await.is(200);
    assert_eq!(
        changes(&deployed),
        [
            "create app shop",
            "create domain shop.localhost",
            "create env currency",
            "create script greet",
            "create route ANY /greet"
        ]
    );
    assert_eq!(deployed["urls"], json!(["http://shop.localhost:8080/greet"]));
    assert_eq!(text(&deployed["app"]["slug"]), "shop");
    world.owner.get("/api/v1/admin/apps/shop").await.is(200);

    world.owner.post("/api/v1/admin/apps/default/deploy", manifest.clone()).await.problem(422);
    let events = world.owner.get("/api/v1/admin/apps/shop/events?order=asc").await.is(200);
    assert_eq!(
        each(&events, "type"),
        ["app.created", "domain.claimed", "env.set", "script.deployed", "script.activated", "route.bound"]
    );
    // All of them in one commit.
    let times = each(&events, "time");
    assert!(times.iter().all(|time| *time == times[0]), "{times:?}");
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn pruning_removes_what_is_not_named_and_nothing_else_does(pool: PgPool) {
    let world = World::start(pool).await;
    let all = json!({ "env": { "a": "1", "b": "2" }, "scripts": [
        { "name": "one", "source": "1", "routes": [{ "path": "/one" }, { "path": "/old" }] },
        { "name": "two", "source": "2", "routes": [{ "path": "/two" }] },
    ]});
    world.owner.post(DEPLOY, all).await.is(200);
    // `/two` moves to the script that stays, under another name for nothing.
    let mut fewer = json!({ "env": { "a": "1" }, "scripts": [
        { "name": "one", "source": "1", "routes": [{ "path": "/one" }, { "path": "/two" }] },
    ]});
    let kept = world.owner.post(DEPLOY, fewer.clone()).await.is(200);
    assert_eq!(
        changes(&kept),
        ["unchanged env a", "unchanged script one", "unchanged route ANY /one", "update route ANY /two"]
    );
    fewer["prune"] = json!(true);
    let pruned = world.owner.post(DEPLOY, fewer).await.is(200);
    assert_eq!(
        changes(&pruned),
        [
            "unchanged env a",
            "delete env b",
            "unchanged script one",
            "unchanged route ANY /one",
            "unchanged route ANY /two",
            "delete route ANY /old",
            "delete script two"
        ]
    );
    let scripts = world.owner.get("/api/v1/admin/apps/default/scripts").await.is(200);
    assert_eq!(each(&scripts, "name"), ["one"]);
    // Hosts were not spoken of.
    assert_eq!(each(&world.owner.get("/api/v1/admin/apps/default/domains").await.is(200), "host").len(), 3);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_bad_source_stores_nothing_of_the_whole_deployment(pool: PgPool) {
    let world = World::start(pool).await;
    let before = world.plane.reader.head().await.expect("a head");
    let manifest = json!({ "env": { "a": "1" }, "scripts": [
        { "name": "good", "source": "1" },
        { "name": "bad", "source": "1;\noops; hmm" },
    ]});
    let refused = world.owner.post(DEPLOY, manifest).await;
    refused.problem(422);
    let found = refused.json();
    assert_eq!(found["type"], "/problems/invalid-script");
    assert_eq!(
        found["diagnostics"],
        json!([
            { "script": "bad", "severity": "error", "line": 2, "column": 1, "message": "`oops` is not known" },
            { "script": "bad", "severity": "warning", "line": 2, "column": 7, "message": "`hmm` is not known" },
        ])
    );
    assert_eq!(world.plane.reader.head().await.expect("a head"), before);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn contradictions_are_refused_by_name(pool: PgPool) {
    let world = World::start(pool).await;
    world.app("other").await;
    world.owner.post("/api/v1/admin/apps/other/domains", json!({ "host": "taken.test" })).await.is(201);
    let taken = json!({ "hosts": ["free.test", "taken.test"] });
    let detail = world.owner.post(DEPLOY, taken).await.problem(409);
    assert!(detail.contains("`taken.test`"), "{detail}");

    let route = |path: &str| json!({ "scripts": [{ "name": "s", "source": "1", "routes": [{ "path": path }] }] });
    world.owner.post(DEPLOY, route("/u/:id")).await.is(200);
    let detail = world.owner.post(DEPLOY, route("/u/:name")).await.problem(409);
    assert!(detail.contains("`ANY /u/:id`"), "{detail}");
    // With pruning the other one goes first.
    let mut pruned = route("/u/:name");
    pruned["prune"] = json!(true);
    world.owner.post(DEPLOY, pruned).await.is(200);

    let twice = json!({ "scripts": [{ "name": "s", "source": "1" }, { "name": "s", "source": "2" }] });
    assert!(world.owner.post(DEPLOY, twice).await.problem(422).contains("two scripts `s`"));
    let itself = json!({ "scripts": [{ "name": "s", "source": "1", "routes": [{ "path": "/a" }, { "path": "/a" }] }] });
    world.owner.post(DEPLOY, itself).await.problem(409);
    let kind = json!({ "scripts": [{ "name": "s", "source": "1", "kind": "module" }] });
    assert!(world.owner.post(DEPLOY, kind).await.problem(422).contains("cannot become `module`"));
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_deployment_needs_what_its_changes_need(pool: PgPool) {
    let world = World::start(pool).await;
    let writer = world.key(&[Capability::AppWriteScript], Some("default")).await;
    let script = json!({ "scripts": [{ "name": "greet", "source": "1" }] });
    writer.post(DEPLOY, script).await.is(200);
    let refused = writer.post(DEPLOY, greet("2")).await;
    assert!(refused.problem(403).contains("AppWriteRoute"));
    assert!(writer.post(DEPLOY, json!({ "hosts": ["a.test"] })).await.problem(403).contains("AppManageDomains"));
    let scripts = world.owner.get("/api/v1/admin/apps/default/scripts/greet").await.is(200);
    assert_eq!(scripts["active"]["number"], 1, "nothing of it was done");
    let making = json!({ "create_app": true });
    writer.post("/api/v1/admin/apps/new/deploy", making).await.problem(404);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn deployments_at_once_all_end_well_and_number_their_versions(pool: PgPool) {
    let world = World::start(pool).await;
    let other = world.another().await;
    let deploys = (0..6).map(|n| {
        let client = if n % 2 == 0 { world.owner.clone() } else { other.owner.clone() };
        async move {
            let mut manifest = greet(&format!("{n}"));
            manifest["create_app"] = json!(true);
            client.post("/api/v1/admin/apps/shop/deploy", manifest).await.is(200)
        }
    });
    let deployed = join_all(deploys).await;
    let script = |deployed: &Value| {
        let changes = deployed["changes"].as_array().expect("changes").clone();
        changes.into_iter().find(|change| change["kind"] == "script").expect("a script")
    };
    let mut numbers: Vec<u64> =
        deployed.iter().filter_map(|deployed| script(deployed)["after"]["number"].as_u64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    let created = deployed.iter().filter(|deployed| changes(deployed).contains(&"create app shop".to_owned())).count();
    assert_eq!(created, 1);
    world.settled().await;
    let routes = world.owner.get("/api/v1/admin/apps/shop/routes").await.is(200);
    assert_eq!(each(&routes, "path"), ["/greet"]);
    other.stop().await;
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn triggers_are_deployed_by_who_may_make_them_and_stay_in_the_name_of_who_did(pool: PgPool) {
    let world = World::start(pool).await;
    world.app("shop").await;
    let deploy = "/api/v1/admin/apps/shop/deploy";
    let manifest = |ops: &[&str]| {
        json!({ "prune": true, "scripts": [{ "name": "greet", "source": "1" }],
            "triggers": [{ "kind": "kv", "collection": "carts", "ops": ops, "script": "greet" }],
            "queues": [{ "name": "mail", "max_concurrency": 2 }] })
    };
    let scripts_alone = world.key(&[Capability::AppWriteScript], Some("shop")).await;
    let refused = scripts_alone.post(deploy, manifest(&[])).await;
    refused.problem(403);
    assert_eq!(refused.json()["capability"], "AppManageTriggers");
    let and_triggers = world.key(&[Capability::AppWriteScript, Capability::AppManageTriggers], Some("shop")).await;
    let refused = and_triggers.post(deploy, manifest(&[])).await;
    refused.problem(403);
    assert_eq!(refused.json()["capability"], "AppQueueManage");

    let ada = world.person("ada@example.com", "owner").await;
    ada.post(deploy, manifest(&[])).await.is(200);
    let triggers = "/api/v1/admin/apps/shop/triggers";
    let registrant = async || each(&world.owner.get(triggers).await.is(200), "registrant");
    assert_eq!(registrant().await, ["ada@example.com"]);
    let again = world.owner.post(deploy, manifest(&[])).await.is(200);
    let told = again["changes"].as_array().expect("changes");
    assert!(told.iter().all(|change| change["action"] == "unchanged"), "{told:?}");
    assert_eq!(registrant().await, ["ada@example.com"], "unchanged, it is still hers");
    // What would change is only said.
    let changed = world.owner.post(&format!("{deploy}?dry_run=true"), manifest(&["set"])).await.is(200);
    let told = changed["changes"].as_array().expect("changes").iter().find(|change| change["kind"] == "trigger");
    let told = told.expect("the trigger");
    assert_eq!((&told["action"], &told["name"]), (&json!("update"), &json!("kv carts")));
    assert_eq!(registrant().await, ["ada@example.com"]);
    world.owner.post(deploy, manifest(&["set"])).await.is(200);
    assert!(registrant().await[0].starts_with("key_"), "who changed it answers for it");
    // Who may do no more than scripts may deploy what changes nothing else.
    scripts_alone.post(deploy, manifest(&["set"])).await.is(200);
    world.stop().await;
}
