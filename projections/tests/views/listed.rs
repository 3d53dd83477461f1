//! Pages of a list of runs, joined, are the runs that a fold of the whole log finds: wherever a search stops.

use std::{collections::HashMap, time::Duration};

use picloud_core::{
    event::{Event, invocation::Started},
    id::{AppId, InvocationId},
    log::{
        Position, Recorded,
        read::{Bound, Direction, Reader},
    },
};
use picloud_projections::views::{
    self, Page,
    invocations::{self, Count, Filter, Outcome, count, list},
};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use sqlx::PgPool;

use super::{fold, history, step, write};

/// A run, as the events say it.
struct Run<'l> {
    position: i64,
    app: AppId,
    started: &'l Started,
    outcome: Outcome,
    duration_us: u64,
    said: String,
}

fn runs(log: &[Recorded]) -> Vec<Run<'_>> {
    let mut runs: HashMap<InvocationId, Run<'_>> = HashMap::new();
    for recorded in log {
        let app = recorded.event.app.unwrap();
        match &recorded.event.event {
            Event::InvocationStarted(started) => {
                let position = recorded.position.0;
                let (outcome, duration_us, said) = (Outcome::Running, 0, String::new());
                runs.insert(started.invocation, Run { position, app, started, outcome, duration_us, said });
            }
            Event::InvocationLogged(logged) => {
                let Some(run) = runs.get_mut(&logged.invocation) else { continue };
                run.said.extend(logged.lines.iter().map(|line| format!("{} ", line.message)));
            }
            Event::InvocationCompleted(completed) => {
                let Some(run) = runs.get_mut(&completed.invocation) else { continue };
                (run.outcome, run.duration_us) = (Outcome::Ok, completed.duration_us);
            }
            Event::InvocationFailed(failed) => {
                let Some(run) = runs.get_mut(&failed.invocation) else { continue };
                (run.outcome, run.duration_us) = (Outcome::Failed, failed.duration_us);
                run.said += &failed.message;
            }
            _ => {}
        }
    }
    let mut runs: Vec<Run<'_>> = runs.into_values().collect();
    runs.sort_by_key(|run| run.position);
    runs
}

/// What is asked for, by what a run has; and in how many steps.
#[derive(Clone, Debug)]
struct Asked {
    like: usize,
    has_script: bool,
    has_route: bool,
    has_words: bool,
    outcome: Option<usize>,
    slower_than_us: Option<u64>,
    is_forward: bool,
    limit: usize,
    bound: Bound,
}

fn asked() -> impl Strategy<Value = Asked> {
    let bound = (any::<bool>(), 1..30_i64, 0..30_i64).prop_map(|(is_patient, first, more)| Bound {
        within: if is_patient { Duration::from_secs(3_600) } else { Duration::ZERO },
        first,
        most: first + more,
    });
    let slower = prop_oneof![2 => Just(None), 1 => (0..3_000_000_u64).prop_map(Some)];
    let outcome = prop_oneof![2 => Just(None), 1 => (0..3_usize).prop_map(Some)];
    let has = (any::<bool>(), any::<bool>(), any::<bool>());
    (any::<usize>(), has, outcome, slower, any::<bool>(), 1..6_usize, bound).prop_map(
        |(like, (has_script, has_route, has_words), outcome, slower_than_us, is_forward, limit, bound)| Asked {
            like,
            has_script,
            has_route,
            has_words,
            outcome,
            slower_than_us,
            is_forward,
            limit,
            bound,
        },
    )
}

