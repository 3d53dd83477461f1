//! Pages of a search, joined, are what a fold of the whole log finds: wherever it stops.

use std::time::Duration;

use picloud_core::{
    event::{Actor, Class, kv},
    id::{ApiKeyId, AppId, InvocationId, RequestId},
    log::{
        NewEvent, Position, Recorded,
        read::{Bound, Direction, Filter},
    },
};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use sqlx::PgPool;

use super::{
    found::keep,
    partitions::{drop_leaf, segments},
};
use crate::support::{TestNode, completed, created, event, set, started};

/// Events that are searched.
const EVENTS: usize = 150;

/// Something that happens: what, in which app, by whom, in which chain.
#[derive(Clone, Debug)]
struct Step {
    what: usize,
    app: usize,
    actor: usize,
    root: usize,
}

fn step() -> impl Strategy<Value = Step> {
    // Nearly all is of one app, by one actor, in one chain; and there is what never happens.
    let rarely = || prop_oneof![12 => Just(0_usize), 2 => Just(1), 1 => Just(2)];
    (0..8_usize, rarely(), rarely(), rarely()).prop_map(|(what, app, actor, root)| Step { what, app, actor, root })
}

/// Which there are of what events differ by; of each one that nothing is of.
struct Names {
    apps: [AppId; 4],
    actors: [Actor; 4],
    roots: [InvocationId; 4],
}

impl Names {
    fn new() -> Self {
        let key = || Actor::api_key(ApiKeyId::generate(), RequestId::generate(), None);
        Self {
            apps: std::array::from_fn(|_| AppId::generate()),
            actors: std::array::from_fn(|_| key()),
            roots: std::array::from_fn(|_| InvocationId::generate()),
        }
    }

    fn event(&self, step: &Step, node: &TestNode) -> NewEvent {
        let app = self.apps[step.app];
        let root = self.roots[step.root];
        let said = match step.what {
            0..3 => set(app, &step.what.to_string(), "1"),
            3 => event(app, kv::Deleted { collection: "c".into(), key: "k".into() }),
            4..6 => started(app, InvocationId::generate(), node.epoch()),
            6 => completed(app, root),
            _ => created(AppId::generate(), &AppId::generate().to_string().to_lowercase()),
        };
        let actor = &self.actors[step.actor];
        NewEvent { actor_json: serde_json::to_string(actor).unwrap().into(), actor: actor.clone(), ..said }
            .following(None, root, 1)
    }

    fn filter(&self, asked: &Asked, log: &[Recorded]) -> Filter {
        let kinds: [&[&str]; 6] =
            [&[], &["kv"], &["kv.deleted", "invocation"], &["app.created"], &["mail"], &["kv.set"]];
        let subjects = [None, Some("kv:c/k".to_owned()), Some("kv:c/none".to_owned()), Some(self.roots[1].to_string())];
        let at = |n: Option<usize>| n.map(|n| log[n % log.len()].at);
        Filter {
            app: asked.app.map(|n| Some(self.apps[n])),
            classes: Class::ALL[asked.classes..].to_vec(),
            kinds: kinds[asked.kinds].iter().map(ToString::to_string).collect(),
            subject: subjects[asked.subject].clone(),
            actor: asked.actor.and_then(|n| self.actors[n].id.clone()),
            root: asked.root.map(|n| self.roots[n].uuid()),
            since: at(asked.since),
            until: at(asked.until),
        }
    }
}

/// What is searched for, in how many steps.
#[derive(Clone, Debug)]
struct Asked {
    app: Option<usize>,
    classes: usize,
    kinds: usize,
    subject: usize,
    actor: Option<usize>,
    root: Option<usize>,
    since: Option<usize>,
    until: Option<usize>,
    is_forward: bool,
    after: i64,
    limit: usize,
    bound: Bound,
}

