//! Recorded runs, run again: in a world of their own, from which nothing gets out.

use std::sync::Arc;

use picloud_core::{
    event::{Actor, Event, FailureReason, kv},
    id::{AppId, InvocationId},
    limits::Limits,
    log::Position,
    replay::{Candidate, CannotReplay, Part, Replay, Replayed, Replayer as _},
    run::{Call, Program, Record},
};
use serde_json::{Value, json, value::to_raw_value};
use sqlx::PgPool;

use crate::{
    letters::{by_key, letter},
    server::{Reply, Server, answer},
    shop::{activate, app_with_script, deploy, told},
    support::{TestNode, call_of, call_with, node, program, program_within, soon},
};

/// Runs a recorded run again, with another program if one is given.
async fn try_again(
    node: &TestNode,
    app: AppId,
    invocation: InvocationId,
    program: Option<&Arc<Program>>,
) -> Result<Replayed, CannotReplay> {
    let log = node.log().await;
    let of = |wanted: fn(&Event) -> bool| {
        let mut events = log.iter().filter(|recorded| recorded.event.subject == invocation.to_string());
        events.find(|recorded| wanted(&recorded.event.event)).map(|recorded| recorded.position)
    };
    let began = of(|event| matches!(event, Event::InvocationStarted(_))).unwrap();
    let ended = of(|event| matches!(event, Event::InvocationCompleted(_) | Event::InvocationFailed(_))).unwrap();
    let candidate = program.map(|program| Candidate { program: Arc::clone(program), deployed_by: Actor::SYSTEM });
    let replayed = soon(node.runner.replay(Replay { app, began, ended, candidate })).await;
    assert_eq!(node.log().await.len(), log.len(), "nothing is committed");
    replayed
}

async fn again(node: &TestNode, call: &Call, program: &Arc<Program>) -> Replayed {
    try_again(node, program.app, call.invocation, Some(program)).await.unwrap()
}

/// The same script with another source.
fn changed(program: &Arc<Program>, from: &str, to: &str) -> Arc<Program> {
    assert!(program.source.contains(from));
    let source = program.source.replace(from, to).into();
    Arc::new(Program { version: picloud_core::id::VersionId::generate(), source, ..Program::clone(program) })
}

/// Where two runs differ, in what, and what was there before and after.
fn differences(replayed: &Replayed) -> Vec<(Part, &str, Option<&Value>, Option<&Value>)> {
    let each = replayed.differences.iter();
    each.map(|found| (found.part, found.at.as_str(), found.recorded.as_ref(), found.replayed.as_ref())).collect()
}

fn lacking(replayed: &Replayed) -> Vec<&str> {
    replayed.lacking.iter().map(|lacking| lacking.what.as_str()).collect()
}

async fn set(node: &TestNode, app: AppId, key: &str, value: Value) {
    let value = to_raw_value(&value).unwrap();
    node.append(app, vec![kv::Set { collection: "c".into(), key: key.into(), value, expires_at: None }.into()]).await;
}

