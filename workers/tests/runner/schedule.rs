//! Cron triggers whose times come, on several nodes.

use std::time::Duration;

use picloud_core::{
    event::{
        Actor, Event, app,
        cron::Fired,
        outbox,
        script::{Deployed, ScriptKind},
        trigger::{Created, Definition, Registrant},
    },
    id::{AppId, ScriptId, TriggerId, VersionId},
    limits::Limits,
    log::{Commit, NewEvent},
    retry::RetryPolicy,
};
use picloud_projections::setup::LiveSetup;
use picloud_workers::schedule::Scheduler;
use serde_json::json;
use sqlx::PgPool;
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::support::{Cluster, TestNode, soon};

async fn app_with_script(node: &TestNode) -> (AppId, ScriptId) {
    let (app, script) = (AppId::generate(), ScriptId::generate());
    let deployed = Deployed {
        script,
        name: "nightly".to_owned(),
        script_kind: ScriptKind::Endpoint,
        version: VersionId::generate(),
        number: 1,
        source: "1".to_owned(),
        sha256: String::new(),
        imports: Vec::new(),
        limits: Limits::DEFAULT,
        message: None,
    };
    node.append(app, vec![app::Created { app, slug: "shop".to_owned() }.into(), deployed.into()]).await;
    (app, script)
}

async fn every_second(node: &TestNode, app: AppId, script: ScriptId, overlap: &str) -> TriggerId {
    let trigger = TriggerId::generate();
    let when = json!({ "kind": "cron", "schedule": "* * * * * *", "overlap": overlap });
    let definition = Definition { when: serde_json::from_value(when).unwrap(), script, retry: RetryPolicy::default() };
    let registrant = Registrant { account: None, key: None, scopes: None };
    node.append(app, vec![Created { trigger, definition, registrant }.into()]).await;
    trigger
}

/// Fires on a node, until it is told to stop.
async fn firing(node: &TestNode, stop: &CancellationToken) -> [JoinHandle<()>; 2] {
    let (setup, following) = LiveSetup::start(node.pool.clone(), &node.tail).await.unwrap();
    let scheduler =
        Scheduler { setup, database: node.pool.clone(), committer: node.committer.clone(), node: node.node };
    [following, tokio::spawn(scheduler.run(stop.clone()))]
}

fn fired(log: &[picloud_core::log::Recorded], trigger: TriggerId) -> Vec<Fired> {
    let fired = log.iter().filter_map(|recorded| match &recorded.event.event {
        Event::CronFired(fired) if fired.trigger == trigger => Some(fired.clone()),
        _ => None,
    });
    fired.collect()
}

#[sqlx::test(migrations = "../migrations")]
async fn each_time_comes_once_on_any_number_of_nodes_and_not_while_the_last_run_goes_on(database: PgPool) {
    let cluster = Cluster::new(&database);
    let nodes = [cluster.node().await, cluster.node().await];
    let (app, script) = app_with_script(&nodes[0]).await;
    let stop = CancellationToken::new();
    let mut tasks = Vec::new();
    for node in &nodes {
        tasks.extend(firing(node, &stop).await);
    }
    let patient = every_second(&nodes[0], app, script, "skip").await;
    let hasty = every_second(&nodes[0], app, script, "allow").await;
    let third = |trigger| {
        let mut times = 0;
        let node = &nodes[0];
        async move {
            let mut log = node.tail.follow(picloud_core::log::Position::ZERO);
            while times < 3 {
                let events = soon(log.next()).await.unwrap().unwrap();
                times += fired(&events, trigger).len();
            }
        }
    };
    tokio::join!(third(patient), third(hasty));
    stop.cancel();
    let [_, first, _, second] = tasks.try_into().unwrap();
    soon(async { tokio::try_join!(first, second) }).await.unwrap();

    let log = nodes[0].log().await;
    let owed = |trigger: TriggerId| {
        let subject = trigger.to_string();
        log.iter().filter(move |recorded| match &recorded.event.event {
            Event::OutboxEnqueued(enqueued) => serde_json::to_string(&enqueued.source).unwrap().contains(&subject),
            _ => false,
        })
    };
    let times = fired(&log, hasty);
    assert!(times.windows(2).all(|pair| (pair[1].due_at - pair[0].due_at).num_seconds() == 1), "{times:?}");
    assert!(times.iter().all(|fired| !fired.is_skipped && fired.passed_over == 0), "{times:?}");
    assert_eq!(owed(hasty).count(), times.len());
    // Nobody runs the first: the others are passed over, and the log says so.
    let times = fired(&log, patient);
    assert!(times.windows(2).all(|pair| pair[0].due_at < pair[1].due_at), "{times:?}");
    let skipped: Vec<bool> = times.iter().map(|fired| fired.is_skipped).collect();
    assert!(!skipped[0] && skipped[1..].iter().all(|is_skipped| *is_skipped), "{times:?}");
    assert_eq!(owed(patient).count(), 1);
    for node in nodes {
        node.stop().await;
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn what_was_to_come_while_the_outbox_was_paused_is_left_out(database: PgPool) {
    let node = Cluster::new(&database).node().await;
    let (app, script) = app_with_script(&node).await;
    let say = async |event: Event| {
        let commit = Commit::new(node.node.authority(), vec![NewEvent::new(None, &Actor::SYSTEM, event)]);
        soon(node.committer.commit(commit)).await.unwrap().at
    };
    say(outbox::Paused { reason: None }.into()).await;
    let stop = CancellationToken::new();
    let [following, firing] = firing(&node, &stop).await;
    // It would make up for all that it missed.
    let trigger = TriggerId::generate();
    let when = json!({ "kind": "cron", "schedule": "* * * * * *", "missed": "all", "overlap": "allow" });
    let definition = Definition { when: serde_json::from_value(when).unwrap(), script, retry: RetryPolicy::default() };
    let registrant = Registrant { account: None, key: None, scopes: None };
    node.append(app, vec![Created { trigger, definition, registrant }.into()]).await;
    sleep(Duration::from_millis(2500)).await;
    assert!(fired(&node.log().await, trigger).is_empty(), "nothing fires meanwhile");
    let resumed_at = say(outbox::Resumed {}.into()).await;
    let first = soon(async {
        loop {
            if let Some(first) = fired(&node.log().await, trigger).into_iter().next() {
                return first;
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(first.due_at > resumed_at, "{first:?}, resumed at {resumed_at}");
    stop.cancel();
    soon(async { tokio::try_join!(firing) }).await.unwrap();
    node.stop().await;
    drop(following);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_setup_keeps_up_with_the_log_though_nothing_is_set_up_differently(database: PgPool) {
    let node = Cluster::new(&database).node().await;
    let (app, _) = app_with_script(&node).await;
    let (setup, following) = LiveSetup::start(node.pool.clone(), &node.tail).await.unwrap();
    // What came before its start may still be on its way to it.
    soon(setup.reached(node.committer.head())).await;
    let mut changes = setup.watch();
    changes.mark_unchanged();
    node.run(app, r#"c.set("a", 1)"#).await;
    soon(setup.reached(node.committer.head())).await;
    assert!(!changes.has_changed().unwrap(), "nobody is woken for that");
    node.stop().await;
    drop(following);
}
