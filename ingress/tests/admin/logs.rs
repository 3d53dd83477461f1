use picloud_core::{
    event::{
        Actor, Event, FailureReason,
        invocation::{Failed, Logged, Started},
        kv,
    },
    id::{AppId, InvocationId, ScriptId, VersionId},
    log::{Commit, NewEvent},
    run::{InvocationType, LogLevel, LogLine},
};
use serde_json::{Value, json, value::RawValue};
use sqlx::PgPool;

use crate::fixture::{World, each, text};

const LOGS: &str = "/api/v1/admin/apps/shop/logs";

async fn append(world: &World, app: AppId, events: Vec<Event>) {
    let new = |event: Event| NewEvent::new(Some(app), &Actor::SYSTEM, event);
    let commit = Commit::new(world.plane.node.authority(), events.into_iter().map(new).collect());
    world.plane.committer.commit(commit).await.expect("a commit");
}

fn started(world: &World, invocation: InvocationId, script: ScriptId) -> Event {
    let (version, node) = (VersionId::generate(), world.plane.node.epoch());
    let invocation_type = InvocationType::Http;
    Started {
        invocation,
        script,
        version,
        invocation_type,
        route: None,
        trigger: None,
        item: None,
        attempt: 1,
        node,
        recording: None,
    }
    .into()
}

