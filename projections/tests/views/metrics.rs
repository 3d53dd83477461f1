//! Figures of any time, in steps of any length, are those that a fold of the whole log finds.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use picloud_core::{
    event::Event,
    id::{AppId, InvocationId, ScriptId},
    log::{Recorded, read::Reader},
};
use picloud_projections::views::{
    self,
    metrics::{self, DAY_S, Owed, Parts, Runs, begin_of},
};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use sqlx::PgPool;

use super::{fold, history, step, write};

/// A run that ended: whose, of which script, when, and whether it failed.
struct Ended {
    app: AppId,
    script: ScriptId,
    at: DateTime<Utc>,
    duration_us: u64,
    has_failed: bool,
}

fn ended(log: &[Recorded]) -> Vec<Ended> {
    let mut scripts: HashMap<InvocationId, ScriptId> = HashMap::new();
    let mut runs = Vec::new();
    for recorded in log {
        let (invocation, duration_us, has_failed) = match &recorded.event.event {
            Event::InvocationStarted(started) => {
                scripts.insert(started.invocation, started.script);
                continue;
            }
            Event::InvocationCompleted(completed) => (completed.invocation, completed.duration_us, false),
            Event::InvocationFailed(failed) => (failed.invocation, failed.duration_us, true),
            _ => continue,
        };
        // What was begun before the log is told of by nobody.
        let Some(script) = scripts.get(&invocation) else { continue };
        let app = recorded.event.app.unwrap();
        runs.push(Ended { app, script: *script, at: recorded.at, duration_us, has_failed });
    }
    runs
}

/// How many ended well and how many did not, and how long they took together. As many as their durations.
fn counted(runs: &Runs) -> (u64, u64, u64) {
    assert_eq!(runs.durations.iter().sum::<u64>(), runs.ok + runs.failed);
    (runs.ok, runs.failed, runs.duration_us)
}

fn expected<'r, K: Ord>(
    runs: impl IntoIterator<Item = &'r Ended>,
    key: impl Fn(&Ended) -> K,
) -> BTreeMap<K, (u64, u64, u64)> {
    let mut sums: BTreeMap<K, (u64, u64, u64)> = BTreeMap::new();
    for run in runs {
        let sum = sums.entry(key(run)).or_default();
        *(if run.has_failed { &mut sum.1 } else { &mut sum.0 }) += 1;
        sum.2 += run.duration_us;
    }
    sums
}

/// By the steps that are asked for.
fn by_step<T: Default>(
    counts: Vec<(DateTime<Utc>, T)>,
    step_s: i64,
    add: impl Fn(&mut T, &T),
) -> BTreeMap<DateTime<Utc>, T> {
    let mut sums: BTreeMap<DateTime<Utc>, T> = BTreeMap::new();
    for (at, more) in counts {
        add(sums.entry(begin_of(at, step_s)).or_default(), &more);
    }
    sums
}

#[sqlx::test(migrations = "../migrations")]
async fn figures_of_any_time_and_step_are_those_of_the_log(pool: PgPool) {
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[11; 32]));
    let mut tree = |count: usize| prop::collection::vec(step(), count).new_tree(&mut runner).unwrap().current();
    let log = history(&tree(4_000));
    let (first, last) = (log[0].at, log.last().unwrap().at);
    assert!(last - first > TimeDelta::days(3), "{first} to {last}");
    write(&pool, &log).await;
    let reader = Reader::new(pool.clone());
    let mut view = views::all(&reader).into_iter().find(|view| view.name() == metrics::NAME).unwrap();
    let stretches: Vec<&[Recorded]> = log.chunks(700).collect();
    fold(&pool, &mut *view, &stretches, |_| false).await;

    let all = ended(&log);
    let asked =
        (0..4_000_i64, 0..6_000_i64, prop::sample::select(vec![1, 5, 7, 15, 60, 90, 1_440, 10_080]), 0..9_usize);
    let mut seen = 0;
    for _ in 0..40 {
        let (since_minute, minutes, step_minutes, n) = asked.new_tree(&mut runner).unwrap().current();
        let since = begin_of(first + TimeDelta::minutes(since_minute), 60);
        let (until, step_s) = (since + TimeDelta::minutes(minutes), 60 * step_minutes);
        let Ended { app, script, .. } = all[n * all.len() / 9];
        let of_app = || all.iter().filter(move |run| run.app == app && run.at >= since && run.at < until);
        let parts = Parts::of(since, until, step_s);
        let told = format!("{since} to {until} in steps of {step_s} s");

        let of_all = metrics::runs(&pool, app, None, &parts).await.unwrap();
        let found = by_step(of_all, step_s, Runs::add);
        let found: BTreeMap<_, _> = found.iter().map(|(at, runs)| (*at, counted(runs))).collect();
        assert_eq!(found, expected(of_app(), |run| begin_of(run.at, step_s)), "{told}");
        seen += found.len();

        let of_script = metrics::runs(&pool, app, Some(script), &parts).await.unwrap();
        let found = by_step(of_script, step_s, Runs::add);
        let found: BTreeMap<_, _> = found.iter().map(|(at, runs)| (*at, counted(runs))).collect();
        let its = of_app().filter(|run| run.script == script);
        assert_eq!(found, expected(its, |run| begin_of(run.at, step_s)), "{told} of {script}");

        let longest = Parts::of(since, until, DAY_S);
        let found = metrics::runs_by_script(&pool, app, &longest).await.unwrap();
        let found: BTreeMap<_, _> = found.iter().map(|(script, runs)| (*script, counted(runs))).collect();
        assert_eq!(found, expected(of_app(), |run| run.script), "{told}");

        let found = by_step(metrics::outbox(&pool, app, &parts).await.unwrap(), step_s, Owed::add);
        let mut owed: BTreeMap<DateTime<Utc>, Owed> = BTreeMap::new();
        for recorded in log.iter().filter(|recorded| recorded.event.app == Some(app)) {
            let more = match &recorded.event.event {
                Event::OutboxEnqueued(_) => Owed { enqueued: 1, ..Owed::default() },
                Event::OutboxDelivered(_) => Owed { delivered: 1, ..Owed::default() },
                Event::OutboxCancelled(_) => Owed { cancelled: 1, ..Owed::default() },
                _ => continue,
            };
            if recorded.at >= since && recorded.at < until {
                owed.entry(begin_of(recorded.at, step_s)).or_default().add(&more);
            }
        }
        assert_eq!(found, owed, "{told}");
    }
    assert!(seen > 200, "{seen} steps were compared");
}
