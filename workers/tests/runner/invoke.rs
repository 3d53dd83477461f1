//! Scripts that run others: later, through the outbox, or at once, as a part of the run.

use picloud_core::{
    event::{
        Actor, Event,
        outbox::{Enqueued, Source},
        script::{self, ScriptKind},
    },
    id::{EventId, InvocationId},
    keys::Keyring,
    log::Recorded,
    outbox::{Item, Plain},
    retry::RetryPolicy,
    run::InvocationType,
};
use sqlx::PgPool;

use crate::{
    shop::{activate, app_with_script, deploy, told},
    support::{call, call_of, call_with, json, kinds, node, program},
};

fn owed(events: &[Recorded]) -> Vec<(&Recorded, &Enqueued)> {
    let owed = events.iter().filter_map(|recorded| match &recorded.event.event {
        Event::OutboxEnqueued(item) => Some((recorded, item)),
        _ => None,
    });
    owed.collect()
}

/// The item as a worker gets it.
fn item(recorded: &Recorded, enqueued: &Enqueued) -> Item {
    Item {
        app: recorded.event.app.unwrap(),
        event: recorded.event.id,
        enqueued_at: recorded.at,
        enqueued: enqueued.clone(),
        actor: recorded.event.actor.clone(),
        root: recorded.event.root,
        depth: recorded.event.depth,
        failed: Vec::new(),
    }
}

