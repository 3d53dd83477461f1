//! Lists that are searched for say how far they got, and go on.

use std::time::Duration;

use chrono::{DateTime, Utc};
use picloud_core::{
    event::{
        Actor, Event,
        invocation::{Completed, Logged, Started},
        kv,
    },
    id::{AppId, InvocationId, ScriptId, VersionId},
    log::{Commit, NewEvent, read::Bound},
    run::{InvocationType, LogLevel, LogLine},
};
use picloud_ingress::admin::{self, AdminPlane};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::fixture::{Client, World, each, text};

/// Who asks a node that searches no longer than for one question about a few places.
fn impatient(world: &World) -> Client {
    let searching = Bound { within: Duration::ZERO, first: 5, most: 5 };
    Client { router: admin::router(AdminPlane { searching, ..world.plane.clone() }), key: world.owner.key.clone() }
}

async fn append(world: &World, app: AppId, events: Vec<Event>) {
    let events = events.into_iter().map(|event| NewEvent::new(Some(app), &Actor::SYSTEM, event)).collect();
    world.plane.committer.commit(Commit::new(world.plane.node.authority(), events)).await.expect("a commit");
}

fn deleted(key: &str) -> Event {
    kv::Deleted { collection: "c".to_owned(), key: key.to_owned() }.into()
}

fn run(world: &World, script: ScriptId, said: &str) -> Vec<Event> {
    let invocation = InvocationId::generate();
    let line = LogLine { level: LogLevel::Info, after_us: 1, message: said.to_owned(), data: None };
    vec![
        Started {
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
        }
        .into(),
        Logged { invocation, lines: vec![line], dropped: 0 }.into(),
        Completed { invocation, status: 200, duration_us: 9, operations: 3, runs: 1, recording: None }.into(),
    ]
}

/// All pages of a list.
async fn pages(client: &Client, path: &str) -> Vec<Value> {
    let mut pages = vec![client.get(path).await.is(200)];
    while let Some(cursor) = pages[pages.len() - 1]["cursor"].as_str() {
        let next = client.get(&format!("{path}&cursor={cursor}")).await.is(200);
        assert_ne!(next["cursor"], cursor, "it gets nowhere");
        pages.push(next);
    }
    pages
}

fn joined(pages: &[Value], member: &str) -> Vec<String> {
    pages.iter().flat_map(|page| each(page, member)).collect()
}

/// Fails unless each page but the last says how far it goes, always further.
fn assert_they_say_how_far(pages: &[Value], is_forward: bool) {
    let (last, cut) = pages.split_last().expect("a page");
    assert_eq!((&last["searched_to"], &last["cursor"]), (&Value::Null, &Value::Null));
    let times: Vec<DateTime<Utc>> =
        cut.iter().map(|page| text(&page["searched_to"]).parse().expect("a time")).collect();
    assert!(times.len() > 2, "{pages:?}");
    assert!(times.is_sorted_by(|one, next| if is_forward { one <= next } else { one >= next }), "{times:?}");
    // To the minute: what lies there may be another app's.
    assert!(times.iter().all(|time| time.timestamp() % 60 == 0 && time.timestamp_subsec_nanos() == 0), "{times:?}");
}

#[sqlx::test(migrations = "../migrations")]
async fn pages_of_events_that_are_rare_are_short_and_go_on(pool: PgPool) {
    let world = World::start(pool).await;
    let (shop, other) = (world.app("shop").await, world.app("other").await);
    for n in 0..10 {
        append(&world, shop, vec![deleted(&format!("k{n}"))]).await;
        for _ in 0..4 {
            append(&world, other, vec![deleted("theirs")]).await;
        }
    }
    let impatient = impatient(&world);
    let list = "/api/v1/admin/apps/shop/events";
    for order in ["asc", "desc"] {
        let mine = pages(&impatient, &format!("{list}?kind=kv&order={order}")).await;
        assert_they_say_how_far(&mine, order == "asc");
        let mut wanted: Vec<String> = (0..10).map(|n| format!("kv:c/k{n}")).collect();
        if order == "desc" {
            wanted.reverse();
        }
        assert_eq!(joined(&mine, "subject"), wanted, "{order}");

        let nobodys = pages(&impatient, &format!("{list}?actor=nobody&order={order}")).await;
        assert_they_say_how_far(&nobodys, order == "asc");
        assert!(joined(&nobodys, "id").is_empty());
    }
    // Who waits for it is told at once; what matches everywhere is not searched for.
    let whole = pages(&world.owner, &format!("{list}?kind=kv&limit=3")).await;
    assert_eq!(whole.len(), 4);
    assert!(whole.iter().all(|page| page["searched_to"].is_null()));
    let all = impatient.get("/api/v1/admin/events?limit=50").await.is(200);
    assert_eq!((each(&all, "id").len(), &all["searched_to"]), (50, &Value::Null));
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_things_history_and_runs_with_words_are_searched_as_far_as_there_is_time(pool: PgPool) {
    let world = World::start(pool).await;
    let app = world.app("shop").await;
    let script = ScriptId::generate();
    for n in 0..8 {
        append(&world, app, vec![deleted("k")]).await;
        append(&world, app, run(&world, script, &format!("order {n}"))).await;
        append(&world, app, run(&world, script, "nothing")).await;
    }
    let impatient = impatient(&world);
    let history = pages(&impatient, "/api/v1/admin/apps/shop/events/history?subject=kv:c/k").await;
    assert_they_say_how_far(&history, false);
    assert_eq!(joined(&history, "type"), vec!["kv.deleted"; 8]);

    let runs = "/api/v1/admin/apps/shop/invocations";
    let whole = pages(&world.owner, &format!("{runs}?q=order")).await;
    assert_eq!((whole.len(), joined(&whole, "id").len()), (1, 8));
    let searched = pages(&impatient, &format!("{runs}?q=order")).await;
    assert_they_say_how_far(&searched, false);
    assert_eq!(joined(&searched, "id"), joined(&whole, "id"));
    // Of a script that hardly ever runs, all runs are looked up at once.
    let looked_up = pages(&impatient, &format!("{runs}?script={script}&q=order")).await;
    assert_eq!((looked_up.len(), joined(&looked_up, "id")), (1, joined(&whole, "id")));
    let counted = impatient.get(&format!("{runs}/count?q=order")).await.is(200);
    assert_eq!(counted["is_exact"], false, "{counted}");
    let counted = world.owner.get(&format!("{runs}/count?q=order")).await.is(200);
    assert_eq!(counted, json!({ "count": 8, "is_exact": true }));
    world.stop().await;
}
