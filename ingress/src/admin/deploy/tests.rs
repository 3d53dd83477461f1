//! Plans, without a database.

use std::{collections::BTreeMap, sync::Arc};

use chrono::DateTime;
use picloud_core::{
    event::{Actor, Event, route::Definition, script::ScriptKind, trigger::Registrant},
    limits::Limits,
    run::Program,
    topic::{Access, Auth},
    trigger::Written,
};
use picloud_projections::setup::{Active, Domain, Queue, Route, Script, Topic, Trigger};
use serde_json::json;
use ulid::Ulid;

use super::*;

/// Who deploys.
const ADA: Registrant = Registrant { account: None, key: None, scopes: None };

/// An app with a script `greet` (version 1 of `1`, active) on `/greet`, and a host.
fn app() -> App {
    let id = AppId::from(Ulid(1));
    let limits = Limits::DEFAULT;
    let program = Program {
        app: id,
        app_slug: "shop".into(),
        script: Ulid(2).into(),
        name: "greet".into(),
        version: Ulid(3).into(),
        number: 1,
        source: "1".into(),
        limits,
        env: Arc::default(),
    };
    let active = Active {
        version: Ulid(3).into(),
        number: 1,
        sha256: sha("1"),
        deployed_by: Actor::SYSTEM,
        limits,
        program: Arc::new(program),
    };
    let script = Script {
        id: Ulid(2).into(),
        name: "greet".to_owned(),
        kind: ScriptKind::Endpoint,
        created_at: DateTime::UNIX_EPOCH,
        is_paused: false,
        position: Position(3),
        active: Some(active),
    };
    let definition: Definition =
        serde_json::from_value(json!({ "path": "/greet", "script": script.id })).expect("a definition");
    App {
        id,
        slug: "shop".into(),
        created_at: DateTime::UNIX_EPOCH,
        is_paused: false,
        position: Position::ZERO,
        members: BTreeMap::new(),
        domains: vec![Domain { id: Ulid(4).into(), host: "shop.test".to_owned(), created_at: DateTime::UNIX_EPOCH }],
        env_positions: BTreeMap::new(),
        http_exceptions: Vec::new(),
        may_call: Arc::default(),
        env: Arc::new(BTreeMap::from([("a".to_owned(), "1".to_owned())])),
        scripts: vec![script],
        routes: vec![Route { id: Ulid(5).into(), definition, created_at: DateTime::UNIX_EPOCH, position: Position(4) }],
        triggers: Vec::new(),
        gone_triggers: HashMap::new(),
        queues: BTreeMap::new(),
        topics: BTreeMap::new(),
        access: Arc::default(),
    }
}

fn sha(source: &str) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(source.as_bytes()))
}

fn latest(number: u32, source: &str) -> HashMap<ScriptId, Latest> {
    let latest =
        Latest { id: Ulid(u128::from(number) + 2).into(), number, sha256: sha(source), limits: Limits::DEFAULT };
    HashMap::from([(Ulid(2).into(), latest)])
}

fn wanted(manifest: serde_json::Value) -> Wanted {
    let manifest: Manifest = serde_json::from_value(manifest).expect("a manifest");
    Wanted::check(manifest, &Limits::CEILING).unwrap_or_else(|problem| panic!("{}", problem.detail()))
}

/// The plan's kinds of events, or why there is none.
fn planned(
    manifest: serde_json::Value,
    app: Option<&App>,
    latest: &HashMap<ScriptId, Latest>,
) -> Result<Vec<String>, String> {
    let mut next = 100;
    let mut mint = || {
        next += 1;
        Ulid(next)
    };
    let plan = plan(&wanted(manifest), &Present { app, slug: "shop", latest, registrant: &ADA }, &mut mint);
    let told = |event: &Event| format!("{} {}", Event::kind(event), event.subject());
    plan.map(|plan| plan.events.iter().map(told).collect()).map_err(|problem| problem.detail().to_owned())
}

fn kinds(events: &[String]) -> Vec<&str> {
    events.iter().filter_map(|event| event.split(' ').next()).collect()
}

