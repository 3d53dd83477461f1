//! Messages of runs: with all else that a run does or not at all, once, and what they owe with them.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use picloud_core::{
    event::{Event, outbox::Source, trigger},
    keys::Purpose,
    log::Recorded,
    trigger::Pattern,
};
use serde_json::json;
use sqlx::PgPool;

use crate::{
    shop::{app_with_script, nobody, told, trigger},
    support::{call, call_of, kinds, node, program, runs_of},
};

fn messages(events: &[Recorded]) -> Vec<String> {
    let is_message = |event: &&Event| matches!(event, Event::MessagePublished(_) | Event::MessageSent(_));
    events.iter().map(|recorded| &recorded.event.event).filter(is_message).map(Event::data).collect()
}

#[sqlx::test(migrations = "../migrations")]
async fn messages_are_committed_with_the_run_and_owe_their_items_in_the_same_commit(database: PgPool) {
    let node = node(&database).await;
    let (app, script) = app_with_script(&node).await;
    let consumer = trigger(&node, app, script, json!({ "kind": "queue", "queue": "mail" })).await;
    let listener = trigger(&node, app, script, json!({ "kind": "topic", "topic": "orders.*" })).await;
    told(&node).await;
    let source = r#"
        c.set("a", 1);
        pubsub::publish("orders.paid", #{id: 7});
        queue::send("mail", "hello", #{key: "ada", priority: 5, delay_s: 60});
        c.set("b", 1);"#;
    let call = call(app, source);
    let invocation = call.invocation;
    node.invoke(call).await.unwrap().result.unwrap();

    let events = node.left_by(invocation).await;
    assert_eq!(
        kinds(&events),
        [
            "invocation.started",
            "kv.set",
            "message.published",
            "message.sent",
            "kv.set",
            "invocation.completed",
            "outbox.enqueued",
            "outbox.enqueued"
        ]
    );
    let (first, at) = (events[0].position.0, events[0].at);
    assert!(events.iter().enumerate().all(|(n, event)| event.position.0 == first + n as i64 && event.at == at));
    let owed: Vec<_> = events[6..]
        .iter()
        .map(|recorded| match &recorded.event.event {
            Event::OutboxEnqueued(item) => (recorded, item),
            other => panic!("{other:?}"),
        })
        .collect();
    for ((recorded, item), (trigger, cause)) in owed.iter().zip([(listener, 2), (consumer, 3)]) {
        assert_eq!((item.source, item.script), (Source::Trigger { trigger }, script));
        assert_eq!(recorded.event.cause, Some(events[cause].event.id));
        assert_eq!((recorded.event.root, recorded.event.depth), (Some(invocation), 1));
    }
    let (_, mail) = owed[1];
    assert_eq!((mail.lane.clone(), mail.priority), (Some(format!("{consumer}/ada")), 5));
    let delay_s = (mail.due_at.unwrap() - at).num_seconds();
    assert!((0..=60).contains(&delay_s), "{delay_s}");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_run_that_fails_has_said_nothing(database: PgPool) {
    let node = node(&database).await;
    let (app, script) = app_with_script(&node).await;
    trigger(&node, app, script, json!({ "kind": "queue", "queue": "mail" })).await;
    told(&node).await;
    let call = call(app, r#"pubsub::publish("orders", 1); queue::send("mail", 1); throw "no""#);
    let invocation = call.invocation;
    node.fail(call).await;
    assert_eq!(kinds(&node.left_by(invocation).await), ["invocation.started", "invocation.failed"]);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_queue_without_a_consumer_that_is_enabled_takes_nothing(database: PgPool) {
    let node = node(&database).await;
    let (app, script) = app_with_script(&node).await;
    let (other, others) = app_with_script(&node).await;
    trigger(&node, other, others, json!({ "kind": "queue", "queue": "mail" })).await;
    let disabled = trigger(&node, app, script, json!({ "kind": "queue", "queue": "mail" })).await;
    node.append(app, vec![trigger::Disabled { trigger: disabled, why: None }.into()]).await;
    told(&node).await;
    let program = program(app, r#"queue::send("mail", 1)"#);
    let failure = node.fail(call_of(&program)).await;
    assert!(
        failure.message.starts_with("queue::send: nobody takes messages from `mail`: create a trigger"),
        "{failure:?}"
    );
    node.append(app, vec![trigger::Enabled { trigger: disabled, registrant: nobody() }.into()]).await;
    told(&node).await;
    node.invoke(call_of(&program)).await.unwrap().result.unwrap();
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn runs_that_are_repeated_say_what_they_say_once(database: PgPool) {
    let node = node(&database).await;
    let (app, script) = app_with_script(&node).await;
    trigger(&node, app, script, json!({ "kind": "queue", "queue": "mail" })).await;
    told(&node).await;
    let source = r#"
        let n = c.get_or("n", 0) + 1;
        queue::send("mail", n);
        let sum = 0; for i in 0..2000 { sum += i; }
        c.set("n", n);
        pubsub::publish("counted", n);"#;
    let program = program(app, source);
    const RUNS: usize = 20;
    let calls: Vec<_> = (0..RUNS).map(|_| call_of(&program)).collect();
    let invocations: Vec<_> = calls.iter().map(|call| call.invocation).collect();
    let ended = futures::future::join_all(calls.into_iter().map(|call| node.invoke(call))).await;
    for finished in ended {
        finished.unwrap().result.unwrap();
    }
    let log = node.log().await;
    let mut said = Vec::new();
    let mut repeated = 0;
    for invocation in invocations {
        let events: Vec<_> = log.iter().filter(|event| event.event.root == Some(invocation)).cloned().collect();
        repeated += runs_of(&events) - 1;
        let of_it = messages(&events);
        assert_eq!(of_it.len(), 2, "{of_it:?}");
        let n: serde_json::Value = serde_json::from_str(&of_it[0]).unwrap();
        said.push(n["message"].as_u64().unwrap());
    }
    said.sort_unstable();
    assert_eq!(said, (1..=RUNS as u64).collect::<Vec<_>>());
    assert!(repeated > 0, "nobody got in anybody's way: the test shows nothing");
    let owed = log.iter().filter(|recorded| matches!(recorded.event.event, Event::OutboxEnqueued(_))).count();
    assert_eq!(owed, RUNS);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_subscribers_token_is_the_callers_alone(database: PgPool) {
    let node = node(&database).await;
    let (app, _) = app_with_script(&node).await;
    told(&node).await;
    for source in [
        r#"let t = pubsub::subscriber_token("room"); log::info("made " + t, #{t: t}); #{token: t}"#,
        r#"let t = pubsub::subscriber_token("room"); throw "no: " + t"#,
    ] {
        let call = call(app, source);
        let (invocation, key) = (call.invocation, node.keyring.topic_key(app).await.unwrap());
        let finished = node.invoke(call).await.unwrap();
        if let Ok(answer) = &finished.result {
            let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            let grant = key.verify(app, answer["token"].as_str().unwrap(), chrono::Utc::now()).expect("a good token");
            assert!(grant.covers(&Pattern::new("room")));
        }
        let begins = format!(
            "{}.",
            BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"typ":"JWT","alg":"HS256","kid":"{}"}}"#, key.id()))
        );
        let app_key = node.keyring.app(app).await.unwrap();
        let mut parts = 0;
        for recorded in node.left_by(invocation).await {
            let data = recorded.event.data.clone();
            assert!(!data.contains(&begins), "{data}");
            if let Event::InvocationCompleted(completed) = &recorded.event.event {
                let sealed = completed.recording.as_ref().expect("a recording");
                let bound_to = format!("{invocation}/response");
                let plain = app_key.open(Purpose::Recording, bound_to.as_bytes(), sealed).unwrap();
                let plain = String::from_utf8(plain).unwrap();
                assert!(plain.contains("[redacted]") && !plain.contains(&begins), "{plain}");
                parts += 1;
            }
            parts += usize::from(data.contains("[redacted]"));
        }
        assert!(parts > 0, "it was cut out somewhere");
    }
    node.stop().await;
}
