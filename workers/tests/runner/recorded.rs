//! What a run leaves in the log.

use picloud_core::{
    event::{Event, invocation},
    id::{AppId, InvocationId},
    keys::{Purpose, Sealed},
    log::Recorded,
    run::Record,
};
use serde_json::{Value, json, value::to_raw_value};
use sqlx::PgPool;

use crate::support::{TestNode, call, kinds, node};

/// What a recording says, opened for its run and part.
async fn opened(node: &TestNode, app: AppId, invocation: InvocationId, part: &str, sealed: &Sealed) -> Value {
    let key = node.keyring.app(app).await.unwrap();
    let plain = key.open(Purpose::Recording, format!("{invocation}/{part}").as_bytes(), sealed).expect("its own key");
    serde_json::from_slice(&plain).unwrap()
}

fn started(events: &[Recorded]) -> &invocation::Started {
    match &events[0].event.event {
        Event::InvocationStarted(started) => started,
        other => panic!("{other:?}"),
    }
}

fn completed(events: &[Recorded]) -> &invocation::Completed {
    match &events[events.len() - 1].event.event {
        Event::InvocationCompleted(completed) => completed,
        other => panic!("{other:?}"),
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_trivial_call_leaves_its_beginning_and_its_end_and_nothing_else(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    let mut call = call(app, "#{greeting: `hello ${ctx.request.query.name}`}");
    let invocation = call.invocation;
    call.request.query.push(("name".into(), "ada".into()));
    call.request.body = vec![0xff, 0x00].into();
    let finished = node.invoke(call.clone()).await.unwrap();
    assert_eq!(&finished.result.unwrap().body[..], br#"{"greeting":"hello ada"}"#);

    let events = node.log().await;
    assert_eq!(kinds(&events), ["invocation.started", "invocation.completed"]);
    let ids: Vec<_> = events.iter().map(|recorded| (recorded.event.cause, recorded.event.root)).collect();
    assert_eq!(ids, [(None, Some(invocation)), (Some(events[0].event.id), Some(invocation))]);
    assert!(events.iter().all(|recorded| recorded.event.app == Some(app) && recorded.event.actor == call.actor));
    assert_eq!(events[0].at, events[1].at, "one commit");
    assert!(node.running().await.is_empty());

    let (started, completed) = (started(&events), completed(&events));
    assert_eq!((started.invocation, started.version), (invocation, call.program.version));
    assert_eq!((started.node, started.attempt), (node.node.epoch(), 1));
    assert_eq!((completed.status, completed.runs), (200, 1));
    assert_eq!(completed.operations, finished.operations);

    let came = opened(&node, app, invocation, "request", started.recording.as_ref().unwrap()).await;
    assert_eq!(came["method"], "POST");
    assert_eq!(came["query"], json!([["name", "ada"]]));
    assert_eq!(came["body_base64"], "/wA=");
    assert_eq!(came["seed"].as_str().map(str::len), Some(64));
    let went = opened(&node, app, invocation, "response", completed.recording.as_ref().unwrap()).await;
    assert_eq!(went["status"], 200);
    assert_eq!(went["body"], r#"{"greeting":"hello ada"}"#);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn of_a_run_that_nobody_called_the_clock_and_the_seed_are_kept(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    let mut call = call(app, "ctx.event.n");
    let invocation = call.invocation;
    call.event = Some(to_raw_value(&json!({ "n": 7 })).unwrap());
    assert_eq!(&node.invoke(call).await.unwrap().result.unwrap().body[..], b"7");
    let events = node.left_by(invocation).await;
    let came = opened(&node, app, invocation, "request", started(&events).recording.as_ref().unwrap()).await;
    let kept: Vec<&String> = came.as_object().unwrap().keys().collect();
    assert_eq!(kept, ["now", "seed"], "what happened is in the event that owed it");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn credentials_in_headers_are_in_no_recording(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    let source = r#"#{statusCode: 201, headers: #{"set-cookie": "session=tea", "x-kind": "pot"}, body: "made"}"#;
    let mut call = call(app, source);
    let invocation = call.invocation;
    for (name, value) in [("authorization", "Bearer coffee"), ("cookie", "session=tea"), ("x-cup", "large")] {
        call.request.headers.push((name.into(), value.into()));
    }
    let answer = node.invoke(call).await.unwrap().result.unwrap();
    assert!(answer.headers.iter().any(|(name, _)| name == "set-cookie"), "the caller gets it");

    let events = node.left_by(invocation).await;
    let came = opened(&node, app, invocation, "request", started(&events).recording.as_ref().unwrap()).await;
    let went = opened(&node, app, invocation, "response", completed(&events).recording.as_ref().unwrap()).await;
    assert_eq!(came["headers"], json!([["x-cup", "large"]]));
    let kept = went["headers"].to_string();
    assert!(kept.contains("x-kind") && !kept.contains("tea") && !kept.contains("set-cookie"), "{kept}");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_route_says_how_much_is_recorded(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    for (record, body) in [(Record::Full, true), (Record::Headers, false)] {
        let mut call = call(app, r#"c.get("k"); "answer""#);
        let invocation = call.invocation;
        call.record = record;
        call.request.body = "question".into();
        node.invoke(call).await.unwrap().result.unwrap();
        let events = node.left_by(invocation).await;
        let came = opened(&node, app, invocation, "request", started(&events).recording.as_ref().unwrap()).await;
        let went = opened(&node, app, invocation, "response", completed(&events).recording.as_ref().unwrap()).await;
        assert_eq!(came.get("body").is_some(), body, "{came}");
        assert_eq!(went.get("body").is_some(), body, "{went}");
        if !body {
            assert_eq!(came["body_omitted_bytes"], 8);
        }
    }
    let mut call = call(app, r#"c.get("k"); "answer""#);
    let invocation = call.invocation;
    call.record = Record::None;
    node.invoke(call).await.unwrap().result.unwrap();
    let events = node.left_by(invocation).await;
    assert_eq!(kinds(&events), ["invocation.started", "invocation.completed"]);
    assert_eq!((&started(&events).recording, &completed(&events).recording), (&None, &None));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_long_body_is_left_out_and_its_length_kept(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    let mut call = call(app, "()");
    let invocation = call.invocation;
    call.request.body = vec![b'x'; 64 * 1024 + 1].into();
    node.invoke(call).await.unwrap().result.unwrap();
    let events = node.left_by(invocation).await;
    let came = opened(&node, app, invocation, "request", started(&events).recording.as_ref().unwrap()).await;
    assert_eq!((came.get("body"), &came["body_omitted_bytes"]), (None, &json!(65_537)));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_a_run_read_and_logged_lies_between_its_beginning_and_its_end(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    node.run(app, r#"c.set("a", 1); c.set("p/1", "x")"#).await;
    let call =
        call(app, r#"log::info("hi", #{n: 1}); c.set("b", c.get("a")); c.get("none"); c.list(#{prefix: "p/"}); 1"#);
    let invocation = call.invocation;
    let finished = node.invoke(call).await.unwrap();
    assert_eq!(finished.logs.len(), 1);

    let events = node.left_by(invocation).await;
    assert_eq!(
        kinds(&events),
        ["invocation.started", "invocation.journaled", "invocation.logged", "kv.set", "invocation.completed"]
    );
    let (Event::InvocationJournaled(journaled), Event::InvocationLogged(logged)) =
        (&events[1].event.event, &events[2].event.event)
    else {
        panic!("{events:?}")
    };
    assert_eq!((logged.lines[0].message.as_str(), logged.dropped), ("hi", 0));
    let learnt = opened(&node, app, invocation, "journal", &journaled.recording).await;
    assert_eq!(
        learnt,
        json!([
            {"kv": {"collection": "c", "key": "a", "value": 1}},
            {"kv": {"collection": "c", "key": "none", "value": null}},
            {"kv": {"collection": "c", "key": "p/1", "value": "x"}},
            {"kv_range": {"collection": "c", "prefix": "p/", "after": null, "up_to": null, "keys": ["p/1"]}},
        ])
    );
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn more_than_can_be_recorded_of_reads_is_left_out(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    node.run(app, r#"let s = "x"; s.pad(200000, "x"); c.set("a", s); c.set("b", s); 1"#).await;
    let call = call(app, r#"c.get("a").len() + c.get("b").len()"#);
    let invocation = call.invocation;
    node.invoke(call).await.unwrap().result.unwrap();
    assert_eq!(kinds(&node.left_by(invocation).await), ["invocation.started", "invocation.completed"]);
    node.stop().await;
}