#[test]
fn what_is_as_wanted_makes_no_event() {
    let same = json!({ "hosts": ["shop.test"], "env": { "a": "1" }, "prune": true, "scripts": [
        { "name": "greet", "source": "1", "routes": [{ "method": "any", "path": "/greet" }] },
    ]});
    assert_eq!(planned(same, Some(&app()), &latest(1, "1")), Ok(Vec::new()));
}

#[test]
fn the_same_plan_comes_of_the_same_app_and_manifest() {
    let manifest = || json!({ "scripts": [{ "name": "new", "source": "2", "routes": [{ "path": "/new" }] }] });
    let (app, latest) = (app(), latest(1, "1"));
    assert_eq!(planned(manifest(), Some(&app), &latest), planned(manifest(), Some(&app), &latest));
}

#[test]
fn a_new_source_is_numbered_after_the_newest_version_not_the_active_one() {
    let manifest = wanted(json!({ "scripts": [{ "name": "greet", "source": "9" }] }));
    let (app, latest) = (app(), latest(4, "4"));
    let present = Present { app: Some(&app), slug: "shop", latest: &latest, registrant: &ADA };
    let plan = plan(&manifest, &present, &mut || Ulid(100)).expect("a plan");
    let Some(Event::ScriptDeployed(deployed)) = plan.events.first() else { panic!("{:?}", plan.events) };
    assert_eq!(deployed.number, 5);
    assert_eq!(plan.changes[0].detail.as_deref(), Some("version 5"));
}

#[test]
fn the_newest_version_that_does_not_run_is_activated_rather_than_stored_again() {
    let again = planned(json!({ "scripts": [{ "name": "greet", "source": "2" }] }), Some(&app()), &latest(2, "2"));
    assert_eq!(kinds(&again.expect("a plan")), ["script.activated"]);
}

#[test]
fn other_limits_are_another_version() {
    let limits = json!({ "scripts": [{ "name": "greet", "source": "1", "limits": { "timeout_ms": 5 } }] });
    let planned = planned(limits, Some(&app()), &latest(1, "1")).expect("a plan");
    assert_eq!(kinds(&planned), ["script.deployed", "script.activated"]);
}

#[test]
fn what_makes_room_comes_first_and_what_must_be_let_go_of_last() {
    let other = json!({ "hosts": ["new.test"], "env": {}, "prune": true, "scripts": [
        { "name": "other", "source": "1", "routes": [{ "path": "/:any" }] },
    ]});
    let planned = planned(other, Some(&app()), &latest(1, "1")).expect("a plan");
    assert_eq!(
        kinds(&planned),
        [
            "domain.released",
            "route.unbound",
            "domain.claimed",
            "env.deleted",
            "script.deployed",
            "script.activated",
            "route.bound",
            "script.deleted"
        ]
    );
}

#[test]
fn a_route_moves_to_another_script_before_its_own_goes() {
    let moved = json!({ "prune": true, "scripts": [
        { "name": "other", "source": "1", "routes": [{ "path": "/greet" }] },
    ]});
    let planned = planned(moved, Some(&app()), &latest(1, "1")).expect("a plan");
    assert_eq!(kinds(&planned), ["script.deployed", "script.activated", "route.updated", "script.deleted"]);
}

#[test]
fn without_pruning_a_conflict_with_what_is_there_is_named() {
    let mut app = app();
    app.routes[0].definition.path = "/u/:id".to_owned();
    let conflicting = json!({ "scripts": [{ "name": "greet", "source": "1", "routes": [{ "path": "/u/:name" }] }] });
    let refused = planned(conflicting, Some(&app), &latest(1, "1")).expect_err("a conflict");
    assert!(refused.contains("`ANY /u/:name` conflicts with `ANY /u/:id` (rte_"), "{refused}");
}

#[test]
fn an_app_that_is_not_there_is_made_first() {
    let new = json!({ "create_app": true, "hosts": ["b.test", "A.test", "a.test"] });
    let planned = planned(new, None, &HashMap::new()).expect("a plan");
    assert_eq!(kinds(&planned), ["app.created", "domain.claimed", "domain.claimed"]);
}

