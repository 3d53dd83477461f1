//! Views on a real database: whatever the history, and however it is cut, the rows are the same.

#![expect(clippy::unwrap_used, reason = "a failing unwrap in a test is the failing test")]

mod listed;
mod metrics;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use picloud_core::{
    event::{
        Actor, ActorKind, Class, Event, FailureReason, app,
        invocation::{Completed, Failed, Logged, Started},
        kv,
        outbox::{Cancelled, Delivered, Enqueued, Payload, Source},
        partition::Archived,
    },
    id::{AppId, InvocationId, NodeEpoch, OutboxId, RouteId, ScriptId, TriggerId, VersionId},
    log::{NewEvent, Position, Recorded, read::Reader},
    retry::RetryPolicy,
    run::{InvocationType, LogLevel, LogLine},
};
use picloud_projections::views::{
    self, Schema, View,
    rebuild::{Compared, Difference, rebuild},
};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::value::RawValue;
use sqlx::PgPool;

/// The last positions of the log's first segment: what comes lies in two.
const BEFORE: i64 = 999_900;

/// Something that happens, in an app, to one of its runs.
#[derive(Clone, Debug)]
enum Step {
    Begin { app: usize, script: usize, is_triggered: bool },
    Log { run: usize, lines: Vec<(u8, String)>, dropped: u32 },
    Complete { run: usize, duration_us: u64 },
    Fail { run: usize, message: String, duration_us: u64 },
    Set { app: usize },
    Owe { app: usize },
    Deliver { item: usize },
    Cancel { item: usize },
    Wait { seconds: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let words = || "[a-z ]{0,12}[0-9]{0,3}".prop_map(|text| format!("order {text}"));
    prop_oneof![
        6 => (0..3_usize, 0..3_usize, any::<bool>())
            .prop_map(|(app, script, is_triggered)| Step::Begin { app, script, is_triggered }),
        3 => (any::<usize>(), prop::collection::vec((0..5_u8, words()), 0..3), 0..2_u32)
            .prop_map(|(run, lines, dropped)| Step::Log { run, lines, dropped }),
        4 => (any::<usize>(), 0..3_000_000_u64).prop_map(|(run, duration_us)| Step::Complete { run, duration_us }),
        2 => (any::<usize>(), words(), 0..3_000_000_u64)
            .prop_map(|(run, message, duration_us)| Step::Fail { run, message, duration_us }),
        1 => (0..3_usize).prop_map(|app| Step::Set { app }),
        3 => (0..3_usize).prop_map(|app| Step::Owe { app }),
        1 => any::<usize>().prop_map(|item| Step::Deliver { item }),
        1 => any::<usize>().prop_map(|item| Step::Cancel { item }),
        1 => (1..4_000_i64).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// A log of these steps, in which runs end once, and some were begun before it.
fn history(steps: &[Step]) -> Vec<Recorded> {
    let apps: [AppId; 3] = std::array::from_fn(|_| AppId::generate());
    let scripts: [(ScriptId, VersionId); 3] = std::array::from_fn(|_| (ScriptId::generate(), VersionId::generate()));
    let (route, trigger, node) = (RouteId::generate(), TriggerId::generate(), NodeEpoch::generate());
    let mut at = DateTime::<Utc>::from_timestamp(1_790_000_000, 0).unwrap();
    let mut open: Vec<(InvocationId, AppId)> = vec![(InvocationId::generate(), apps[0])];
    let mut owed: Vec<(OutboxId, AppId)> = Vec::new();
    let mut log = Vec::new();
    for step in steps {
        at += TimeDelta::milliseconds(7);
        let picked = |run: &usize| (!open.is_empty()).then(|| run % open.len());
        let (app, event): (AppId, Event) = match step {
            Step::Begin { app, script, is_triggered } => {
                let (invocation, (script, version)) = (InvocationId::generate(), scripts[*script]);
                open.push((invocation, apps[*app]));
                let started = Started {
                    invocation,
                    script,
                    version,
                    invocation_type: if *is_triggered { InvocationType::Trigger } else { InvocationType::Http },
                    route: (!is_triggered).then_some(route),
                    trigger: is_triggered.then_some(trigger),
                    item: is_triggered.then(OutboxId::generate),
                    attempt: 1,
                    node,
                    recording: None,
                };
                (apps[*app], started.into())
            }
            Step::Log { run, lines, dropped } => {
                let Some(n) = picked(run) else { continue };
                let (invocation, app) = open[n];
                let levels = [LogLevel::Trace, LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error];
                let line = |(level, message): &(u8, String)| LogLine {
                    level: levels[usize::from(*level)],
                    after_us: 1,
                    message: message.clone(),
                    data: Some(RawValue::from_string(format!("{{\"said\":{message:?}}}")).unwrap()),
                };
                let lines = lines.iter().map(line).collect();
                (app, Logged { invocation, lines, dropped: *dropped }.into())
            }
            Step::Complete { run, duration_us } => {
                let Some(n) = picked(run) else { continue };
                let (invocation, app) = open.remove(n);
                let duration_us = *duration_us;
                (
                    app,
                    Completed { invocation, status: 200, duration_us, operations: 3, runs: 1, recording: None }.into(),
                )
            }
            Step::Fail { run, message, duration_us } => {
                let Some(n) = picked(run) else { continue };
                let (invocation, app) = open.remove(n);
                let (reason, message, duration_us) = (FailureReason::Threw, message.clone(), *duration_us);
                (app, Failed { invocation, reason, message, line: None, limit: None, duration_us, runs: 2 }.into())
            }
            Step::Set { app } => {
                let (collection, key) = ("c".to_owned(), "k".to_owned());
                let value = RawValue::from_string("1".to_owned()).unwrap();
                (apps[*app], kv::Set { collection, key, value, expires_at: None }.into())
            }
            Step::Owe { app } => {
                let item = OutboxId::generate();
                owed.push((item, apps[*app]));
                (apps[*app], enqueued(item, scripts[0].0).into())
            }
            Step::Deliver { item } => {
                let Some((item, app)) = take_one(&mut owed, *item) else { continue };
                (app, Delivered { item, attempt: 1, invocation: InvocationId::generate() }.into())
            }
            Step::Cancel { item } => {
                let Some((item, app)) = take_one(&mut owed, *item) else { continue };
                (app, Cancelled { item }.into())
            }
            Step::Wait { seconds } => {
                at += TimeDelta::seconds(*seconds);
                continue;
            }
        };
        let actor = Actor { kind: ActorKind::ApiKey, id: Some("key_1".to_owned()), request_id: None, address: None };
        let event = Arc::new(NewEvent::new(Some(app), &actor, event));
        log.push(Recorded { position: Position(BEFORE).plus(log.len() + 1), at, event });
    }
    log
}

fn take_one<T>(of: &mut Vec<T>, n: usize) -> Option<T> {
    (!of.is_empty()).then(|| of.remove(n % of.len()))
}

fn enqueued(item: OutboxId, script: ScriptId) -> Enqueued {
    Enqueued {
        item,
        source: Source::Invoke,
        script,
        version: None,
        lane: None,
        priority: 0,
        due_at: None,
        retry: RetryPolicy::default(),
        payload: Payload::Event(RawValue::from_string("{}".to_owned()).unwrap()),
        is_watched: false,
        replay_of: None,
        handles: None,
        carried: None,
    }
}

/// What ends every run, and then says that the first segment is kept for long enough.
fn ended(log: &mut Vec<Recorded>) {
    let mut open = std::collections::BTreeMap::new();
    for recorded in &*log {
        match &recorded.event.event {
            Event::InvocationStarted(started) => _ = open.insert(started.invocation, recorded.event.app),
            Event::InvocationCompleted(completed) => _ = open.remove(&completed.invocation),
            Event::InvocationFailed(failed) => _ = open.remove(&failed.invocation),
            _ => {}
        }
    }
    let mut push = |app, event: Event| {
        let last = log.last().unwrap();
        let (position, at) = (last.position.plus(1), last.at + TimeDelta::seconds(1));
        log.push(Recorded { position, at, event: Arc::new(NewEvent::new(app, &Actor::SYSTEM, event)) });
    };
    for (invocation, app) in open {
        let lines = vec![LogLine { level: LogLevel::Warn, after_us: 1, message: "late".to_owned(), data: None }];
        push(app, Logged { invocation, lines, dropped: 0 }.into());
        push(
            app,
            Completed { invocation, status: 200, duration_us: 5, operations: 3, runs: 1, recording: None }.into(),
        );
    }
    let archived =
        Archived { class: Class::Run, low: 1, high: 1_000_001, events: 0, first_at: None, last_at: None, export: None };
    push(None, archived.into());
}

/// What is owed after a history, where it is looked up.
async fn owe(pool: &PgPool, log: &[Recorded]) {
    for recorded in log {
        match &recorded.event.event {
            Event::OutboxEnqueued(enqueued) => {
                sqlx::query(
                    "insert into state.outbox (id, app_id, priority, due_at, is_watched, position)
                    values ($1, $2, 0, $3, false, $4)",
                )
                .bind(enqueued.item.uuid())
                .bind(recorded.event.app.map(AppId::uuid))
                .bind(recorded.at)
                .bind(recorded.position.0)
                .execute(pool)
                .await
                .unwrap();
            }
            Event::OutboxDelivered(Delivered { item, .. }) | Event::OutboxCancelled(Cancelled { item }) => {
                sqlx::query("delete from state.outbox where id = $1").bind(item.uuid()).execute(pool).await.unwrap();
            }
            _ => {}
        }
    }
}

/// Puts events where they are looked up.
async fn write(pool: &PgPool, log: &[Recorded]) {
    for Recorded { position, at, event } in log {
        sqlx::query(
            "insert into log.events (position, id, at, app_id, kind, subject, data, actor, depth, class)
            values ($1, $2, $3, $4, $5, $6, $7::json, $8::json, 0, $9)",
        )
        .bind(position.0)
        .bind(event.id.uuid())
        .bind(at)
        .bind(event.app.map(AppId::uuid))
        .bind(event.event.kind())
        .bind(&event.subject)
        .bind(&event.data)
        .bind(&*event.actor_json)
        .bind(event.event.class().as_str())
        .execute(pool)
        .await
        .unwrap();
    }
}

/// Folds a view from nothing; before each stretch whose number is in `forgets` it is loaded again, as by another node.
async fn fold(
    pool: &PgPool,
    view: &mut dyn View,
    stretches: &[&[Recorded]],
    forgets: impl Fn(usize) -> bool,
) -> Vec<String> {
    for table in view.tables() {
        sqlx::query(sqlx::AssertSqlSafe(format!("truncate views.{table}"))).execute(pool).await.unwrap();
    }
    for (n, stretch) in stretches.iter().enumerate() {
        let mut transaction = pool.begin().await.unwrap();
        if n == 0 || forgets(n) {
            view.load(&mut transaction, Schema::LIVE).await.unwrap();
        }
        view.take(stretch, &mut transaction, Schema::LIVE).await.unwrap();
        transaction.commit().await.unwrap();
    }
    let mut rows = Vec::new();
    for table in view.tables() {
        let sql = format!("select '{table} ' || t::text from views.{table} t order by 1");
        rows.extend(sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(sql)).fetch_all(pool).await.unwrap());
    }
    rows
}

#[sqlx::test(migrations = "../migrations")]
async fn the_rows_of_a_view_follow_from_the_log_however_it_is_cut(pool: PgPool) {
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]));
    let histories = (prop::collection::vec(step(), 60..160), prop::collection::vec(1..20_usize, 200), any::<u64>());
    let reader = Reader::new(pool.clone());
    let mut seen = 0;
    for _ in 0..12 {
        let (steps, cuts, forgets) = histories.new_tree(&mut runner).unwrap().current();
        let log = history(&steps);
        sqlx::query("truncate log.events").execute(&pool).await.unwrap();
        write(&pool, &log).await;
        let mut stretches = Vec::new();
        let mut rest = &log[..];
        for cut in cuts {
            let (stretch, behind) = rest.split_at(cut.min(rest.len()));
            stretches.extend((!stretch.is_empty()).then_some(stretch));
            rest = behind;
        }
        for (mut whole, mut cut) in views::all(&reader).into_iter().zip(views::all(&reader)) {
            let expected = fold(&pool, &mut *whole, &[&log], |_| false).await;
            let rows = fold(&pool, &mut *cut, &stretches, |n| forgets >> (n % 64) & 1 == 1).await;
            assert_eq!(rows, expected, "{} of {steps:?}", whole.name());
            seen += expected.len();
        }
    }
    assert!(seen > 1_000, "{seen} rows were compared");
}

