//! What lists, searches and figures answer, and what happens when a view stands still.

use picloud_core::{
    event::{
        Actor, Event, FailureReason,
        invocation::{Completed, Failed, Logged, Started},
        outbox::{Delivered, Enqueued, Payload, Source},
    },
    id::{AppId, InvocationId, OutboxId, RouteId, ScriptId, TriggerId, VersionId},
    log::{Commit, NewEvent},
    run::{InvocationType, LogLevel, LogLine},
};
use serde_json::{Value, json, value::RawValue};
use sqlx::PgPool;

use crate::fixture::{World, each, text};

const RUNS: &str = "/api/v1/admin/apps/shop/invocations";

/// A run, as it is to have been.
#[derive(Clone)]
struct Run {
    script: ScriptId,
    version: VersionId,
    route: Option<RouteId>,
    trigger: Option<TriggerId>,
    principal: Option<&'static str>,
    duration_us: u64,
    says: &'static str,
    error: Option<&'static str>,
}

impl Run {
    fn of(script: ScriptId) -> Self {
        Self {
            script,
            version: VersionId::generate(),
            route: None,
            trigger: None,
            principal: None,
            duration_us: 10,
            says: "",
            error: None,
        }
    }

    async fn append(self, world: &World, app: AppId) -> InvocationId {
        let invocation = InvocationId::generate();
        let started = Started {
            invocation,
            script: self.script,
            version: self.version,
            invocation_type: if self.trigger.is_some() { InvocationType::Trigger } else { InvocationType::Http },
            route: self.route,
            trigger: self.trigger,
            item: None,
            attempt: 1,
            node: world.plane.node.epoch(),
            recording: None,
        };
        let line = LogLine { level: LogLevel::Info, after_us: 1, message: self.says.to_owned(), data: None };
        let logged = Logged { invocation, lines: vec![line], dropped: 0 };
        let (duration_us, runs) = (self.duration_us, 1);
        let end: Event = match self.error {
            None => Completed { invocation, status: 200, duration_us, operations: 1, runs, recording: None }.into(),
            Some(message) => {
                let (reason, message) = (FailureReason::Threw, message.to_owned());
                Failed { invocation, reason, message, line: None, limit: None, duration_us, runs }.into()
            }
        };
        let actor = Actor { id: self.principal.map(str::to_owned), ..Actor::SYSTEM };
        append(world, app, &actor, vec![started.into(), logged.into(), end]).await;
        invocation
    }
}

async fn append(world: &World, app: AppId, actor: &Actor, events: Vec<Event>) {
    let new = |event: Event| NewEvent::new(Some(app), actor, event);
    let commit = Commit::new(world.plane.node.authority(), events.into_iter().map(new).collect());
    world.plane.committer.commit(commit).await.expect("a commit");
}

/// The ids of a list's runs, and how many the count says there are.
async fn listed(world: &World, query: &str) -> (Vec<String>, Value) {
    let list = world.owner.get(&format!("{RUNS}?{query}")).await.is(200);
    let count = world.owner.get(&format!("{RUNS}/count?{query}")).await.is(200);
    (each(&list, "id"), count)
}

