//! Dead letters that scripts decide about: with all else that the run does, and once.

use picloud_core::{
    capability::Capability,
    event::{
        Actor, ActorKind, Event,
        dead_letter::{Created, Reason},
        outbox::Source,
    },
    id::{AppId, DeadLetterId, InvocationId, OutboxId, ScriptId},
    keys::Purpose,
    log::{Commit, NewEvent},
    outbox::Plain,
    retry::RetryPolicy,
    run::{Call, Rights},
};
use serde_json::json;
use sqlx::PgPool;

use crate::support::{TestNode, call, call_of, kinds, lock_stored_data, node, program, soon, waiting_for_stored_data};

/// Who makes letters be owed, before they are letters.
fn nobody() -> Actor {
    Actor { kind: ActorKind::Public, ..Actor::SYSTEM }
}

/// In the name of a key.
pub fn by_key(mut call: Call) -> Call {
    let held = [Capability::AppDeadLetterManage, Capability::AppKvRead, Capability::AppKvWrite];
    call.rights = Rights::Principal(held.into_iter().collect());
    call.actor = Actor { kind: ActorKind::ApiKey, id: Some("key_1".to_owned()), request_id: None, address: None };
    call
}

/// A letter of an app, and the root of its chain.
pub async fn letter(node: &TestNode, app: AppId) -> (DeadLetterId, InvocationId) {
    let (id, root) = (DeadLetterId::generate(), InvocationId::generate());
    let plain = json!({ "event": { "id": "evt", "kind": "queue", "queue": { "message": 7 } } }).to_string();
    let bound_to = id.to_string();
    let payload = node.keyring.seal_apart(app, Purpose::Payload, bound_to.as_bytes(), plain.as_bytes()).await.unwrap();
    let created = Created {
        dead_letter: id,
        item: OutboxId::generate(),
        source: Source::Invoke,
        script: ScriptId::generate(),
        script_name: "mail".to_owned(),
        version: None,
        lane: Some("lane".to_owned()),
        priority: 0,
        retry: RetryPolicy::default(),
        enqueued_at: chrono::Utc::now(),
        reason: Reason::AttemptsExhausted,
        error: "boom".to_owned(),
        fingerprint: "mail: boom".to_owned(),
        attempts: Vec::new(),
        payload,
    };
    let event = NewEvent::new(Some(app), &nobody(), created).following(None, root, 2);
    soon(node.committer.commit(Commit::new(node.node.authority(), vec![event]))).await.unwrap();
    (id, root)
}

async fn resolution(node: &TestNode, id: DeadLetterId) -> Option<String> {
    let query = sqlx::query_scalar("select resolution from state.dead_letter where id = $1").bind(id.uuid());
    query.fetch_one(&node.pool).await.unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_letter_is_tried_again_with_all_else_that_the_run_does(database: PgPool) {
    let node = node(&database).await;
    let app = AppId::generate();
    let (id, root) = letter(&node, app).await;
    let source = format!(
        r#"c.set("a", 1);
        let letter = dead_letters::get("{id}");
        let item = dead_letters::replay("{id}");
        c.set("b", 1);
        [item, letter.error, letter.payload.event.queue.message, dead_letters::list(#{{unresolved: true}}).items.len()]"#
    );
    let call = by_key(call(app, &source));
    let invocation = call.invocation;
    let answer = crate::support::json(node.invoke(call).await);

    let log = node.log().await;
    let first = log.iter().position(|recorded| recorded.event.root == Some(invocation)).unwrap();
    let events = &log[first..];
    assert_eq!(
        kinds(events),
        [
            "invocation.started",
            "invocation.journaled",
            "kv.set",
            "dead_letter.replayed",
            "outbox.enqueued",
            "kv.set",
            "invocation.completed"
        ]
    );
    let Event::OutboxEnqueued(owed) = &events[4].event.event else { panic!("{events:?}") };
    assert_eq!(answer, json!([owed.item.to_string(), "boom", 7, 0]));
    assert_eq!((owed.source, owed.replay_of, owed.lane.as_deref()), (Source::Invoke, Some(id), Some("lane")));
    let item = &events[4].event;
    assert_eq!((item.root, item.depth, item.cause), (Some(root), 2, Some(events[3].event.id)), "where it lay");
    assert_eq!(
        (&item.actor, events[3].event.actor.id.as_deref()),
        (&nobody(), Some("key_1")),
        "who replays lends no rights"
    );
    let key = node.keyring.app(app).await.unwrap();
    let Plain::Event(event) = Plain::open(&owed.payload, owed.item, &key).unwrap() else { panic!("an event") };
    assert!(event.get().contains(r#""message":7"#), "{event}");
    assert_eq!(resolution(&node, id).await.as_deref(), Some("replayed"));
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_run_that_fails_decided_nothing_and_another_apps_letter_is_not_there(database: PgPool) {
    let node = node(&database).await;
    let (app, other) = (AppId::generate(), AppId::generate());
    let (id, _) = letter(&node, app).await;
    let failing = format!("dead_letters::resolve(\"{id}\", \"why\"); throw \"no\"");
    node.fail(by_key(call(app, &failing))).await;
    assert_eq!(resolution(&node, id).await, None);

    let seen = format!("[dead_letters::get(\"{id}\"), dead_letters::list(#{{}}).items.len()]");
    let answer = node.invoke(by_key(call(other, &seen))).await;
    assert_eq!(crate::support::json(answer), json!([null, 0]));
    for deciding in [format!("dead_letters::replay(\"{id}\")"), format!("dead_letters::resolve(\"{id}\", \"why\")")] {
        let failure = node.fail(by_key(call(other, &deciding))).await;
        assert!(failure.message.contains(&format!("there is no dead letter `{id}`")), "{failure:?}");
        let failure = node.fail(call(app, &deciding)).await;
        assert!(failure.message.contains("needs AppDeadLetterManage, which nobody has"), "{failure:?}");
    }
    assert_eq!(resolution(&node, id).await, None);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn of_runs_that_saw_a_letter_open_one_decides(database: PgPool) {
    const RUNS: usize = 4;
    let node = node(&database).await;
    let app = AppId::generate();
    let (id, _) = letter(&node, app).await;
    // All have seen it before any of them decides.
    let source =
        format!("dead_letters::get(\"{id}\"); c.get(\"gate\"); dead_letters::resolve(\"{id}\", ctx.invocation_id);");
    let program = program(app, &source);
    let gate = lock_stored_data(&node.pool).await;
    let calls = (0..RUNS).map(|_| node.invoke(by_key(call_of(&program))));
    let (ended, ()) = tokio::join!(futures::future::join_all(calls), async {
        waiting_for_stored_data(&node.pool, RUNS as i64).await;
        drop(gate);
    });
    let (won, lost): (Vec<_>, Vec<_>) = ended.into_iter().map(|ended| ended.unwrap().result).partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, RUNS - 1));
    for lost in lost {
        let says = format!("dead_letters::resolve: `{id}` was closed as `handled_by_script` by key_1 at 20");
        assert!(lost.as_ref().unwrap_err().message.starts_with(&says), "{lost:?}");
    }
    let log = node.log().await;
    assert_eq!(kinds(&log).into_iter().filter(|kind| *kind == "dead_letter.resolved").count(), 1);
    assert_eq!(resolution(&node, id).await.as_deref(), Some("handled_by_script"));
    node.stop().await;
}
