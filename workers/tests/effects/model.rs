//! Whatever a run does, it sees what a plain map would show, leaves events that lead there, and tells all it has read.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use picloud_workers::sandbox::{Data, DataError};
use proptest::{collection::vec, prelude::*};

use crate::store::{Store, in_seconds, json, now};

const KEYS: [&str; 7] = ["a", "a1", "a12", "a2", "b", "b/ü", "c"];
const PREFIXES: [&str; 5] = ["", "a", "a1", "b", "z"];

/// Numbers live in `n`, where keys are increased, anything in `m`.
#[derive(Clone, Debug)]
enum Op {
    Get { of: &'static str, key: &'static str },
    Set { of: &'static str, key: &'static str, value: String, expires_at: Option<DateTime<Utc>> },
    Delete { of: &'static str, key: &'static str },
    Increment { key: &'static str, by: i64 },
    List { of: &'static str, prefix: &'static str, limit: usize, after: Option<&'static str> },
}

type Model = BTreeMap<(String, String), (String, Option<DateTime<Utc>>)>;

fn collection() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["n", "m"])
}

fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(KEYS.to_vec())
}

fn expiry() -> impl Strategy<Value = Option<DateTime<Utc>>> {
    prop_oneof![4 => Just(None), 1 => Just(Some(in_seconds(9))), 1 => Just(Some(in_seconds(-9)))]
}

fn value(of: &'static str) -> BoxedStrategy<String> {
    if of == "n" { (-9_i64..9).prop_map(|n| n.to_string()).boxed() } else { "\"[a-c]{1,2}\"".boxed() }
}

fn row() -> impl Strategy<Value = (&'static str, &'static str, String, Option<DateTime<Utc>>)> {
    (collection(), key(), expiry()).prop_flat_map(|(of, key, at)| value(of).prop_map(move |v| (of, key, v, at)))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (collection(), key()).prop_map(|(of, key)| Op::Get { of, key }),
        3 => row().prop_map(|(of, key, value, expires_at)| Op::Set { of, key, value, expires_at }),
        2 => (collection(), key()).prop_map(|(of, key)| Op::Delete { of, key }),
        3 => (key(), -9_i64..9).prop_map(|(key, by)| Op::Increment { key, by }),
        2 => (collection(), prop::sample::select(PREFIXES.to_vec()), 1_usize..5, prop::option::of(key()))
            .prop_map(|(of, prefix, limit, after)| Op::List { of, prefix, limit, after }),
    ]
}

fn live(model: &Model, of: &str, key: &str) -> Option<String> {
    let (value, expires_at) = model.get(&(of.into(), key.into()))?;
    expires_at.is_none_or(|at| at > now()).then(|| value.clone())
}

/// What a script is told when it does this to a plain map.
fn expected(model: &mut Model, op: &Op) -> String {
    match op {
        Op::Get { of, key } => format!("{:?}", live(model, of, key)),
        Op::Set { of, key, value, expires_at } => {
            model.insert(((*of).into(), (*key).into()), (value.clone(), *expires_at));
            String::new()
        }
        Op::Delete { of, key } => {
            let was_there = live(model, of, key).is_some();
            model.remove(&((*of).into(), (*key).into()));
            was_there.to_string()
        }
        Op::Increment { key, by } => {
            let before = live(model, "n", key);
            let entry = model.entry(("n".into(), (*key).into())).or_default();
            let sum = before.as_ref().map_or(0, |n| n.parse::<i64>().expect("a number")) + by;
            *entry = (sum.to_string(), before.and(entry.1));
            String::new()
        }
        Op::List { of, prefix, limit, after } => {
            let keys = model.keys().filter(|(c, key)| {
                c == of && key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after)
            });
            let all: Vec<_> =
                keys.filter_map(|(_, key)| live(model, of, key).map(|value| (key.clone(), value))).collect();
            let page = &all[..all.len().min(*limit)];
            let cursor = if all.len() > *limit { page.last().map(|(key, _)| key.clone()) } else { None };
            format!("{page:?} {cursor:?}")
        }
    }
}