fn asked() -> impl Strategy<Value = Asked> {
    let one_of = || prop_oneof![2 => Just(None), 1 => (0..4_usize).prop_map(Some)];
    let time = || prop_oneof![4 => Just(None), 1 => any::<usize>().prop_map(Some)];
    let bound = (any::<bool>(), 1..40_i64, 0..40_i64).prop_map(|(is_patient, first, more)| Bound {
        within: if is_patient { Duration::from_secs(3_600) } else { Duration::ZERO },
        first,
        most: first + more,
    });
    let subject = prop_oneof![3 => Just(0), 1 => 1..4_usize];
    let classes = prop_oneof![3 => Just(0), 2 => 1..=Class::ALL.len()];
    let which = (one_of(), classes, 0..6_usize, subject, one_of(), one_of(), time(), time());
    let after = prop_oneof![2 => Just(0), 1 => 0..EVENTS as i64];
    (which, any::<bool>(), after, 1..9_usize, bound).prop_map(|(which, is_forward, after, limit, bound)| {
        let (app, classes, kinds, subject, actor, root, since, until) = which;
        Asked { app, classes, kinds, subject, actor, root, since, until, is_forward, after, limit, bound }
    })
}

/// What was seen of searches that had no time.
#[derive(Debug, Default)]
struct Stopped {
    empty: usize,
    begun: usize,
}

/// All pages of a search, joined.
async fn pages(node: &TestNode, filter: &Filter, asked: &Asked, seen: &mut Stopped) -> Vec<i64> {
    let direction = if asked.is_forward { Direction::Forward } else { Direction::Backward };
    let (mut after, mut up_to) = (Position(asked.after), Position(EVENTS as i64));
    let mut all = Vec::new();
    loop {
        let found = node.reader.search(filter, direction, (after, up_to), asked.limit, asked.bound).await.unwrap();
        assert!(found.events.len() <= asked.limit);
        all.extend(found.events.iter().map(|event| event.position.0));
        if found.stopped.is_some() {
            assert_eq!(asked.bound.within, Duration::ZERO, "there was time");
            *(if found.events.is_empty() { &mut seen.empty } else { &mut seen.begun }) += 1;
        }
        let last = found.events.last().filter(|_| found.events.len() == asked.limit);
        let Some(place) = found.stopped.or(last.map(|last| last.position)) else { return all };
        let left = up_to.0 - after.0;
        match direction {
            Direction::Forward => after = place,
            Direction::Backward => up_to = Position(place.0 - 1),
        }
        assert!(up_to.0 - after.0 < left, "it gets nowhere: {asked:?}");
    }
}

async fn assert_pages_are_what_a_fold_finds(node: &TestNode, names: &Names, runner: &mut TestRunner) -> Stopped {
    let mut seen = Stopped::default();
    let log = node.log().await;
    for _ in 0..120 {
        let asked = asked().new_tree(runner).unwrap().current();
        let filter = names.filter(&asked, &log);
        let within = log.iter().filter(|event| event.position.0 > asked.after && filter.matches(event));
        let mut wanted: Vec<i64> = within.map(|event| event.position.0).collect();
        if !asked.is_forward {
            wanted.reverse();
        }
        assert_eq!(pages(node, &filter, &asked, &mut seen).await, wanted, "{filter:?} {asked:?}");
    }
    seen
}