fn logged(invocation: InvocationId, lines: &[(LogLevel, &str)], dropped: u32) -> Event {
    let line = |(level, message): &(LogLevel, &str)| LogLine {
        level: *level,
        after_us: 7,
        message: (*message).to_owned(),
        data: Some(RawValue::from_string(r#"{"n":1}"#.to_owned()).expect("JSON")),
    };
    Logged { invocation, lines: lines.iter().map(line).collect(), dropped }.into()
}

fn failed(invocation: InvocationId) -> Event {
    let (reason, message) = (FailureReason::Threw, "boom (line 3, column 5)".to_owned());
    Failed { invocation, reason, message, line: Some(3), limit: None, duration_us: 4, runs: 1 }.into()
}

/// Two scripts, one of them deployed, that have logged; `other` has too.
async fn world_that_logged(pool: PgPool) -> (World, AppId, ScriptId) {
    let world = World::start(pool).await;
    let (app, other) = (world.app("shop").await, world.app("other").await);
    let made = world.owner.post("/api/v1/admin/apps/shop/scripts", json!({ "name": "cart", "source": "1" })).await;
    let cart: ScriptId = text(&made.is(201)["id"]).parse().expect("an id");
    let [one, two, three, theirs] = std::array::from_fn(|_| InvocationId::generate());
    use LogLevel::{Info, Warn};
    // The first run logs, and goes on while the others come and go.
    append(&world, app, vec![started(&world, one, cart)]).await;
    append(&world, app, vec![started(&world, two, ScriptId::generate()), logged(two, &[(Info, "b")], 0)]).await;
    append(&world, other, vec![started(&world, theirs, cart), logged(theirs, &[(Warn, "theirs")], 0)]).await;
    append(&world, app, vec![logged(one, &[(Info, "a1"), (Warn, "a2")], 3)]).await;
    append(&world, app, vec![started(&world, three, cart), failed(three)]).await;
    (world, app, cart)
}

#[sqlx::test(migrations = "../migrations")]
async fn lines_are_told_newest_first_with_their_script_and_failures_are_among_them(pool: PgPool) {
    let (world, _, cart) = world_that_logged(pool).await;
    let all = world.owner.get(LOGS).await.is(200);
    let cut = "3 more lines were cut for being over the run's `max_log_bytes`";
    assert_eq!(each(&all, "message"), ["boom (line 3, column 5)", cut, "a2", "a1", "b"]);
    assert_eq!(each(&all, "level"), ["error", "warn", "warn", "info", "info"]);
    let names: Vec<&Value> = all["items"].as_array().expect("items").iter().map(|item| &item["script_name"]).collect();
    assert_eq!(names, [&json!("cart"), &json!("cart"), &json!("cart"), &json!("cart"), &json!(null)]);
    let (failure, line) = (&all["items"][0], &all["items"][2]);
    assert_eq!((&failure["reason"], &failure["line"]), (&json!("threw"), &json!(3)));
    assert_eq!((&line["script"], &line["data"]), (&json!(cart), &json!({ "n": 1 })));
    assert!(line.get("reason").is_none(), "{line}");

    let filtered = async |query: &str| each(&world.owner.get(&format!("{LOGS}?{query}")).await.is(200), "message");
    assert_eq!(filtered("level=error").await, ["boom (line 3, column 5)"]);
    assert_eq!(filtered("level=warn&script=cart").await, ["boom (line 3, column 5)", cut, "a2"]);
    assert_eq!(filtered("script=cart&level=info").await.len(), 4);
    assert_eq!(filtered(&format!("invocation={}", text(&line["invocation"]))).await, [cut, "a2", "a1"]);
    let slip = world.owner.get(&format!("{LOGS}?level=wran")).await.problem(422);
    assert!(slip.contains("did you mean `warn`?"), "{slip}");
    world.owner.get(&format!("{LOGS}?script=crat")).await.problem(404);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn pages_of_lines_leave_none_out_also_where_a_run_began_far_back(pool: PgPool) {
    let (world, app, _) = world_that_logged(pool).await;
    // More than is read at once lies between the beginnings above and this run's last words.
    let begun = text(&world.owner.get(&format!("{LOGS}?level=info")).await.is(200)["items"][2]["invocation"]);
    for _ in 0..3 {
        let many = (0..500).map(|n| logged(InvocationId::generate(), &[(LogLevel::Trace, &n.to_string())], 0));
        append(&world, app, many.collect()).await;
    }
    append(&world, app, vec![logged(begun.parse().expect("an id"), &[(LogLevel::Info, "late")], 0)]).await;
    for query in ["level=info&limit=1", "level=info&limit=2", "script=cart&limit=1"] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = world.owner.get(&format!("{LOGS}?{query}{cursor}")).await.is(200);
            seen.extend(each(&page, "message"));
            let Some(next) = page["cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        seen.retain(|message| !message.contains("cut"));
        let all = ["late", "boom (line 3, column 5)", "a2", "a1", "b"];
        let expected = if query.contains("script") { &all[..4] } else { &all[..] };
        assert_eq!(seen, expected, "{query}");
    }
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn lines_come_live_also_of_runs_that_began_before_and_resume_after_a_whole_event(pool: PgPool) {
    let (world, app, cart) = world_that_logged(pool).await;
    let late = InvocationId::generate();
    append(&world, app, vec![started(&world, late, cart)]).await;
    world.settled().await;
    let mut frames = world.owner.stream(&format!("{LOGS}/stream?script=cart"), None).await;
    assert_eq!(frames.next().await.expect("a frame").event, "up-to-date");

    let noise = kv::Deleted { collection: "c".to_owned(), key: "k".to_owned() };
    let lines = [(LogLevel::Info, "x"), (LogLevel::Info, "y")];
    append(&world, app, vec![noise.into(), logged(late, &lines, 0), failed(late)]).await;
    let told = [frames.message().await, frames.message().await, frames.message().await];
    let messages: Vec<String> = told.iter().map(|frame| text(&frame.json()["message"])).collect();
    assert_eq!(messages, ["x", "y", "boom (line 3, column 5)"]);
    assert_eq!(told[0].json()["script_name"], "cart");
    assert_eq!(told.each_ref().map(|frame| frame.id.is_some()), [false, true, true]);
    assert_eq!(told[1].id.as_deref(), told[1].json()["cursor"].as_str());
    drop(frames);

    let mut frames = world.owner.stream(&format!("{LOGS}/stream?level=error"), told[1].id.as_deref()).await;
    assert_eq!(frames.message().await.json()["message"], "boom (line 3, column 5)");
    world.stop().await;
}
