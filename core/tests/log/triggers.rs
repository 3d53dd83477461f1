//! What is owed by triggers: once for each event that matches, with the event or not at all.

use chrono::{DateTime, Utc};
use picloud_core::{
    event::{
        Event, app, cron,
        dead_letter::{self, HandlerEnded},
        message,
        outbox::Exhausted,
        queue, script, trigger,
    },
    id::{AppId, DeadLetterId, OutboxId, ScriptId, TriggerId, VersionId},
    keys::Sealed,
    limits::Limits,
    log::{
        CommitError, NewEvent, Position, Read, Rejected,
        outbox::{self, Turn},
    },
    retry::RetryPolicy,
    trigger::When,
};
use serde_json::{json, value::RawValue};
use sqlx::PgPool;

use crate::support::{TestNode, event, saw, set, soon};

/// An app with a script that triggers can run.
pub(super) async fn app_with_script(node: &TestNode) -> (AppId, ScriptId) {
    let (app, script) = (AppId::generate(), ScriptId::generate());
    let slug = app.to_string().to_lowercase().replace('_', "-");
    let deployed = script::Deployed {
        script,
        name: "work".to_owned(),
        script_kind: script::ScriptKind::Endpoint,
        version: VersionId::generate(),
        number: 1,
        source: "1".to_owned(),
        sha256: String::new(),
        imports: Vec::new(),
        limits: Limits::DEFAULT,
        message: None,
    };
    node.commit(vec![event(app, app::Created { app, slug }), event(app, deployed)]).await.unwrap();
    (app, script)
}

fn created(app: AppId, script: ScriptId, when: serde_json::Value) -> (TriggerId, NewEvent) {
    let trigger = TriggerId::generate();
    let when: When = serde_json::from_value(when).unwrap();
    let definition = trigger::Definition { when, script, retry: RetryPolicy::default() };
    let registrant = trigger::Registrant { account: None, key: None, scopes: None };
    (trigger, event(app, trigger::Created { trigger, definition, registrant }))
}

pub(super) async fn trigger(node: &TestNode, app: AppId, script: ScriptId, when: serde_json::Value) -> TriggerId {
    let (trigger, created) = created(app, script, when);
    node.commit(vec![created]).await.unwrap();
    trigger
}

/// What causes the items that there are, in order.
async fn owed(node: &TestNode) -> Vec<Event> {
    let log = node.log().await;
    let owed = log.iter().filter(|recorded| matches!(recorded.event.event, Event::OutboxEnqueued(_)));
    owed.map(|owed| {
        let cause = owed.event.cause.expect("a trigger's item has a cause");
        log.iter().find(|recorded| recorded.event.id == cause).unwrap().event.event.clone()
    })
    .collect()
}

async fn pending(database: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from state.outbox").fetch_one(database).await.unwrap()
}

fn sent(app: AppId, queue: &str, n: u32) -> NewEvent {
    let message = RawValue::from_string(n.to_string()).unwrap();
    event(app, message::Sent { queue: queue.to_owned(), message, key: None, priority: 0, due_at: None })
}