/// What a script is told when it does this in a run.
fn told(run: &mut impl Data, op: &Op) -> Result<String, DataError> {
    Ok(match op {
        Op::Get { of, key } => format!("{:?}", run.kv_get(of, key)?.map(|value| value.get().to_owned())),
        Op::Set { of, key, value, expires_at } => {
            run.kv_set(of, key, json(value), *expires_at)?;
            String::new()
        }
        Op::Delete { of, key } => run.kv_delete(of, key)?.to_string(),
        Op::Increment { key, by } => {
            run.kv_increment("n", key, *by)?;
            String::new()
        }
        Op::List { of, prefix, limit, after } => {
            let page = run.kv_list(of, prefix, *limit, *after)?;
            let items: Vec<_> = page.items.iter().map(|(key, value)| (key.clone(), value.get().to_owned())).collect();
            format!("{items:?} {:?}", page.cursor)
        }
    })
}

fn answers(store: &Store, ops: &[Op]) -> Vec<String> {
    let mut run = store.run();
    ops.iter().map(|op| told(&mut run, op).expect("nothing changes meanwhile")).collect()
}

fn stored(rows: &[(&'static str, &'static str, String, Option<DateTime<Utc>>)]) -> Store {
    let store = Store::default();
    for (of, key, value, expires_at) in rows {
        store.lock().set(of, key, json(value), *expires_at);
    }
    store
}

/// What is there, expired or not.
fn contents(store: &Store) -> Model {
    let inner = store.lock();
    let rows = inner.rows.iter().map(|(key, row)| {
        let value = row.value.as_ref().expect("a row has a value").get().to_owned();
        (key.clone(), (value, row.expires_at))
    });
    rows.collect()
}

fn only_live(mut model: Model) -> Model {
    model.retain(|_, (_, expires_at)| expires_at.is_none_or(|at| at > now()));
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_run_sees_and_leaves_what_a_plain_map_would(rows in vec(row(), 0..10), ops in vec(op(), 0..25)) {
        let store = stored(&rows);
        let mut model = contents(&store);
        let mut run = store.run();
        for op in &ops {
            prop_assert_eq!(told(&mut run, op).expect("nothing changes meanwhile"), expected(&mut model, op), "{:?}", op);
        }
        let wanted = run.into_wanted();
        for event in &wanted.events {
            prop_assert!(store.lock().apply(event), "refused: {:?}", event);
        }
        prop_assert_eq!(only_live(contents(&store)), only_live(model));
    }

    #[test]
    fn whatever_would_have_changed_an_answer_makes_a_read_stale(
        rows in vec(row(), 0..10),
        ops in vec(op(), 1..15),
        changed in row(),
        deleted in any::<bool>(),
    ) {
        let store = stored(&rows);
        let mut run = store.run();
        let before: Vec<_> = ops.iter().map(|op| told(&mut run, op).expect("nothing changes meanwhile")).collect();
        let reads = run.into_wanted().reads;
        {
            let (of, key, value, expires_at) = changed;
            let mut inner = store.lock();
            if deleted { inner.delete(of, key) } else { inner.set(of, key, json(&value), expires_at) }
        }
        if answers(&store, &ops) != before {
            let inner = store.lock();
            prop_assert!(reads.iter().any(|read| !inner.holds(read)), "nothing of {:?} is stale", reads);
        }
    }

    #[test]
    fn a_run_amid_changes_sees_one_moment_or_a_conflict(
        rows in vec(row(), 0..8),
        steps in vec((op(), prop::option::weighted(0.3, row())), 1..12),
    ) {
        let store = stored(&rows);
        let mut run = store.run();
        let mut moments = vec![store.copy()];
        let (mut ops, mut seen) = (Vec::new(), Vec::new());
        for (op, change) in steps {
            match told(&mut run, &op) {
                Ok(answer) => seen.push(answer),
                Err(error) => {
                    prop_assert_eq!(error, DataError::Conflict);
                    return Ok(());
                }
            }
            ops.push(op);
            prop_assert!(
                moments.iter().any(|moment| answers(moment, &ops) == seen),
                "{:?} is what {:?} shows at no moment", seen, ops
            );
            if let Some((of, key, value, expires_at)) = change {
                store.lock().set(of, key, json(&value), expires_at);
                moments.push(store.copy());
            }
        }
    }
}