/// The filter, and whether a run is as it says.
fn filter<'l>(asked: &Asked, runs: &[Run<'l>]) -> (Filter, impl Fn(&Run<'l>) -> bool) {
    let like = &runs[asked.like % runs.len()];
    let word = like.said.split_whitespace().last().filter(|_| asked.has_words).map(str::to_owned);
    let filter = Filter {
        script: asked.has_script.then_some(like.started.script),
        route: like.started.route.filter(|_| asked.has_route),
        outcome: asked.outcome.map(|n| [Outcome::Running, Outcome::Ok, Outcome::Failed][n]),
        slower_than_us: asked.slower_than_us,
        words: word.as_ref().map(|word| format!("\"{word}\"")),
        ..Filter::of(like.app)
    };
    let asked = filter.clone();
    let is_wanted = move |run: &Run<'l>| {
        let has_ended = run.outcome != Outcome::Running;
        run.app == asked.app
            && asked.script.is_none_or(|script| run.started.script == script)
            && asked.route.is_none_or(|route| run.started.route == Some(route))
            && asked.outcome.is_none_or(|outcome| run.outcome == outcome)
            && asked.slower_than_us.is_none_or(|slower| has_ended && run.duration_us >= slower)
            && word.as_ref().is_none_or(|word| has_ended && run.said.split_whitespace().any(|said| said == word))
    };
    (filter, is_wanted)
}

/// All pages, joined; how many of them were cut.
async fn pages(pool: &PgPool, filter: &Filter, asked: &Asked) -> (Vec<i64>, usize) {
    let direction = if asked.is_forward { Direction::Forward } else { Direction::Backward };
    let mut page =
        Page { direction, after: Position::ZERO, up_to: Position(super::BEFORE + 10_000), limit: asked.limit };
    let (mut all, mut cut) = (Vec::new(), 0);
    loop {
        let found = list(pool, filter, page, asked.bound).await.unwrap();
        assert!(found.runs.len() <= asked.limit);
        all.extend(found.runs.iter().map(|run| run.position.0));
        cut += usize::from(found.stopped.is_some());
        let last = found.runs.last().filter(|_| found.runs.len() == asked.limit);
        let Some(place) = found.stopped.or(last.map(|last| last.position)) else { return (all, cut) };
        let left = page.up_to.0 - page.after.0;
        match direction {
            Direction::Forward => page.after = place,
            Direction::Backward => page.up_to = Position(place.0 - 1),
        }
        assert!(page.up_to.0 - page.after.0 < left, "it gets nowhere: {asked:?}");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn pages_joined_are_the_runs_that_a_fold_of_everything_finds(pool: PgPool) {
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[5; 32]));
    let steps = prop::collection::vec(step(), 400..401).new_tree(&mut runner).unwrap().current();
    let log = history(&steps);
    write(&pool, &log).await;
    for mut view in views::all(&Reader::new(pool.clone())) {
        if view.name() == invocations::NAME {
            fold(&pool, &mut *view, &[&log], |_| false).await;
        }
    }
    let runs = runs(&log);
    let (mut found, mut cut) = (0, 0);
    let everything =
        Page { direction: Direction::Backward, after: Position::ZERO, up_to: Position(i64::MAX), limit: 1 };
    for _ in 0..200 {
        let asked = asked().new_tree(&mut runner).unwrap().current();
        let (filter, is_wanted) = filter(&asked, &runs);
        let mut wanted: Vec<i64> = runs.iter().filter(|run| is_wanted(run)).map(|run| run.position).collect();
        if !asked.is_forward {
            wanted.reverse();
        }
        let (all, pages_cut) = pages(&pool, &filter, &asked).await;
        assert_eq!(all, wanted, "{filter:?} {asked:?}");
        (found, cut) = (found + all.len(), cut + pages_cut);

        let counted = count(&pool, &filter, everything, Bound::PAGE).await.unwrap();
        assert_eq!(counted, Count::Exactly(wanted.len()), "{filter:?}");
        match count(&pool, &filter, everything, asked.bound).await.unwrap() {
            Count::Exactly(count) => assert_eq!(count, wanted.len(), "{filter:?} {asked:?}"),
            Count::AtLeast(count) => {
                assert_eq!(asked.bound.within, Duration::ZERO);
                assert!(count <= wanted.len(), "{count} of {}", wanted.len());
            }
        }
    }
    assert!(found > 500 && cut > 100, "{found} runs were found, {cut} pages cut");
}