#[test]
fn default_routes_are_for_scripts_that_have_none() {
    let manifest = |name: &str, prune: bool| {
        json!({ "prune": prune, "scripts": [
            { "name": name, "source": "1", "default_routes": [{ "path": format!("/{name}-2") }] },
        ]})
    };
    let (app, latest) = (app(), latest(1, "1"));
    // It keeps the one it has, and whoever deploys it is told where it answers.
    for prune in [false, true] {
        let wanted = wanted(manifest("greet", prune));
        let present = Present { app: Some(&app), slug: "shop", latest: &latest, registrant: &ADA };
        let plan = plan(&wanted, &present, &mut || Ulid(100)).expect("a plan");
        let paths: Vec<&str> = plan.routes.iter().map(|route| route.path.as_str()).collect();
        assert_eq!(paths, ["/greet"]);
        assert!(!plan.events.iter().any(|event| event.kind().starts_with("route.")), "{:?}", plan.events);
    }
    let new = planned(manifest("new", false), Some(&app), &latest).expect("a plan");
    assert_eq!(kinds(&new), ["script.deployed", "script.activated", "route.bound"]);
}

#[test]
fn a_route_that_contradicts_one_that_is_kept_is_refused() {
    let manifest = json!({ "scripts": [
        { "name": "greet", "source": "1", "default_routes": [{ "path": "/other" }] },
        { "name": "new", "source": "2", "routes": [{ "path": "/greet" }] },
    ]});
    let refused = planned(manifest, Some(&app()), &latest(1, "1")).expect_err("two scripts on one path");
    assert!(refused.contains("/greet"), "{refused}");
}

/// A trigger of the app's `greet`.
fn trigger(id: u128, said: serde_json::Value, is_enabled: bool) -> Trigger {
    let mut said = said;
    said["script"] = json!("greet");
    let said: Written = serde_json::from_value(said).expect("a trigger");
    Trigger {
        id: Ulid(id).into(),
        definition: crate::admin::triggers::wanted::defined(&said, Ulid(2).into()),
        registrant: Registrant { account: Some(Ulid(90).into()), key: None, scopes: None },
        is_enabled,
        disabled_why: None,
        is_paused: false,
        created_at: DateTime::UNIX_EPOCH,
        since: DateTime::UNIX_EPOCH,
        position: Position(5),
        deleted_at: None,
    }
}

/// The plan for an app with these triggers, of a manifest with those.
fn with_triggers(there: Vec<Trigger>, wanted: serde_json::Value) -> Result<Vec<String>, String> {
    let app = App { triggers: there, ..app() };
    let manifest = json!({ "prune": true, "hosts": ["shop.test"], "triggers": wanted,
        "scripts": [{ "name": "greet", "source": "1", "routes": [{ "path": "/greet" }] }] });
    planned(manifest, Some(&app), &latest(1, "1"))
}

#[test]
fn a_trigger_that_is_as_wanted_stays_untouched() {
    let cron = json!({ "kind": "cron", "schedule": "@daily" });
    let kv = json!({ "kind": "kv", "collection": "carts", "ops": ["set"] });
    let there = vec![trigger(60, cron.clone(), true), trigger(61, kv.clone(), false)];
    let said = |mut said: serde_json::Value| {
        said["script"] = json!("greet");
        said
    };
    // One that was disabled by hand stays so where the manifest does not say otherwise.
    assert_eq!(with_triggers(there, json!([said(kv), said(cron)])), Ok(Vec::new()));
}