#[sqlx::test(migrations = "../migrations")]
async fn pages_joined_are_what_a_fold_of_everything_finds(database: PgPool) {
    segments(&database, &[9, 30, 11, 70, 100_000]).await;
    let node = TestNode::start(&database).await;
    let names = Names::new();
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[3; 32]));
    let steps = prop::collection::vec(step(), EVENTS).new_tree(&mut runner).unwrap().current();
    for commit in steps.chunks(7) {
        node.commit(commit.iter().map(|step| names.event(step, &node)).collect()).await.unwrap();
    }
    let seen = assert_pages_are_what_a_fold_finds(&node, &names, &mut runner).await;
    assert!(seen.empty > 50 && seen.begun > 50, "{seen:?}");

    // Of some segments something is gone, and the first is gone as a whole.
    for (class, low) in [("config", 1), ("data", 1), ("run", 1), ("run", 10), ("data", 40)] {
        drop_leaf(&database, class, low).await;
    }
    assert_pages_are_what_a_fold_finds(&node, &names, &mut runner).await;

    // What is closed gets indexes.
    keep(&node).await;
    assert_pages_are_what_a_fold_finds(&node, &names, &mut runner).await;
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_indexes_find_is_in_the_order_of_the_log(database: PgPool) {
    // A segment about the boundary between two buckets, of each of which it has a part; what was before it is gone.
    segments(&database, &[60_000, 12_000, 100_000]).await;
    sqlx::query("update log.meta set floor = 60000").execute(&database).await.unwrap();
    let node = TestNode::start(&database).await;
    let names = Names::new();
    let steps: Vec<Step> = (0..14_000)
        .map(|n| {
            let (is_rare, is_rarer) = (n % 500 == 7, n % 6_000 == 7);
            let which = usize::from(is_rare) + usize::from(is_rarer);
            Step { what: 3 + which % 2, app: which, actor: which, root: which }
        })
        .collect();
    for commit in steps.chunks(2_000) {
        node.commit(commit.iter().map(|step| names.event(step, &node)).collect()).await.unwrap();
    }
    keep(&node).await;
    let log = node.log().await;
    let app = |which: usize| Filter { app: Some(Some(names.apps[which])), ..Filter::default() };
    let actor = |which: usize| Filter { actor: names.actors[which].id.clone(), ..Filter::default() };
    let kinds = |kind: &str, of: Filter| Filter { kinds: vec![kind.to_owned()], ..of };
    let root = Filter { root: Some(names.roots[1].uuid()), ..Filter::default() };
    let subject = Filter { subject: Some("kv:c/k".to_owned()), ..Filter::default() };
    let often = [app(0), actor(0), kinds("kv.deleted", app(0)), subject.clone()];
    let rare =
        [app(1), actor(1), actor(2), actor(3), kinds("invocation", Filter::default()), root, kinds("kv", app(2))];
    for filter in often.into_iter().chain(rare) {
        for direction in [Direction::Forward, Direction::Backward] {
            for (after, up_to) in [(0, 74_000), (62_000, 71_000), (65_400, 65_600)] {
                let within = log.iter().filter(|event| (after + 1..=up_to).contains(&event.position.0));
                let mut wanted: Vec<i64> =
                    within.filter(|event| filter.matches(event)).map(|event| event.position.0).collect();
                if direction == Direction::Backward {
                    wanted.reverse();
                }
                for limit in [3, 30] {
                    let found = node.reader.list(&filter, direction, Position(after), Position(up_to), limit);
                    let found: Vec<i64> = found.await.unwrap().iter().map(|event| event.position.0).collect();
                    let wanted = &wanted[..limit.min(wanted.len())];
                    assert_eq!(found, wanted, "{filter:?} {direction:?} {after}..={up_to} {limit}");
                }
            }
        }
    }
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn where_a_search_stopped_is_about_a_time(database: PgPool) {
    segments(&database, &[9, 100]).await;
    let node = TestNode::start(&database).await;
    for n in 0..20 {
        node.commit(vec![set(AppId::generate(), &n.to_string(), "1")]).await.unwrap();
    }
    let log = node.log().await;
    let head = Position(20);
    for place in [1, 9, 10, 20] {
        let near = node.reader.time_near(Position(place), head).await.unwrap();
        assert_eq!(near, Some(log[place as usize - 1].at), "{place}");
    }
    // Behind all there is.
    assert_eq!(node.reader.time_near(Position(21), head).await.unwrap(), Some(log[19].at));
    drop_leaf(&database, "data", 1).await;
    assert_eq!(node.reader.time_near(Position(3), head).await.unwrap(), Some(log[9].at));
    node.stop().await;
}