#[sqlx::test(migrations = "../migrations")]
async fn events_before_a_trigger_owe_nothing_and_each_after_it_one_item_on_any_node(database: PgPool) {
    let (node, other) = (TestNode::start(&database).await, TestNode::start(&database).await);
    let (app, script) = app_with_script(&node).await;
    node.commit(vec![set(app, "before", "1")]).await.unwrap();
    other.commit(vec![set(app, "before", "2")]).await.unwrap();
    trigger(&node, app, script, json!({ "kind": "kv", "collection": "things" })).await;
    // The other has not heard of it: its batch is sent back.
    other.commit(vec![set(app, "a", "1"), set(app, "b", "1")]).await.unwrap();
    node.commit(vec![set(app, "c", "1")]).await.unwrap();
    let owed = owed(&node).await;
    let keys: Vec<_> = owed
        .iter()
        .map(|cause| match cause {
            Event::KvSet(set) => set.key.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(keys, ["a", "b", "c"]);
    assert_eq!(pending(&database).await, 3);
    node.stop().await;
    other.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn whatever_is_committed_while_triggers_come_and_go_owes_exactly_what_the_log_says(database: PgPool) {
    let nodes = [TestNode::start(&database).await, TestNode::start(&database).await];
    let (app, script) = app_with_script(&nodes[0]).await;
    let writing = |node: &'static str, n: usize| format!("{node}-{n}");
    let write = |name: &'static str, node: &TestNode| {
        let committer = node.committer.clone();
        let commits: Vec<_> = (0..100).map(|n| node.committing(vec![set(app, &writing(name, n), "1")])).collect();
        async move {
            for commit in commits {
                soon(committer.commit(commit)).await.unwrap();
            }
        }
    };
    let toggle = async {
        for _ in 0..5 {
            let id = trigger(&nodes[0], app, script, json!({ "kind": "kv", "collection": "*" })).await;
            nodes[1].commit(vec![event(app, trigger::Deleted { trigger: id })]).await.unwrap();
        }
    };
    tokio::join!(write("x", &nodes[0]), write("y", &nodes[1]), write("z", &nodes[0]), toggle);
    let log = nodes[0].log().await;
    let mut is_there = false;
    let mut owes: Vec<_> = Vec::new();
    for recorded in &log {
        match &recorded.event.event {
            Event::TriggerCreated(_) => is_there = true,
            Event::TriggerDeleted(_) => is_there = false,
            Event::KvSet(_) if is_there => owes.push(recorded.event.id),
            Event::OutboxEnqueued(_) => {
                let cause = recorded.event.cause.unwrap();
                let at = owes.iter().position(|owes| *owes == cause);
                owes.remove(at.unwrap_or_else(|| panic!("{cause} owes nothing, or owed it already")));
            }
            _ => {}
        }
    }
    assert!(owes.is_empty(), "{} events lack their items", owes.len());
    for node in nodes {
        node.stop().await;
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_commit_that_is_refused_owes_nothing(database: PgPool) {
    let node = TestNode::start(&database).await;
    let (app, script) = app_with_script(&node).await;
    trigger(&node, app, script, json!({ "kind": "kv", "collection": "*" })).await;
    let refused = node.commit_after(vec![saw(app, "a", Position(99))], vec![set(app, "a", "1")]).await;
    assert_eq!(refused, Err(CommitError::Rejected(Rejected::Stale)));
    assert_eq!(pending(&database).await, 0);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_disabled_trigger_is_passed_by_and_an_updated_one_goes_by_what_it_says_now(database: PgPool) {
    let node = TestNode::start(&database).await;
    let (app, script) = app_with_script(&node).await;
    let (id, new) = created(app, script, json!({ "kind": "queue", "queue": "mail" }));
    let Event::TriggerCreated(trigger::Created { definition, registrant, .. }) = &new.event else { panic!() };
    let (definition, registrant) = (definition.clone(), registrant.clone());
    node.commit(vec![new]).await.unwrap();
    node.commit(vec![event(app, trigger::Disabled { trigger: id, why: None })]).await.unwrap();
    node.commit(vec![sent(app, "mail", 1)]).await.unwrap();
    assert_eq!(pending(&database).await, 0);
    node.commit(vec![event(app, trigger::Enabled { trigger: id, registrant: registrant.clone() })]).await.unwrap();
    node.commit(vec![sent(app, "mail", 2)]).await.unwrap();
    assert_eq!(pending(&database).await, 1);
    let when = serde_json::from_value(json!({ "kind": "queue", "queue": "post" })).unwrap();
    let definition = trigger::Definition { when, ..definition };
    node.commit(vec![event(app, trigger::Updated { trigger: id, definition, registrant })]).await.unwrap();
    node.commit(vec![sent(app, "mail", 3), sent(app, "post", 4)]).await.unwrap();
    assert_eq!(pending(&database).await, 2);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn no_more_than_so_many_of_a_gate_are_leased_to_all_nodes_together(database: PgPool) {
    let (node, other) = (TestNode::start(&database).await, TestNode::start(&database).await);
    let (app, script) = app_with_script(&node).await;
    let id = trigger(&node, app, script, json!({ "kind": "queue", "queue": "mail" })).await;
    node.commit((0..6).map(|n| sent(app, "mail", n)).collect()).await.unwrap();
    let turn = Turn { app, gate: id.into(), after: i64::MIN };
    let claim = |node: &TestNode| {
        let (pool, epoch) = (node.pool.clone(), node.epoch());
        async move { outbox::claim_limited(&pool, epoch, turn, 100, 3).await.unwrap() }
    };
    let (one, two) = tokio::join!(claim(&node), claim(&other));
    // Whoever came second may have been sent away.
    let more = claim(&other).await;
    assert_eq!(one.len() + two.len() + more.len(), 3);
    let first = one.first().or(two.first()).or(more.first()).unwrap().item.enqueued.item;
    sqlx::query("delete from live.lease where item = $1").bind(first.uuid()).execute(&database).await.unwrap();
    assert_eq!(claim(&node).await.len(), 1);
    node.stop().await;
    other.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_time_is_fired_once_on_any_number_of_nodes(database: PgPool) {
    let nodes = [TestNode::start(&database).await, TestNode::start(&database).await];
    let (app, script) = app_with_script(&nodes[0]).await;
    let id = trigger(&nodes[0], app, script, json!({ "kind": "cron", "schedule": "* * * * *" })).await;
    let due_at = DateTime::<Utc>::UNIX_EPOCH;
    let fire = |node: &TestNode, version| {
        let fired = cron::Fired { trigger: id, due_at, passed_over: 0, is_skipped: false };
        let committer = node.committer.clone();
        let commit = picloud_core::log::Commit {
            reads: vec![Read::Cron { trigger: id, version }],
            ..node.committing(vec![event(app, fired)])
        };
        async move { soon(committer.commit(commit)).await }
    };
    let (one, two) = tokio::join!(fire(&nodes[0], Position::ZERO), fire(&nodes[1], Position::ZERO));
    assert_eq!([one.is_ok(), two.is_ok()].iter().filter(|is_ok| **is_ok).count(), 1);
    assert_eq!(pending(&database).await, 1);
    let fired = one.or(two).unwrap();
    fire(&nodes[0], fired.first).await.unwrap();
    assert_eq!(pending(&database).await, 2);
    for node in nodes {
        node.stop().await;
    }
}

fn letter(app: AppId, script: ScriptId) -> (DeadLetterId, NewEvent) {
    let id = DeadLetterId::generate();
    let payload: Sealed = serde_json::from_value(json!({
        "key_id": "dek_01JB3Q8Z5K7M9N1P3R5T7V9X0A", "nonce": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX", "ciphertext": "",
    }))
    .unwrap();
    let created = dead_letter::Created {
        dead_letter: id,
        item: OutboxId::generate(),
        source: picloud_core::event::outbox::Source::Invoke,
        script,
        script_name: "work".to_owned(),
        version: None,
        lane: None,
        priority: 0,
        retry: RetryPolicy::default(),
        enqueued_at: DateTime::UNIX_EPOCH,
        reason: dead_letter::Reason::GaveUp,
        error: "no".to_owned(),
        fingerprint: "work: no".to_owned(),
        attempts: Vec::new(),
        payload,
    };
    (id, event(app, created))
}

async fn resolution(database: &PgPool, letter: DeadLetterId) -> Option<String> {
    sqlx::query_scalar("select resolution from state.dead_letter where id = $1")
        .bind(letter.uuid())
        .fetch_one(database)
        .await
        .unwrap()
}

fn ended(app: AppId, letter: DeadLetterId, error: Option<&str>) -> Vec<NewEvent> {
    let item = OutboxId::generate();
    let ended = HandlerEnded { dead_letter: letter, item, invocation: None, error: error.map(str::to_owned) };
    vec![event(app, Exhausted { item, dead_letter: letter }), event(app, ended)]
}

#[sqlx::test(migrations = "../migrations")]
async fn the_first_handler_that_succeeds_closes_a_letter_and_the_last_that_fails_says_so(database: PgPool) {
    let node = TestNode::start(&database).await;
    let (app, script) = app_with_script(&node).await;
    for _ in 0..2 {
        trigger(&node, app, script, json!({ "kind": "dead_letter" })).await;
    }
    let (first, new) = letter(app, script);
    node.commit(vec![new]).await.unwrap();
    assert_eq!(pending(&database).await, 2);
    node.commit(ended(app, first, Some("no"))).await.unwrap();
    assert_eq!(resolution(&database, first).await, None, "another is still at it");
    node.commit(ended(app, first, None)).await.unwrap();
    assert_eq!(resolution(&database, first).await.as_deref(), Some("handled_by_script"));

    let (second, new) = letter(app, script);
    node.commit(vec![new]).await.unwrap();
    node.commit(ended(app, second, Some("no"))).await.unwrap();
    node.commit(ended(app, second, Some("no"))).await.unwrap();
    assert_eq!(resolution(&database, second).await.as_deref(), Some("handler_failed"));

    let (third, new) = letter(app, script);
    node.commit(vec![new]).await.unwrap();
    let decided = dead_letter::Resolved {
        dead_letter: third,
        resolution: dead_letter::Closing::Ignored,
        reason: None,
        job: None,
    };
    node.commit(vec![event(app, decided)]).await.unwrap();
    node.commit(ended(app, third, None)).await.unwrap();
    assert_eq!(resolution(&database, third).await.as_deref(), Some("ignored"), "whoever decides meanwhile wins");
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_said_of_a_queue_stays_until_something_else_is_said(database: PgPool) {
    let node = TestNode::start(&database).await;
    let (app, _) = app_with_script(&node).await;
    let queue = "mail".to_owned();
    node.commit(vec![event(app, queue::Paused { queue: queue.clone() })]).await.unwrap();
    let configured = queue::Configured { queue: queue.clone(), max_concurrency: Some(4) };
    node.commit(vec![event(app, configured)]).await.unwrap();
    let said = || async {
        sqlx::query_as::<_, (bool, Option<i32>)>("select is_paused, max_concurrency from state.queue")
            .fetch_all(&database)
            .await
            .unwrap()
    };
    assert_eq!(said().await, [(true, Some(4))]);
    node.commit(vec![event(app, queue::Resumed { queue })]).await.unwrap();
    assert_eq!(said().await, [(false, Some(4))]);
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_one_commit_may_owe_is_bounded(database: PgPool) {
    let node = TestNode::start(&database).await;
    let (app, script) = app_with_script(&node).await;
    let triggers = (0..100).map(|_| created(app, script, json!({ "kind": "kv", "collection": "*" })).1);
    node.commit(triggers.collect()).await.unwrap();
    let writes = |n: usize| (0..n).map(|n| set(app, &n.to_string(), "1")).collect::<Vec<_>>();
    let head = node.committer.head();
    // Whoever asks first asks with the triggers of before, and is found out by the committer.
    for _ in 0..2 {
        assert_eq!(node.commit(writes(101)).await, Err(CommitError::Rejected(Rejected::OwesTooMuch)));
    }
    assert_eq!(node.committer.head(), head, "nothing of it is in the log");
    node.commit(writes(2)).await.unwrap();
    assert_eq!(pending(&database).await, 200);
    node.stop().await;
}