#[test]
fn the_same_trigger_with_another_policy_is_updated_and_one_that_waits_for_another_thing_is_another() {
    let there = || vec![trigger(60, json!({ "kind": "cron", "schedule": "@daily" }), true)];
    let updated = json!([{ "kind": "cron", "schedule": "@daily", "missed": "all", "script": "greet" }]);
    assert_eq!(with_triggers(there(), updated), Ok(vec![format!("trigger.updated {}", there()[0].id)]));
    let other = json!([{ "kind": "cron", "schedule": "@daily", "time_zone": "Europe/Berlin", "script": "greet" }]);
    let planned = with_triggers(there(), other).expect("a plan");
    assert_eq!(kinds(&planned), ["trigger.deleted", "trigger.created"]);
    let there = vec![trigger(60, json!({ "kind": "kv", "collection": "carts" }), true)];
    let ops = json!([{ "kind": "kv", "collection": "carts", "ops": ["delete"], "script": "greet" }]);
    assert_eq!(kinds(&with_triggers(there, ops).expect("a plan")), ["trigger.updated"]);
}

#[test]
fn a_manifest_says_whether_a_trigger_counts() {
    let topic = |enabled: bool| json!({ "kind": "topic", "topic": "a", "script": "greet", "enabled": enabled });
    let new = with_triggers(Vec::new(), json!([topic(false)])).expect("a plan");
    assert_eq!(kinds(&new), ["trigger.created", "trigger.disabled"]);
    let there = |is_enabled| vec![trigger(60, json!({ "kind": "topic", "topic": "a" }), is_enabled)];
    assert_eq!(kinds(&with_triggers(there(true), json!([topic(false)])).expect("a plan")), ["trigger.disabled"]);
    assert_eq!(kinds(&with_triggers(there(false), json!([topic(true)])).expect("a plan")), ["trigger.enabled"]);
    assert_eq!(with_triggers(there(true), json!([topic(true)])), Ok(Vec::new()));
}

#[test]
fn triggers_go_before_their_scripts_and_come_after_them() {
    let app = App { triggers: vec![trigger(60, json!({ "kind": "topic", "topic": "a" }), true)], ..app() };
    let manifest = json!({ "prune": true, "triggers": [{ "kind": "topic", "topic": "a", "script": "other" }],
        "queues": [{ "name": "mail", "max_concurrency": 2 }], "scripts": [{ "name": "other", "source": "1" }] });
    let planned = planned(manifest, Some(&app), &latest(1, "1")).expect("a plan");
    assert_eq!(
        kinds(&planned),
        [
            "route.unbound",
            "trigger.deleted",
            "script.deployed",
            "script.activated",
            "trigger.created",
            "queue.configured",
            "script.deleted"
        ]
    );
}

#[test]
fn a_manifest_that_says_nothing_of_triggers_leaves_them_and_what_they_run() {
    let app = App { triggers: vec![trigger(60, json!({ "kind": "topic", "topic": "a" }), true)], ..app() };
    let said = json!({ "prune": true, "scripts": [{ "name": "greet", "source": "1" }] });
    let kept = planned(said, Some(&app), &latest(1, "1")).expect("a plan");
    assert!(!kept.iter().any(|event| event.starts_with("trigger.")), "{kept:?}");
    let refused = planned(json!({ "prune": true }), Some(&app), &latest(1, "1")).expect_err("it is run");
    assert!(refused.contains("is run by 1 trigger(s)"), "{refused}");
}

#[test]
fn a_trigger_runs_a_script_that_is_there_when_all_is_done() {
    let wanted = json!([{ "kind": "topic", "topic": "a", "script": "nobody" }]);
    let refused = with_triggers(Vec::new(), wanted).expect_err("no script");
    assert_eq!(refused, "the app `shop` has no script `nobody`");
    // Not pruned, it may be one that the manifest does not name.
    let manifest =
        |prune| json!({ "prune": prune, "triggers": [{ "kind": "topic", "topic": "a", "script": "greet" }] });
    let added = planned(manifest(false), Some(&app()), &latest(1, "1")).expect("a plan");
    assert_eq!(kinds(&added), ["trigger.created"]);
    planned(manifest(true), Some(&app()), &latest(1, "1")).expect_err("it would go");
    let gone = json!([{ "kind": "dead_letter", "failed_script": ScriptId::generate(), "script": "greet" }]);
    let refused = with_triggers(Vec::new(), gone).expect_err("no letter is of that");
    assert!(refused.contains("no letter would ever be of it"), "{refused}");
}