/// Uses everything that a run can learn from and do.
const ALL: &str = r#"
    let order = ctx.request.body;
    let stock = c.get("stock");
    let gone = c.get("gone");
    let listed = c.list(#{prefix: "item/", limit: 2});
    let more = c.list(#{prefix: "item/", limit: 2, cursor: listed.cursor});
    let answer = http::post(URL, #{n: order.n}).body;
    let part = invoke::run("work", #{order: order.n});
    c.set("stock", stock - order.n);
    c.delete("item/1");
    c.increment("sold", order.n);
    pubsub::publish("orders", #{n: order.n, at: time::now(), id: ulid::new()});
    invoke::later("work", #{n: random::int(0, 1000000)}, #{delay_s: 60});
    log::info("sold", #{n: order.n});
    log::warn(`left ${stock - order.n} at ${time::now_ms()}`);
    #{statusCode: 201, headers: #{"x-drawn": `${random::int(0, 1000000)}`}, body: #{
        gone: gone, keys: listed.items.map(|item| item.key) + more.items.map(|item| item.key), answer: answer, part: part,
        name: ctx.invocation_id, request: ctx.request_id,
    }}
"#;

#[sqlx::test(migrations = "../migrations")]
async fn a_run_that_is_run_again_comes_to_the_same_whatever_has_changed(database: PgPool) {
    let node = node(&database).await;
    let server = Server::start(|seen| {
        Reply::Stays(answer("200 OK", "content-type: text/plain\r\n", &String::from_utf8_lossy(&seen.body)))
    })
    .await;
    let (app, work) = app_with_script(&node).await;
    let part = deploy(&node, app, "part", picloud_core::event::script::ScriptKind::Endpoint, "1").await;
    activate(&node, app, work).await;
    activate(&node, app, part).await;
    told(&node).await;
    set(&node, app, "stock", json!(10)).await;
    for n in 1..=3 {
        set(&node, app, &format!("item/{n}"), json!(n)).await;
    }
    let all = program(app, &ALL.replace("URL", &format!("\"{}\"", server.url("/pay"))));
    let call = call_with(&all, &json!({ "n": 3 }));
    let finished = node.invoke(call.clone()).await.unwrap();
    assert_eq!(finished.result.as_ref().unwrap().status, 201, "{finished:?}");

    // The world goes on.
    set(&node, app, "stock", json!(-1)).await;
    set(&node, app, "gone", json!("here")).await;
    set(&node, app, "item/0", json!(0)).await;
    let replayed = again(&node, &call, &all).await;

    assert_eq!(differences(&replayed), []);
    assert_eq!(lacking(&replayed), Vec::<&str>::new());
    assert_eq!(server.seen().len(), 1, "nobody is called");
    let kinds: Vec<&str> = replayed.replayed.effects.iter().map(|effect| effect.kind.as_str()).collect();
    assert_eq!(kinds, ["kv.set", "kv.deleted", "kv.increased", "message.published", "outbox.enqueued"]);
    assert_eq!(replayed.replayed.calls, [format!("POST {}", server.url("/pay"))]);
    assert_eq!(replayed.replayed.logs.len(), 2);
    assert_eq!(node.value(app, "stock").await.as_deref(), Some("-1"));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn an_entry_that_was_null_is_not_taken_for_an_absent_one(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    node.append(app, vec![picloud_core::event::app::Created { app, slug: "shop".into() }.into()]).await;
    told(&node).await;
    set(&node, app, "nothing", Value::Null).await;
    let looks = r#"[c.has("nothing"), c.get_or("nothing", 1), c.has("absent"), c.list(#{}).items.len()]"#;
    let looks = program(app, looks);
    let call = call_of(&looks);
    let finished = node.invoke(call.clone()).await.unwrap();
    assert_eq!(finished.result.as_ref().unwrap().status, 200, "{finished:?}");
    set(&node, app, "nothing", json!(1)).await;
    let replayed = again(&node, &call, &looks).await;
    assert_eq!((differences(&replayed), lacking(&replayed)), (vec![], vec![]));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn another_version_is_told_by_what_it_would_do_otherwise(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    node.append(app, vec![picloud_core::event::app::Created { app, slug: "shop".into() }.into()]).await;
    told(&node).await;
    set(&node, app, "stock", json!(10)).await;
    let one = program(
        app,
        r#"let left = c.get("stock") - 3; c.set("stock", left); log::info("sold"); #{left: left, currency: "EUR"}"#,
    );
    let call = call_of(&one);
    node.invoke(call.clone()).await.unwrap().result.unwrap();

    let other = changed(&one, "- 3; ", r#"- 4; c.set("seen", true); log::info("counted"); "#);
    let replayed = again(&node, &call, &other).await;

    assert_eq!(
        differences(&replayed),
        [
            (Part::Answer, "body.left", Some(&json!(7)), Some(&json!(6))),
            (Part::Effects, "kv.set c/stock: value", Some(&json!(7)), Some(&json!(6))),
            (Part::Effects, "kv.set c/seen", None, Some(&json!({ "collection": "c", "key": "seen", "value": true }))),
            (Part::Logs, "line 1", None, Some(&json!({ "level": "info", "message": "counted" }))),
        ]
    );
    assert_eq!(lacking(&replayed), Vec::<&str>::new());
    assert_eq!(node.value(app, "seen").await, None);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_a_recording_lacks_is_told_and_nobody_is_called_for_it(database: PgPool) {
    let node = node(&database).await;
    let server = Server::saying(answer("200 OK", "", "ok")).await;
    let app = AppId::generate();
    node.append(app, vec![picloud_core::event::app::Created { app, slug: "shop".into() }.into()]).await;
    told(&node).await;
    set(&node, app, "rate", json!(2)).await;
    set(&node, app, "a/1", json!(1)).await;
    let one = program(app, r#"let rate = 1; let seen = []; let said = ""; [rate, seen, said]"#);
    let call = call_of(&one);
    node.invoke(call.clone()).await.unwrap().result.unwrap();

    let url = server.url("/rate?token=secret");
    let asks = format!("try {{ said = http::get(\"{url}\").body }} catch (e) {{ said = `${{e}}` }}");
    let reads = "rate = c.get_or(\"rate\", 5); seen = c.list(#{prefix: \"a/\"}).items;";
    let other = changed(&one, "[rate", &format!("{reads} {asks} [rate"));
    let replayed = again(&node, &call, &other).await;

    let called = format!("the call GET {}", server.url("/rate"));
    assert_eq!(lacking(&replayed), ["the key `c/rate`", "the keys of `c/a/`", called.as_str()]);
    assert!(server.seen().is_empty(), "nobody is called");
    let answered = &replayed.replayed.answer.as_ref().unwrap()["body"];
    let answered: Value = serde_json::from_str(answered.as_str().unwrap()).unwrap();
    assert_eq!((&answered[0], &answered[1]), (&json!(5), &json!([])));
    assert!(answered[2].as_str().unwrap().contains("was not called when this was recorded"), "{answered}");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_failure_is_compared_too(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    node.append(app, vec![picloud_core::event::app::Created { app, slug: "shop".into() }.into()]).await;
    told(&node).await;
    let one = program(app, r#"c.set("k", 1); throw "no stock";"#);
    let call = call_of(&one);
    node.invoke(call.clone()).await.unwrap().result.unwrap_err();

    let same = again(&node, &call, &one).await;
    assert_eq!(differences(&same), []);
    assert_eq!(same.replayed.failure.as_ref().unwrap().reason, FailureReason::Threw);
    assert!(same.replayed.effects.is_empty());

    let mended = again(&node, &call, &changed(&one, "throw \"no stock\";", "\"sold\"")).await;
    let parts: Vec<_> = mended.differences.iter().map(|found| (found.part, found.at.as_str())).collect();
    assert!(parts.contains(&(Part::Answer, "failed")), "{parts:?}");
    assert!(parts.contains(&(Part::Effects, "kv.set c/k")), "{parts:?}");

    // A limit holds here, too.
    let endless = program_within(app, "loop {}", Limits { max_operations: 1_000, ..Limits::DEFAULT });
    let endless = Arc::new(Program { script: one.script, ..Program::clone(&endless) });
    let over = again(&node, &call, &endless).await;
    assert_eq!(over.replayed.failure.as_ref().unwrap().reason, FailureReason::OverOperations);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_was_recorded_in_part_is_compared_as_far_as_it_goes(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    node.append(app, vec![picloud_core::event::app::Created { app, slug: "shop".into() }.into()]).await;
    told(&node).await;
    let one = program(app, r#"#{said: ctx.request.body, by: "one"}"#);
    let call = Call { record: Record::Headers, ..call_with(&one, &json!("hello")) };
    node.invoke(call.clone()).await.unwrap().result.unwrap();
    let replayed = again(&node, &call, &one).await;
    assert_eq!(lacking(&replayed), ["the body of the request, 7 bytes", "the body that it answered"]);

    let call = Call { record: Record::None, ..call_with(&one, &json!("hello")) };
    node.invoke(call.clone()).await.unwrap().result.unwrap();
    let refused = try_again(&node, app, call.invocation, Some(&one)).await.unwrap_err();
    assert!(matches!(refused, CannotReplay::NotRecorded), "{refused:?}");

    let stranger = program(app, "1");
    let call = call_of(&one);
    node.invoke(call.clone()).await.unwrap().result.unwrap();
    let refused = try_again(&node, app, call.invocation, Some(&stranger)).await.unwrap_err();
    assert!(matches!(refused, CannotReplay::OtherScript), "{refused:?}");
    let refused = soon(node.runner.replay(Replay {
        app: AppId::generate(),
        began: Position(1),
        ended: Position(2),
        candidate: None,
    }))
    .await
    .unwrap_err();
    assert!(matches!(refused, CannotReplay::Gone), "{refused:?}");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn dead_letters_are_seen_as_they_were(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    node.append(app, vec![picloud_core::event::app::Created { app, slug: "shop".into() }.into()]).await;
    told(&node).await;
    let (first, _) = letter(&node, app).await;
    let (second, _) = letter(&node, app).await;
    let source = r#"
        let open = dead_letters::list(#{ unresolved: true }).items;
        let seen = open.map(|letter| dead_letters::get(letter.id));
        dead_letters::resolve(open[0].id, "seen to");
        dead_letters::replay(open[1].id);
        seen"#;
    let script = program(app, source);
    let call = by_key(call_of(&script));
    node.invoke(call.clone()).await.unwrap().result.unwrap();

    // Both are closed by now.
    let replayed = again(&node, &call, &script).await;
    assert_eq!(differences(&replayed), []);
    assert_eq!(lacking(&replayed), Vec::<&str>::new());
    let effects: Vec<_> = replayed.replayed.effects.iter().map(|effect| (&*effect.kind, &*effect.subject)).collect();
    let [first, second] = [first, second].map(|id| id.to_string());
    assert_eq!(effects[..2], [("dead_letter.resolved", second.as_str()), ("dead_letter.replayed", first.as_str())]);
    assert_eq!(effects[2].0, "outbox.enqueued");
    assert_eq!(replayed.replayed.effects[2].data["payload"]["queue"]["message"], 7);
    node.stop().await;
}
