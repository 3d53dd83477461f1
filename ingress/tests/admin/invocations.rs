use picloud_core::{
    capability::Capability,
    event::{
        Actor, Event, FailureReason,
        invocation::{Completed, Failed, Journaled, Logged, Started},
        kv,
    },
    id::{AppId, InvocationId, RouteId, ScriptId, VersionId},
    keys::Purpose,
    log::{Commit, NewEvent},
    run::{InvocationType, LogLevel, LogLine},
};
use serde_json::{Value, json, value::RawValue};
use sqlx::PgPool;

use crate::fixture::{World, each, text};

/// Writes what a run leaves in the log.
struct Runs<'w> {
    world: &'w World,
    app: AppId,
    script: ScriptId,
    route: RouteId,
}

impl Runs<'_> {
    async fn append(&self, invocation: InvocationId, events: Vec<Event>) {
        let new = |event: Event| NewEvent::new(Some(self.app), &Actor::SYSTEM, event).following(None, invocation, 0);
        let commit = Commit::new(self.world.plane.node.authority(), events.into_iter().map(new).collect());
        self.world.plane.committer.commit(commit).await.expect("a commit");
    }

    async fn seal(&self, invocation: InvocationId, part: &str, plain: &Value) -> picloud_core::keys::Sealed {
        let key = self.world.plane.keyring.app(self.app).await.expect("a key");
        key.seal(Purpose::Recording, format!("{invocation}{part}").as_bytes(), plain.to_string().as_bytes())
    }

    async fn started(&self, invocation: InvocationId, route: Option<RouteId>) -> Event {
        Started {
            invocation,
            script: self.script,
            version: VersionId::generate(),
            invocation_type: InvocationType::Http,
            route,
            trigger: None,
            item: None,
            attempt: 1,
            node: self.world.plane.node.epoch(),
            recording: Some(self.seal(invocation, "/request", &json!({ "path": "/greet" })).await),
        }
        .into()
    }

    async fn completed(&self, invocation: InvocationId, status: u16) -> Event {
        let recording = Some(self.seal(invocation, "/response", &json!({ "status": status })).await);
        Completed { invocation, status, duration_us: 9, operations: 3, runs: 1, recording }.into()
    }

    fn failed(invocation: InvocationId) -> Event {
        Failed {
            invocation,
            reason: FailureReason::Threw,
            message: "boom".to_owned(),
            line: Some(3),
            limit: None,
            duration_us: 4,
            runs: 1,
        }
        .into()
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn runs_are_listed_newest_first_with_how_they_ended(pool: PgPool) {
    let world = World::start(pool).await;
    let app = world.app("shop").await;
    let runs = Runs { world: &world, app, script: ScriptId::generate(), route: RouteId::generate() };
    let ids: Vec<InvocationId> = (0..4).map(|_| InvocationId::generate()).collect();
    runs.append(ids[0], vec![runs.started(ids[0], None).await]).await;
    runs.append(ids[1], vec![runs.started(ids[1], Some(runs.route)).await, runs.completed(ids[1], 201).await]).await;
    runs.append(ids[2], vec![runs.started(ids[2], None).await, Runs::failed(ids[2])]).await;
    runs.append(ids[3], vec![runs.started(ids[3], Some(runs.route)).await]).await;
    // The oldest ends last.
    runs.append(ids[0], vec![runs.completed(ids[0], 200).await]).await;
    let elsewhere = Runs { app: world.app("other").await, ..runs };
    let theirs = InvocationId::generate();
    elsewhere.append(theirs, vec![elsewhere.started(theirs, None).await]).await;

    let list = "/api/v1/admin/apps/shop/invocations";
    let all = world.owner.get(list).await.is(200);
    let expected = |indices: &[usize]| indices.iter().map(|index| ids[*index].to_string()).collect::<Vec<_>>();
    assert_eq!(each(&all, "id"), expected(&[3, 2, 1, 0]));
    assert_eq!(each(&all, "status"), ["running", "failed", "ok", "ok"]);
    assert_eq!(all["items"][2]["http_status"], 201);
    assert_eq!((&all["items"][1]["reason"], &all["items"][1]["line"]), (&json!("threw"), &json!(3)));

    // One a page: the end of a run may lie on a page before the one of its beginning.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world.owner.get(&format!("{list}?limit=1{cursor}")).await.is(200);
        for item in page["items"].as_array().expect("items") {
            seen.push(format!("{} {}", text(&item["id"]), text(&item["status"])));
        }
        let Some(next) = page["cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let whole: Vec<String> =
        each(&all, "id").iter().zip(each(&all, "status")).map(|(id, s)| format!("{id} {s}")).collect();
    assert_eq!(seen, whole);

    let filtered = async |query: String| each(&world.owner.get(&format!("{list}?{query}")).await.is(200), "id");
    assert_eq!(filtered("status=ok".to_owned()).await, expected(&[1, 0]));
    assert_eq!(filtered("status=failed".to_owned()).await, expected(&[2]));
    assert_eq!(filtered(format!("route={}", elsewhere.route)).await, expected(&[3, 1]));
    assert_eq!(filtered(format!("script={}", elsewhere.script)).await.len(), 4);
    assert!(filtered(format!("script={}", ScriptId::generate())).await.is_empty());
    world.owner.get(&format!("{list}?status=fine")).await.problem(422);
    world.owner.get(&format!("{list}?script=nothing")).await.problem(404);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn one_run_is_shown_with_its_timeline_logs_and_recordings(pool: PgPool) {
    let world = World::start(pool).await;
    let app = world.app("shop").await;
    world.app("other").await;
    let runs = Runs { world: &world, app, script: ScriptId::generate(), route: RouteId::generate() };
    let id = InvocationId::generate();
    let line = LogLine { level: LogLevel::Warn, after_us: 3, message: "careful".to_owned(), data: None };
    let value = RawValue::from_string("1".to_owned()).expect("JSON");
    let set = kv::Set { collection: "c".to_owned(), key: "k".to_owned(), value, expires_at: None };
    let journal = runs.seal(id, "/journal", &json!(["read"])).await;
    let events = vec![
        runs.started(id, None).await,
        Logged { invocation: id, lines: vec![line], dropped: 2 }.into(),
        Journaled { invocation: id, recording: journal }.into(),
        set.into(),
        runs.completed(id, 200).await,
    ];
    runs.append(id, events).await;
    runs.append(InvocationId::generate(), vec![runs.started(InvocationId::generate(), None).await]).await;

    let path = format!("/api/v1/admin/apps/shop/invocations/{id}");
    let run = world.owner.get(&path).await.is(200);
    assert_eq!((&run["status"], &run["http_status"]), (&json!("ok"), &json!(200)));
    assert_eq!((&run["request"], &run["response"]), (&json!({ "path": "/greet" }), &json!({ "status": 200 })));
    assert_eq!(run["journal"], json!(["read"]));
    assert_eq!((&run["logs"][0]["message"], &run["logs_dropped"]), (&json!("careful"), &json!(2)));
    let timeline = json!({ "items": run["timeline"] });
    assert_eq!(
        each(&timeline, "type"),
        ["invocation.started", "invocation.logged", "invocation.journaled", "kv.set", "invocation.completed"]
    );
    world.owner.get(&format!("/api/v1/admin/apps/other/invocations/{id}")).await.problem(404);
    world.owner.get("/api/v1/admin/apps/shop/invocations/nonsense").await.problem(404);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_run_is_found_in_a_long_log_whatever_its_name_says_of_its_time(pool: PgPool) {
    let world = World::start(pool).await;
    let app = world.app("shop").await;
    let runs = Runs { world: &world, app, script: ScriptId::generate(), route: RouteId::generate() };
    let many = |from: u32| {
        let key = move |n: u32| kv::Deleted { collection: "c".to_owned(), key: format!("{from}-{n}") };
        (0..1_500).map(|n| key(n).into()).collect::<Vec<Event>>()
    };
    runs.append(InvocationId::generate(), many(1)).await;
    // Named in an hour's time: by a node whose clock is far ahead.
    let mut random = InvocationId::generate().ulid().random();
    let hour_ahead = std::time::SystemTime::now() + std::time::Duration::from_secs(3_600);
    random += 1;
    let ahead = InvocationId::from(ulid::Ulid::from_parts(
        hour_ahead.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as u64,
        random,
    ));
    let usual = InvocationId::generate();
    for id in [ahead, usual] {
        runs.append(id, vec![runs.started(id, None).await, runs.completed(id, 200).await]).await;
    }
    runs.append(InvocationId::generate(), many(2)).await;
    for id in [ahead, usual] {
        let run = world.owner.get(&format!("/api/v1/admin/apps/shop/invocations/{id}")).await.is(200);
        assert_eq!(run["timeline"].as_array().map(Vec::len), Some(2), "{run}");
    }
    world.stop().await;
}

/// Makes a script with two versions, of which the first is active.
async fn two_versions(world: &World) -> ScriptId {
    let scripts = "/api/v1/admin/apps/shop/scripts";
    let made = world.owner.post(scripts, json!({ "name": "greet", "source": "1" })).await.is(201);
    let other = json!({ "source": "\"other\"", "activate": false });
    world.owner.post(&format!("{scripts}/greet/versions"), other).await.is(201);
    text(&made["id"]).parse().expect("an id")
}

#[sqlx::test(migrations = "../migrations")]
async fn a_run_is_run_again_with_what_the_caller_says(pool: PgPool) {
    let world = World::start(pool).await;
    let app = world.app("shop").await;
    let runs = Runs { world: &world, app, script: two_versions(&world).await, route: RouteId::generate() };
    let (over, running) = (InvocationId::generate(), InvocationId::generate());
    runs.append(over, vec![runs.started(over, None).await, runs.completed(over, 200).await]).await;
    runs.append(running, vec![runs.started(running, None).await]).await;
    let path = |run: InvocationId| format!("/api/v1/admin/apps/shop/invocations/{run}/replay");

    let same = world.owner.post(&path(over), json!({})).await.is(200);
    assert_eq!(same["differences"], json!([]));
    for instead in [json!({ "version": 2 }), json!({ "source": "\"other\"" })] {
        let other = world.owner.post(&path(over), instead).await.is(200);
        let difference = json!({ "part": "answer", "at": "status", "recorded": 200, "replayed": 201 });
        assert_eq!(other["differences"], json!([difference]));
    }
    let refused = world.owner.post(&path(over), json!({ "source": "\"lost\"" })).await.problem(409);
    assert!(refused.contains("nothing was recorded"), "{refused}");
    let both = world.owner.post(&path(over), json!({ "source": "1", "version": 1 })).await.problem(422);
    assert!(both.contains("not both"), "{both}");
    let refused = world.owner.post(&path(over), json!({ "source": "oops" })).await.problem(422);
    assert!(refused.contains("line 1"), "{refused}");
    world.owner.post(&path(over), json!({ "version": 3 })).await.problem(404);
    world.owner.post(&path(InvocationId::generate()), json!({})).await.problem(404);
    let still = world.owner.post(&path(running), json!({})).await.problem(409);
    assert!(still.contains("still runs"), "{still}");

    // Whoever may not read the log is not shown what is in it.
    let blind = world.key(&[Capability::AppReplay], Some("shop")).await;
    let refused = blind.post(&path(over), json!({})).await.problem(403);
    assert!(refused.contains("AppReadLog"), "{refused}");
    let reader = world.key(&[Capability::AppReadLog], Some("shop")).await;
    let refused = reader.post(&path(over), json!({})).await.problem(403);
    assert!(refused.contains("AppReplay"), "{refused}");
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn the_last_runs_are_run_again_with_a_candidate(pool: PgPool) {
    let world = World::start(pool).await;
    let app = world.app("shop").await;
    let script = two_versions(&world).await;
    let runs = Runs { world: &world, app, script, route: RouteId::generate() };
    for n in 0..8 {
        let run = InvocationId::generate();
        let route = (n % 2 == 0).then_some(runs.route);
        runs.append(run, vec![runs.started(run, route).await, runs.completed(run, 200).await]).await;
    }
    let running = InvocationId::generate();
    runs.append(running, vec![runs.started(running, Some(runs.route)).await]).await;
    // Of another script.
    let elsewhere = Runs { script: ScriptId::generate(), ..runs };
    let run = InvocationId::generate();
    elsewhere.append(run, vec![elsewhere.started(run, None).await, elsewhere.completed(run, 200).await]).await;

    let path = "/api/v1/admin/apps/shop/scripts/greet/backtest";
    let counts = |backtest: &Value| {
        ["runs", "same", "answers_differ", "effects_differ", "left_out"]
            .map(|name| backtest[name].as_u64().unwrap_or(99))
    };
    let other = world.owner.post(path, json!({ "version": 2 })).await.is(200);
    assert_eq!(counts(&other), [8, 0, 8, 0, 1]);
    assert_eq!(other["examples"].as_array().map(Vec::len), Some(5));
    let same = world.owner.post(path, json!({ "version": 1 })).await.is(200);
    assert_eq!((counts(&same), &same["examples"]), ([8, 8, 0, 0, 1], &json!([])));
    let of_route = world.owner.post(path, json!({ "version": 2, "route": elsewhere.route })).await.is(200);
    assert_eq!(counts(&of_route), [4, 0, 4, 0, 1]);
    let last = world.owner.post(path, json!({ "version": 2, "limit": 3 })).await.is(200);
    assert_eq!(counts(&last), [2, 0, 2, 0, 1]);
    let lost = world.owner.post(path, json!({ "source": "\"lost\"" })).await.is(200);
    assert_eq!(counts(&lost), [0, 0, 0, 0, 9]);

    let refused = world.owner.post(path, json!({})).await.problem(422);
    assert!(refused.contains("a `version` of the script, or a `source`"), "{refused}");
    for limit in [0, 1_001] {
        world.owner.post(path, json!({ "version": 2, "limit": limit })).await.problem(422);
    }
    world.stop().await;
}