#[sqlx::test(migrations = "../migrations")]
async fn runs_are_found_by_all_that_they_are_listed_by_and_counted(pool: PgPool) {
    let world = World::start(pool).await;
    let (app, other) = (world.app("shop").await, world.app("other").await);
    let (script, route, trigger) = (ScriptId::generate(), RouteId::generate(), TriggerId::generate());
    let usual = Run::of(script);
    let says = Run { says: "order 42 was sent to the printer", ..usual.clone() };
    let runs = [
        usual.clone().append(&world, app).await,
        Run { route: Some(route), principal: Some("key_A"), ..says }.append(&world, app).await,
        Run { trigger: Some(trigger), error: Some("no paper for order 42"), ..Run::of(ScriptId::generate()) }
            .append(&world, app)
            .await,
        Run { duration_us: 1_500_000, ..usual.clone() }.append(&world, app).await,
    ];
    // Alike in all, but of another app.
    let theirs = Run {
        route: Some(route),
        trigger: Some(trigger),
        principal: Some("key_A"),
        duration_us: 9_000_000,
        ..usual.clone()
    };
    Run { says: "order 42", error: Some("order 42"), ..theirs }.append(&world, other).await;

    let version = usual.version;
    for (query, expected) in [
        (String::new(), &[3, 2, 1, 0][..]),
        (format!("script={script}"), &[3, 1, 0]),
        (format!("version={version}"), &[3, 1, 0]),
        (format!("route={route}"), &[1]),
        (format!("trigger={trigger}"), &[2]),
        ("principal=key_A".to_owned(), &[1]),
        ("principal=key_B".to_owned(), &[]),
        ("status=failed".to_owned(), &[2]),
        ("status=ok".to_owned(), &[3, 1, 0]),
        ("status=running".to_owned(), &[]),
        (format!("status=ok&script={script}"), &[3, 1, 0]),
        (format!("status=failed&script={script}"), &[]),
        (format!("script={script}&route={route}&principal=key_A"), &[1]),
        (format!("script={script}&trigger={trigger}"), &[]),
        (format!("script={script}&min_duration_ms=1000"), &[3]),
        (format!("route={route}&q=printer"), &[1]),
        ("min_duration_ms=1".to_owned(), &[3]),
        ("min_duration_ms=1500".to_owned(), &[3]),
        ("min_duration_ms=1501".to_owned(), &[]),
        ("min_duration_ms=0".to_owned(), &[3, 2, 1, 0]),
        ("q=42".to_owned(), &[2, 1]),
        ("q=%22order%2042%22%20-paper".to_owned(), &[1]),
        ("q=nothing".to_owned(), &[]),
        ("until=2020-01-01T00:00:00Z".to_owned(), &[]),
        ("since=2020-01-01T00:00:00Z&status=failed".to_owned(), &[2]),
    ] {
        let (found, count) = listed(&world, &query).await;
        let expected: Vec<String> = expected.iter().map(|n| runs[*n].to_string()).collect();
        assert_eq!(found, expected, "{query}");
        assert_eq!(count, json!({ "count": expected.len(), "is_exact": true }), "{query}");
    }
    // One a page, there and back.
    for order in ["asc", "desc"] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = world.owner.get(&format!("{RUNS}?order={order}&limit=1{cursor}")).await.is(200);
            seen.extend(each(&page, "id"));
            let Some(next) = page["cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let mut expected: Vec<String> = runs.iter().map(InvocationId::to_string).collect();
        if order == "desc" {
            expected.reverse();
        }
        assert_eq!(seen, expected);
    }
    for (query, told) in [
        ("min_duration_ms=-1", "min_duration_ms"),
        ("order=up", "allowed are `asc` and `desc`"),
        ("principal=a%00", "U+0000"),
        ("min_cursor=nonsense", "cursor"),
        ("scirpt=x", "did you mean `script`?"),
    ] {
        let refused = world.owner.get(&format!("{RUNS}?{query}")).await.problem(422);
        assert!(refused.contains(told), "{refused}");
    }
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_run_is_listed_while_it_runs(pool: PgPool) {
    let world = World::start(pool).await;
    let app = world.app("shop").await;
    let (invocation, script) = (InvocationId::generate(), ScriptId::generate());
    let started = Started {
        invocation,
        script,
        version: VersionId::generate(),
        invocation_type: InvocationType::Http,
        route: None,
        trigger: None,
        item: None,
        attempt: 1,
        node: world.plane.node.epoch(),
        recording: None,
    };
    append(&world, app, &Actor::SYSTEM, vec![started.into()]).await;
    Run::of(script).append(&world, app).await;
    let running = (vec![invocation.to_string()], json!({ "count": 1, "is_exact": true }));
    assert_eq!(listed(&world, "status=running").await, running);
    assert_eq!(listed(&world, &format!("script={script}")).await.1["count"], 2);
    let ended = Completed { invocation, status: 204, duration_us: 7, operations: 1, runs: 1, recording: None };
    append(&world, app, &Actor::SYSTEM, vec![ended.into()]).await;
    assert!(listed(&world, "status=running").await.0.is_empty());
    assert_eq!(listed(&world, "status=ok").await.1["count"], 2);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn figures_tell_how_runs_ended_how_long_they_took_and_what_is_owed(pool: PgPool) {
    let world = World::start(pool).await;
    let app = world.app("shop").await;
    let made = world.owner.post("/api/v1/admin/apps/shop/scripts", json!({ "name": "cart", "source": "1" })).await;
    let cart: ScriptId = text(&made.is(201)["id"]).parse().expect("an id");
    for n in 1..=20 {
        Run { duration_us: n * 1_000, ..Run::of(cart) }.append(&world, app).await;
    }
    for n in 1..=3 {
        let error = ["no paper for order 1", "no paper for order 22", "no ink"][n - 1];
        Run { error: Some(error), ..Run::of(cart) }.append(&world, app).await;
    }
    let owed = |item| Enqueued {
        item,
        source: Source::Invoke,
        script: cart,
        version: None,
        lane: None,
        priority: 0,
        due_at: None,
        retry: Default::default(),
        payload: Payload::Event(RawValue::from_string("{}".to_owned()).expect("JSON")),
        is_watched: false,
        replay_of: None,
        handles: None,
        carried: None,
    };
    let (one, two) = (OutboxId::generate(), OutboxId::generate());
    append(&world, app, &Actor::SYSTEM, vec![owed(one).into(), owed(two).into()]).await;
    let delivered = Delivered { item: one, attempt: 1, invocation: InvocationId::generate() };
    append(&world, app, &Actor::SYSTEM, vec![delivered.into()]).await;

    let figures = world.owner.get("/api/v1/admin/apps/shop/metrics").await.is(200);
    let total = &figures["total"];
    assert_eq!((&total["ok"], &total["failed"]), (&json!(20), &json!(3)), "{figures}");
    let near = |name: &str, is: f64| (total[name].as_f64().expect("a number") / is - 1.0).abs() < 0.25;
    assert!(near("p50_us", 9_000.0) && near("p99_us", 20_000.0), "{total}");
    assert_eq!(figures["scripts"][0]["script_name"], "cart");
    let points = figures["points"].as_array().expect("points");
    assert_eq!(points.iter().map(|point| point["ok"].as_u64().expect("a number")).sum::<u64>(), 20);
    let outbox = &figures["outbox"];
    assert_eq!(outbox["pending"], 1, "{outbox}");
    assert!(outbox["oldest_at"].is_string() && outbox["drained_in_s"].is_u64(), "{outbox}");
    for query in ["step_s=300", "step_s=420", "step_s=3600", "step_s=604800", "script=cart&step_s=86400"] {
        let same = world.owner.get(&format!("/api/v1/admin/apps/shop/metrics?{query}")).await.is(200);
        assert_eq!((&same["total"], &same["scripts"]), (&figures["total"], &figures["scripts"]), "{query}: {same}");
    }
    for (query, told) in [
        ("step_s=90", "whole minutes"),
        ("since=2020-01-01T00:00:00Z", "ask for a step_s of"),
        ("since=2030-01-01T00:00:00Z", "before until"),
    ] {
        let refused = world.owner.get(&format!("/api/v1/admin/apps/shop/metrics?{query}")).await.problem(422);
        assert!(refused.contains(told), "{refused}");
    }

    let errors = world.owner.get("/api/v1/admin/apps/shop/errors").await.is(200);
    assert_eq!(each(&errors, "fingerprint"), ["cart: no ink", "cart: no paper for order #"]);
    assert_eq!(
        (&errors["items"][1]["failures"], &errors["items"][1]["message"]),
        (&json!(2), &json!("no paper for order 22"))
    );
    let first = world.owner.get("/api/v1/admin/apps/shop/errors?limit=1").await.is(200);
    let second = format!("/api/v1/admin/apps/shop/errors?limit=1&cursor={}", text(&first["cursor"]));
    assert_eq!(each(&world.owner.get(&second).await.is(200), "fingerprint"), ["cart: no paper for order #"]);

    let activity = world.owner.get("/api/v1/admin/apps/shop/activity").await.is(200);
    let hours = activity["items"].as_array().expect("items");
    let ended: u64 = hours.iter().filter_map(|hour| hour["events"]["invocation.completed"].as_u64()).sum();
    assert_eq!(ended, 20, "{activity}");
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_view_that_cannot_go_on_stands_still_alone_and_goes_on_when_it_can(pool: PgPool) {
    let world = World::start(pool.clone()).await;
    let app = world.app("shop").await;
    let script = ScriptId::generate();
    let views = async |world: &World| world.owner.get("/api/v1/admin/views").await.is(200);
    let of = |views: &Value, name: &str| {
        let found = views["items"].as_array().expect("items").iter().find(|view| view["name"] == name);
        found.expect("the view").clone()
    };
    sqlx::query("alter table views.error_group add constraint broken check (message <> 'boom')")
        .execute(&pool)
        .await
        .expect("a constraint");
    for error in ["fine", "boom", "fine again"] {
        Run { error: Some(error), ..Run::of(script) }.append(&world, app).await;
    }
    // The others have taken it in.
    assert_eq!(listed(&world, "status=failed").await.1["count"], 3);
    let mut parked = of(&views(&world).await, "errors");
    while parked["parked"].is_null() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        parked = of(&views(&world).await, "errors");
    }
    assert!(text(&parked["parked"]["error"]).contains("broken"), "{parked}");
    let at = sqlx::query_scalar::<_, i64>("select position from log.run where data ->> 'message' = 'boom'");
    assert_eq!(parked["parked"]["position"].as_i64(), Some(at.fetch_one(&pool).await.expect("a position")));
    assert!(parked["behind"].as_u64() > Some(0), "{parked}");
    assert!(of(&views(&world).await, "invocations")["parked"].is_null());
    let seen = world.owner.get("/api/v1/admin/apps/shop/errors").await.is(200);
    assert_eq!(each(&seen, "message"), ["fine"], "what it had taken in is there");

    // Another node sees it too, and takes it over.
    let another = world.another().await;
    let mut theirs = of(&views(&another).await, "errors");
    while theirs["parked"].is_null() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        theirs = of(&views(&another).await, "errors");
    }
    assert_eq!(theirs["is_ours"], false);
    sqlx::query("alter table views.error_group drop constraint broken").execute(&pool).await.expect("no constraint");
    world.stop().await;
    while !of(&views(&another).await, "errors")["parked"].is_null() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let seen = another.owner.get("/api/v1/admin/apps/shop/errors").await.is(200);
    assert_eq!(each(&seen, "message"), ["fine again", "boom", "fine"]);
    assert_eq!(of(&views(&another).await, "errors")["is_ours"], true);
    another.stop().await;
}