#[sqlx::test(migrations = "../migrations")]
async fn an_event_of_no_app_is_told_of_by_no_app(pool: PgPool) {
    let reader = Reader::new(pool.clone());
    let event = app::Created { app: AppId::generate(), slug: "shop".to_owned() };
    let event = Arc::new(NewEvent::new(None, &Actor::SYSTEM, event));
    let log = [Recorded { position: Position(1), at: Utc::now(), event }];
    for mut view in views::all(&reader) {
        let rows = fold(&pool, &mut *view, &[&log], |_| false).await;
        assert_eq!(rows.len(), usize::from(view.name() == "activity"), "{rows:?}");
    }
}

/// All that the database knows of how the tables are made that are read from.
async fn made(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select format('%s.%s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull)
        from pg_attribute a join pg_class c on c.oid = a.attrelid
        where c.relnamespace = 'views'::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0
        union all select pg_get_indexdef(i.indexrelid) from pg_index i join pg_class c on c.oid = i.indexrelid
        where c.relnamespace = 'views'::regnamespace
        union all select format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) from pg_constraint
        where connamespace = 'views'::regnamespace
        union all select format('%s by %s', partrelid::regclass, pg_get_partkeydef(partrelid)) from pg_partitioned_table
        order by 1",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn views_that_are_built_anew_are_made_as_the_migrations_say(pool: PgPool) {
    let before = made(&pool).await;
    assert!(before.len() > 80, "{before:?}");
    let built = rebuild(&pool, &[], true, |_| {}).await.unwrap();
    assert!(built.iter().all(|view| view.is_swapped) && built.len() == views::all(&Reader::new(pool.clone())).len());
    assert_eq!(made(&pool).await, before);
    let left: bool =
        sqlx::query_scalar("select to_regnamespace('views_next') is not null").fetch_one(&pool).await.unwrap();
    assert!(!left, "nothing is left of what was built");
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_built_anew_has_the_rows_that_were_folded_and_whatever_differs_is_shown(pool: PgPool) {
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[8; 32]));
    let steps = prop::collection::vec(step(), 300..301).new_tree(&mut runner).unwrap().current();
    let log = history(&steps);
    write(&pool, &log).await;
    let reader = Reader::new(pool.clone());
    for mut view in views::all(&reader) {
        fold(&pool, &mut *view, &[&log[..100], &log[100..]], |_| true).await;
        sqlx::query("insert into views.checkpoint (view, version, position) values ($1, $2, $3)")
            .bind(view.name())
            .bind(view.version())
            .bind(log.last().unwrap().position.0)
            .execute(&pool)
            .await
            .unwrap();
    }
    let compared = |rebuilt: Vec<views::rebuild::Rebuilt>| {
        rebuilt.into_iter().map(|view| (view.view, view.compared)).collect::<std::collections::HashMap<_, _>>()
    };
    for (view, compared) in compared(rebuild(&pool, &[], false, |_| {}).await.unwrap()) {
        assert!(matches!(compared, Compared::Same { rows } if rows > 0), "{view}: {compared:?}");
    }

    sqlx::query("delete from views.log_entry where position = (select max(position) from views.log_entry)")
        .execute(&pool)
        .await
        .unwrap();
    let mut found = compared(rebuild(&pool, &[], false, |_| {}).await.unwrap());
    let Some(Compared::Different { only_live: 0, only_built: 1, examples }) = found.remove("logs") else {
        panic!("{found:?}")
    };
    assert!(matches!(&examples[..], [Difference { table: "log_entry", is_live: false, .. }]), "{examples:?}");
    assert!(found.values().all(|compared| matches!(compared, Compared::Same { .. })), "{found:?}");

    rebuild(&pool, &["logs".to_owned()], true, |_| {}).await.unwrap();
    for (view, compared) in compared(rebuild(&pool, &[], false, |_| {}).await.unwrap()) {
        assert!(matches!(compared, Compared::Same { .. }), "{view}: {compared:?}");
    }
    // What stands behind cannot be compared, and is replaced all the same.
    sqlx::query("update views.checkpoint set position = 5 where view = 'errors'").execute(&pool).await.unwrap();
    let behind = rebuild(&pool, &["errors".to_owned()], true, |_| {}).await.unwrap();
    assert!(matches!(&behind[0].compared, Compared::Not { reason } if reason.contains("stands at position 5")));
    let position: i64 = sqlx::query_scalar("select position from views.checkpoint where view = 'errors'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(Position(position), log.last().unwrap().position);
}