#[test]
fn an_event_does_not_come_to_owe_too_much_by_a_deployment() {
    let mail = || json!({ "kind": "queue", "queue": "mail" });
    let there: Vec<Trigger> = (0..100).map(|n| trigger(1000 + n, mail(), true)).collect();
    let app = App { triggers: there, ..app() };
    let said = json!({ "triggers": [{ "kind": "queue", "queue": "mail", "script": "new" }],
        "scripts": [{ "name": "new", "source": "1" }] });
    let refused = planned(said, Some(&app), &latest(1, "1")).expect_err("one too many");
    assert!(refused.contains("one event could owe 101 runs"), "{refused}");
}

#[test]
fn two_triggers_alike_are_refused() {
    let said = |ops: &[&str]| json!({ "kind": "kv", "collection": "carts", "ops": ops, "script": "greet" });
    let manifest: Manifest =
        serde_json::from_value(json!({ "triggers": [said(&["set"]), said(&["delete"])] })).expect("a manifest");
    let refused = Wanted::check(manifest, &Limits::CEILING).expect_err("twice");
    assert!(refused.detail().contains("two triggers `kv carts` that run `greet`"), "{}", refused.detail());
}

#[test]
fn what_is_said_of_queues_is_made_so_and_taken_back() {
    let queue = |most| Queue {
        max_concurrency: most,
        is_paused: true,
        created_at: DateTime::UNIX_EPOCH,
        position: Position(6),
    };
    let queues = BTreeMap::from([("mail".to_owned(), queue(Some(2))), ("slow".to_owned(), queue(Some(1)))]);
    let app = App { queues, ..app() };
    let planned = |said: serde_json::Value, prune: bool| {
        planned(
            json!({ "queues": said, "prune": prune, "triggers": [], "hosts": ["shop.test"],
            "scripts": [{ "name": "greet", "source": "1", "routes": [{ "path": "/greet" }] }] }),
            Some(&app),
            &latest(1, "1"),
        )
    };
    let same = json!([{ "name": "mail", "max_concurrency": 2 }, { "name": "slow", "max_concurrency": 1 }]);
    assert_eq!(planned(same, true), Ok(Vec::new()));
    let changed = json!([{ "name": "mail", "max_concurrency": 3 }]);
    assert_eq!(
        planned(changed.clone(), true),
        Ok(vec!["queue.configured queue:mail".to_owned(), "queue.configured queue:slow".to_owned()])
    );
    assert_eq!(planned(changed, false), Ok(vec!["queue.configured queue:mail".to_owned()]));
}

#[test]
fn what_is_said_of_topics_is_made_so_and_taken_back() {
    let topic = |access| Topic { access, created_at: DateTime::UNIX_EPOCH, position: Position(6) };
    let topics = BTreeMap::from([
        ("news".to_owned(), topic(Access::External(Auth::Public))),
        ("room.*".to_owned(), topic(Access::External(Auth::Token))),
    ]);
    let app = App { topics, ..app() };
    let planned = |said: serde_json::Value, prune: bool| {
        planned(
            json!({ "topics": said, "prune": prune, "triggers": [], "hosts": ["shop.test"],
            "scripts": [{ "name": "greet", "source": "1", "routes": [{ "path": "/greet" }] }] }),
            Some(&app),
            &latest(1, "1"),
        )
    };
    let same = json!([
        { "name": "news", "external": true, "auth": "public" },
        { "name": "room.*", "external": true, "auth": "token" },
    ]);
    assert_eq!(planned(same, true), Ok(Vec::new()));
    let changed = json!([{ "name": "news" }, { "name": "poll", "external": true, "auth": "public" }]);
    let registered = ["topic.registered topic:news", "topic.registered topic:poll"].map(str::to_owned);
    assert_eq!(planned(changed.clone(), false), Ok(registered.to_vec()));
    let deleted = ["topic.deleted topic:room.*".to_owned()];
    assert_eq!(planned(changed, true), Ok([&registered[..], &deleted].concat()));
}
