//! State is the fold of the log, however what happened was cut into commits and batches.

use std::collections::BTreeMap;

use picloud_core::{event::Event, id::AppId, log::NewEvent};
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    strategy::ValueTree as _,
    test_runner::{Config, TestRunner},
};
use sqlx::PgPool;

use crate::support::{TestNode, delete, increase, set, set_for, soon};

#[derive(Clone, Copy, Debug)]
enum Step {
    Set(&'static str, &'static str),
    SetFor(&'static str, &'static str, i64),
    Increase(&'static str, i64),
    Delete(&'static str),
}

impl Step {
    fn event(self, app: AppId) -> NewEvent {
        match self {
            Self::Set(key, value) => set(app, key, value),
            Self::SetFor(key, value, seconds) => set_for(app, key, value, seconds),
            Self::Increase(key, by) => increase(app, key, by),
            Self::Delete(key) => delete(app, key),
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let key = || select(vec!["a", "b", "c"]);
    let number = || select(vec!["0", "12", "-7"]);
    prop_oneof![
        3 => (key(), prop_oneof![3 => number(), 1 => Just(r#""x""#)]).prop_map(|(key, value)| Step::Set(key, value)),
        2 => (key(), number(), select(vec![-3_600, 3_600])).prop_map(|(key, value, s)| Step::SetFor(key, value, s)),
        6 => (key(), -5_i64..100).prop_map(|(key, by)| Step::Increase(key, by)),
        1 => key().prop_map(Step::Delete),
    ]
}

/// A key's value, whether it has an expiry, and the number, from 1, of the event that last changed it.
type Table = BTreeMap<String, (String, bool, i64)>;

/// One event after the other; what is not possible leaves no trace and is not part of the history.
fn history(steps: Vec<Step>) -> (Vec<Step>, Table) {
    let mut table: BTreeMap<String, (String, Option<i64>, i64)> = BTreeMap::new();
    let mut history = Vec::new();
    for step in steps {
        let n = history.len() as i64 + 1;
        match step {
            Step::Set(key, value) => _ = table.insert(key.to_owned(), (value.to_owned(), None, n)),
            Step::SetFor(key, value, s) => _ = table.insert(key.to_owned(), (value.to_owned(), Some(s), n)),
            Step::Delete(key) => _ = table.remove(key),
            Step::Increase(key, by) => {
                let living = table.get(key).filter(|(_, expiry, _)| expiry.is_none_or(|s| s > 0));
                let (value, expiry) = living.map_or(("0", None), |(value, expiry, _)| (value, *expiry));
                let Ok(value) = value.parse::<i64>() else { continue };
                table.insert(key.to_owned(), ((value + by).to_string(), expiry, n));
            }
        }
        history.push(step);
    }
    (history, table.into_iter().map(|(key, (value, expiry, n))| (key, (value, expiry.is_some(), n))).collect())
}

#[sqlx::test(migrations = "../migrations")]
async fn however_a_history_is_cut_state_is_the_same(database: PgPool) {
    let node = TestNode::start(&database).await;
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..40 {
        let steps = vec(step(), 1..60).new_tree(&mut runner).unwrap().current();
        let cuts = vec(1_usize..16, 60).new_tree(&mut runner).unwrap().current();
        let at_once = bool::arbitrary().new_tree(&mut runner).unwrap().current();
        let (history, wanted) = history(steps);
        let app = AppId::generate();

        let mut rest = &history[..];
        let mut commits = Vec::new();
        for cut in cuts {
            let (commit, later) = rest.split_at(cut.min(rest.len()));
            rest = later;
            if !commit.is_empty() {
                commits.push(commit.iter().map(|step| step.event(app)).collect::<Vec<_>>());
            }
        }
        let first = node.committer.head().0;
        if at_once {
            // The committer makes batches of them as it likes; an app's own commits keep their order.
            let all = commits.into_iter().map(|events| node.committer.commit(node.committing(events)));
            for answer in soon(futures::future::join_all(all)).await {
                answer.unwrap_or_else(|error| panic!("{error}: {history:?}"));
            }
        } else {
            for events in commits {
                node.commit(events).await.unwrap_or_else(|error| panic!("{error}: {history:?}"));
            }
        }

        let rows: Vec<(String, String, bool, i64)> =
            sqlx::query_as("select key, value::text, expires_at is not null, position from state.kv where app_id = $1")
                .bind(app.uuid())
                .fetch_all(&database)
                .await
                .unwrap();
        let found: Table =
            rows.into_iter().map(|(key, value, expires, position)| (key, (value, expires, position - first))).collect();
        assert_eq!(found, wanted, "{history:?}");
    }
    // And the log tells the same story from its beginning.
    assert!(
        node.log().await.iter().all(|event| {
            matches!(event.event.event, Event::KvSet(_) | Event::KvIncreased(_) | Event::KvDeleted(_))
        })
    );
    node.stop().await;
}
