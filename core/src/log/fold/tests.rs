use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::value::RawValue;

use super::*;
use crate::{log::Position, state::kv::Entry};

const COLLECTION: &str = "things";
const KEYS: [&str; 3] = ["a", "b", "c"];

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + Duration::days(20_000)
}

/// When what is set expires, relative to a batch, whose time stands still.
#[derive(Clone, Copy, Debug)]
enum Expiry {
    Never,
    Past,
    Future,
}

fn event() -> impl Strategy<Value = Event> {
    let numbers = select(vec!["0", "7", "-0", "-5", "9223372036854775807", "-9223372036854775808"]);
    let others = select(vec![r#""x""#, "1.5", "9223372036854775808", "null"]);
    let value = prop_oneof![3 => numbers, 1 => others];
    let expiry = select(vec![Expiry::Never, Expiry::Never, Expiry::Past, Expiry::Future]);
    let by = select(vec![1, 2, -3, 0, 1_000, i64::MAX, i64::MIN, i64::MAX - 1_000]);
    let key = || select(KEYS.to_vec());
    prop_oneof![
        3 => (key(), value, expiry).prop_map(|(key, value, expiry)| {
            let value = RawValue::from_string(value.to_owned()).unwrap();
            let expires_at = match expiry {
                Expiry::Never => None,
                Expiry::Past => Some(now() - Duration::hours(1)),
                Expiry::Future => Some(now() + Duration::hours(1)),
            };
            kv::Set { collection: COLLECTION.into(), key: key.into(), value, expires_at }.into()
        }),
        5 => (key(), by)
            .prop_map(|(key, by)| kv::Increased { collection: COLLECTION.into(), key: key.into(), by }.into()),
        1 => key().prop_map(|key| kv::Deleted { collection: COLLECTION.into(), key: key.into() }.into()),
    ]
}

type Table = BTreeMap<String, Entry>;

/// What an event means, said without batches; whether it was possible.
fn happen(table: &mut Table, event: &Event, position: i32) -> bool {
    match event {
        Event::KvSet(set) => {
            let value = set.value.get().to_owned();
            table.insert(
                set.key.clone(),
                Entry { value, expires_at: set.expires_at, position: Position(position.into()) },
            );
        }
        Event::KvDeleted(deleted) => {
            table.remove(&deleted.key);
        }
        Event::KvIncreased(increased) => {
            let living = table.get(&increased.key).filter(|row| row.expires_at.is_none_or(|expiry| expiry > now()));
            let (before, expires_at) = match living {
                None => (Some(0), None),
                Some(row) => (row.value.parse::<i64>().ok(), row.expires_at),
            };
            let Some(sum) = before.and_then(|before| before.checked_add(increased.by)) else { return false };
            table.insert(
                increased.key.clone(),
                Entry { value: sum.to_string(), expires_at, position: Position(position.into()) },
            );
        }
        _ => unreachable!("no other is made here"),
    }
    true
}

/// What `log.append` does with a batch; whether it lets it in.
fn apply(table: &mut Table, folded: &Folded<'_>, head: i32) -> bool {
    let expired = |expiry: Option<DateTime<Utc>>| expiry.is_some_and(|expiry| expiry <= now());
    for ((_, _, key), last) in &folded.kv {
        let living = table.get(*key).filter(|row| !expired(row.expires_at));
        if let (Some(span), Some(row)) = (last.base, living) {
            let Ok(value) = row.value.parse::<i64>() else { return false };
            if value.checked_add(span.low).is_none() || value.checked_add(span.high).is_none() {
                return false;
            }
        }
    }
    for ((_, _, key), last) in &folded.kv {
        let row = last.write.on(table.remove(*key), Position((head + last.offset).into()), now());
        if let Some(row) = row {
            table.insert((*key).to_owned(), row);
        }
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn however_a_history_is_cut_the_tables_are_the_same(
        events in vec(event(), 1..40),
        cuts in vec(any::<bool>(), 40),
    ) {
        // A history holds only what was possible.
        let mut wanted = Table::new();
        let mut history = Vec::new();
        for event in events {
            if happen(&mut wanted, &event, history.len() as i32 + 1) {
                history.push(event);
            }
        }

        let app = AppId::generate();
        let mut table = Table::new();
        let mut folded = Folded::default();
        let mut head = 0;
        for (n, event) in history.iter().enumerate() {
            let n = n as i32;
            if cuts[n as usize] {
                prop_assert!(apply(&mut table, &folded, head), "a batch of what was possible is let in");
                (folded, head) = (Folded::default(), n);
            }
            if folded.take(Some(app), event, n - head + 1) == Err(CannotFollow) {
                prop_assert!(apply(&mut table, &folded, head), "a batch of what was possible is let in");
                (folded, head) = (Folded::default(), n);
                prop_assert_eq!(folded.take(Some(app), event, 1), Ok(()), "alone, an event always folds");
            }
        }
        prop_assert!(apply(&mut table, &folded, head), "a batch of what was possible is let in");
        prop_assert_eq!(table, wanted);
    }

    #[test]
    fn what_is_not_possible_one_by_one_is_not_possible_at_once(
        before in vec(event(), 0..10),
        batch in vec(event(), 1..10),
    ) {
        let mut table = Table::new();
        for event in &before {
            happen(&mut table, event, 0);
        }
        let app = AppId::generate();
        let mut folded = Folded::default();
        let taken = batch.iter().zip(1..).all(|(event, n)| folded.take(Some(app), event, n).is_ok());
        let let_in = taken && apply(&mut table.clone(), &folded, 0);
        let possible = batch.iter().all(|event| happen(&mut table, event, 0));
        prop_assert!(possible || !let_in, "{folded:?}");
    }
}

#[test]
fn an_event_of_no_app_changes_no_row() {
    let deleted = kv::Deleted { collection: COLLECTION.into(), key: "a".into() }.into();
    let mut folded = Folded::default();
    assert_eq!(folded.take(None, &deleted, 1), Ok(()));
    assert!(folded.kv.is_empty());
}