#[sqlx::test(migrations = "../migrations")]
async fn when_part_of_the_log_is_gone_views_are_what_can_be_built_of_the_rest(pool: PgPool) {
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[9; 32]));
    let histories = (prop::collection::vec(step(), 150..300), 1..140_usize);
    let mut forgotten = 0;
    for _ in 0..8 {
        let (steps, cut) = histories.new_tree(&mut runner).unwrap().current();
        let mut log = history(&steps);
        ended(&mut log);
        for cleared in [
            "truncate log.events, views.checkpoint, state.outbox",
            "update log.segments set classes = '{config,data,run}'",
        ] {
            sqlx::query(cleared).execute(&pool).await.unwrap();
        }
        write(&pool, &log).await;
        owe(&pool, &log).await;
        let (before, last) = log.split_at(log.len() - 1);
        let cut = cut.min(before.len());
        let reader = Reader::new(pool.clone());
        for mut view in views::all(&reader) {
            let whole = fold(&pool, &mut *view, &[before], |_| false).await;
            let rows = fold(&pool, &mut *view, &[&before[..cut], &before[cut..], last], |_| true).await;
            forgotten += whole.len() - rows.len();
            sqlx::query("insert into views.checkpoint (view, version, position) values ($1, $2, $3)")
                .bind(view.name())
                .bind(view.version())
                .bind(last[0].position.0)
                .execute(&pool)
                .await
                .unwrap();
        }
        sqlx::query("update log.segments set classes = '{config,data}' where low = 1").execute(&pool).await.unwrap();
        sqlx::query("delete from log.run where position <= 1000000").execute(&pool).await.unwrap();
        for view in rebuild(&pool, &[], false, |_| {}).await.unwrap() {
            assert!(matches!(view.compared, Compared::Same { .. }), "{view:?} of {steps:?}");
        }
    }
    assert!(forgotten > 500, "{forgotten} rows were forgotten");
}