async fn request_of(keyring: &Keyring, item: &Item) -> picloud_core::run::Request {
    let key = keyring.app(item.app).await.unwrap();
    match Plain::open(&item.enqueued.payload, item.enqueued.item, &key).unwrap() {
        Plain::Request(kept) => kept.request(),
        Plain::Event(event) => panic!("{event}"),
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_run_that_is_owed_lies_one_step_further_in_the_same_chain(database: PgPool) {
    let node = node(&database).await;
    let (app, script) = app_with_script(&node).await;
    activate(&node, app, script).await;
    told(&node).await;
    let source = r#"
        c.set("a", 1);
        let item = invoke::later("work", #{order: 7}, #{key: "ada", delay_s: 60});
        c.set("b", 1);
        item"#;
    // Begun by what two triggers lie before.
    let first = InvocationId::generate();
    let mut second = call(app, source);
    let enqueued = Enqueued {
        item: picloud_core::id::OutboxId::generate(),
        source: Source::Invoke,
        script,
        version: None,
        lane: None,
        priority: 0,
        due_at: None,
        retry: RetryPolicy::default(),
        payload: picloud_core::event::outbox::Payload::Event(serde_json::value::to_raw_value(&1).unwrap()),
        is_watched: false,
        replay_of: None,
        handles: None,
        carried: None,
    };
    let standing = Item {
        app,
        event: EventId::generate(),
        enqueued_at: chrono::Utc::now(),
        enqueued: enqueued.clone(),
        actor: Actor::SYSTEM,
        root: Some(first),
        depth: 2,
        failed: Vec::new(),
    };
    // A lease of it, as a worker has one.
    node.append(app, vec![enqueued.clone().into()]).await;
    let taken = sqlx::query(
        "with gone as (delete from live.ready where item = $1) insert into live.lease (item, epoch) values ($1, $2)",
    )
    .bind(enqueued.item.uuid())
    .bind(node.node.epoch().uuid());
    taken.execute(&node.pool).await.unwrap();
    second.item = Some(standing.into());
    let name = json(node.invoke(second).await);

    let events = node.left_by(first).await;
    assert_eq!(
        kinds(&events),
        ["invocation.started", "kv.set", "outbox.enqueued", "kv.set", "invocation.completed", "outbox.delivered"]
    );
    let [(recorded, owed)] = owed(&events)[..] else { panic!("{events:?}") };
    assert_eq!(name, owed.item.to_string());
    assert_eq!((recorded.event.root, recorded.event.depth), (Some(first), 3));
    assert_eq!(recorded.event.cause, Some(events[0].event.id));
    assert_eq!((owed.source, owed.script, owed.is_watched), (Source::Invoke, script, false));
    assert_eq!((owed.retry, owed.lane.clone()), (RetryPolicy::default(), Some(format!("{script}/ada"))));
    assert!((0..=60).contains(&(owed.due_at.unwrap() - recorded.at).num_seconds()));
    assert!(!recorded.event.data.contains("order"), "what it gets is sealed: {}", recorded.event.data);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn the_script_finds_the_arguments_as_its_body(database: PgPool) {
    let node = node(&database).await;
    let (app, script) = app_with_script(&node).await;
    activate(&node, app, script).await;
    told(&node).await;
    let mut calling = call(app, r#"invoke::later("work", #{order: 7})"#);
    calling.request.headers.push((picloud_workers::http::HOPS.into(), "3".into()));
    let invocation = calling.invocation;
    node.invoke(calling).await.unwrap().result.unwrap();
    let events = node.left_by(invocation).await;
    let [(recorded, enqueued)] = owed(&events)[..] else { panic!("{events:?}") };
    let item = item(recorded, enqueued);
    let request = request_of(&node.keyring, &item).await;
    assert!(request.headers.contains(&(picloud_workers::http::HOPS.to_owned(), "3".to_owned())), "{request:?}");
    let seen = "[ctx.request.body.order, ctx.invocation_type, ctx.request.method, ctx.request.path]";
    let mut run = call(app, seen);
    (run.request, run.kind) = (request, InvocationType::Invoke);
    assert_eq!(json(node.invoke(run).await), serde_json::json!([7, "invoke", "POST", "/"]));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn nothing_is_owed_by_a_run_that_fails_and_one_thing_by_one_that_is_repeated(database: PgPool) {
    let node = node(&database).await;
    let (app, script) = app_with_script(&node).await;
    activate(&node, app, script).await;
    told(&node).await;
    let program = program(
        app,
        r#"
        let n = c.get_or("n", 0) + 1;
        invoke::later("work", n);
        let sum = 0; for i in 0..2000 { sum += i; }
        c.set("n", n);
        if ctx.request.body { throw "no" }"#,
    );
    node.fail(call_with(&program, &serde_json::json!(true))).await;
    assert!(owed(&node.log().await).is_empty());
    let calls = (0..20).map(|_| node.invoke(call_with(&program, &serde_json::json!(false))));
    for finished in futures::future::join_all(calls).await {
        finished.unwrap().result.unwrap();
    }
    let log = node.log().await;
    let mut args = Vec::new();
    for (recorded, enqueued) in owed(&log) {
        let request = request_of(&node.keyring, &item(recorded, enqueued)).await;
        args.push(String::from_utf8(request.body.to_vec()).unwrap().parse::<u32>().unwrap());
    }
    args.sort_unstable();
    assert_eq!(args, (1..=20).collect::<Vec<_>>());
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn scripts_that_cannot_be_run_are_refused_by_name(database: PgPool) {
    let node = node(&database).await;
    let (app, _) = app_with_script(&node).await;
    let (other, others) = app_with_script(&node).await;
    activate(&node, other, others).await;
    deploy(&node, app, "shared", ScriptKind::Module, "fn f() { 1 }").await;
    let paused = deploy(&node, app, "mail", ScriptKind::Endpoint, "1").await;
    activate(&node, app, paused).await;
    node.append(app, vec![script::Paused { script: paused }.into()]).await;
    told(&node).await;
    for (name, says) in [
        ("mails", "invoke::later: there is no script `mails`, perhaps `mail`"),
        ("shared", "invoke::later: `shared` is a module"),
        ("work", "invoke::later: `work` has no active version: activate one"),
    ] {
        let failure = node.fail(call(app, &format!("invoke::later(\"{name}\", 1)"))).await;
        assert!(failure.message.starts_with(says), "{failure:?}");
    }
    // It waits until it is resumed.
    node.invoke(call_of(&program(app, "invoke::later(\"mail\", 1)"))).await.unwrap().result.unwrap();
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_a_script_does_for_another_is_the_others_run(database: PgPool) {
    let node = node(&database).await;
    let (app, _) = app_with_script(&node).await;
    let other = r#"kv::collection("c").increment("n", 1); log::info("other"); if ctx.request.body { throw "no" } [ctx.script.name, ctx.invocation_type]"#;
    let other = deploy(&node, app, "other", ScriptKind::Endpoint, other).await;
    activate(&node, app, other).await;
    told(&node).await;
    let calling =
        r#"c.set("before", 1); let answer = invoke::run("other", ctx.request.body); c.set("after", 1); answer"#;
    let program = program(app, calling);
    let well = call_with(&program, &serde_json::json!(false));
    let invocation = well.invocation;
    assert_eq!(json(node.invoke(well).await), serde_json::json!(["other", "invoke"]));
    let events = node.left_by(invocation).await;
    assert_eq!(
        kinds(&events),
        [
            "invocation.started",
            "invocation.journaled",
            "invocation.logged",
            "kv.set",
            "kv.increased",
            "kv.set",
            "invocation.completed"
        ]
    );
    let badly = call_with(&program, &serde_json::json!(true));
    let invocation = badly.invocation;
    assert_eq!(node.fail(badly).await.message, "no");
    let events = node.left_by(invocation).await;
    assert_eq!(
        kinds(&events),
        ["invocation.started", "invocation.journaled", "invocation.logged", "invocation.failed"]
    );
    assert_eq!(node.value(app, "n").await.as_deref(), Some("1"));

    node.append(app, vec![script::Paused { script: other }.into()]).await;
    told(&node).await;
    let failure = node.fail(call_with(&program, &serde_json::json!(false))).await;
    assert_eq!(failure.message, "invoke::run: `other` is paused: resume it");
    node.stop().await;
}
