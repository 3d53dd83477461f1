//! Plans, without a database.

use std::{collections::BTreeMap, sync::Arc};

use chrono::DateTime;
use picloud_core::{
    event::{Actor, Event, route::Definition, script::ScriptKind},
    limits::Limits,
    run::Program,
};
use picloud_projections::setup::{Active, Domain, Route, Script};
use serde_json::json;
use ulid::Ulid;

use super::*;

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
    let plan = plan(&wanted(manifest), &Present { app, slug: "shop", latest }, &mut mint);
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
    let present = Present { app: Some(&app), slug: "shop", latest: &latest };
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
        let present = Present { app: Some(&app), slug: "shop", latest: &latest };
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
