//! One run's own writes: seen by itself at once, and one event a key at the end.

use picloud_core::event::Event;
use picloud_workers::{
    effects::Effects,
    sandbox::{Data, DataError},
};

use crate::store::{Store, in_seconds, json};

fn get(run: &mut Effects<Store>, key: &str) -> Option<String> {
    run.kv_get("c", key).expect("readable").map(|value| value.get().to_owned())
}

fn set(run: &mut Effects<Store>, key: &str, value: &str) {
    run.kv_set("c", key, json(value), None).expect("writable");
}

fn increment(run: &mut Effects<Store>, key: &str, by: i64) {
    run.kv_increment("c", key, by).expect("a number");
}

/// `kind key value`, for each event in order.
fn events(run: Effects<Store>) -> Vec<String> {
    let told = |event: &Event| match event {
        Event::KvSet(set) => format!("set {} {}", set.key, set.value.get()),
        Event::KvIncreased(more) => format!("increased {} {}", more.key, more.by),
        Event::KvDeleted(gone) => format!("deleted {}", gone.key),
        other => panic!("no effect: {}", other.kind()),
    };
    run.into_wanted().events.iter().map(told).collect()
}

#[test]
fn a_run_sees_its_own_writes_at_once() {
    let store = Store::with(&[("a", "1"), ("b", "2")]);
    let mut run = store.run();
    set(&mut run, "a", "10");
    increment(&mut run, "a", 5);
    assert_eq!(get(&mut run, "a").as_deref(), Some("15"));
    increment(&mut run, "b", 5);
    assert_eq!(get(&mut run, "b").as_deref(), Some("7"));
    increment(&mut run, "new", 3);
    assert_eq!(get(&mut run, "new").as_deref(), Some("3"));
    assert!(run.kv_delete("c", "b").expect("deletable"));
    assert_eq!(get(&mut run, "b"), None);
    increment(&mut run, "b", 1);
    assert_eq!(get(&mut run, "b").as_deref(), Some("1"));
    assert_eq!(events(run), ["set a 15", "increased new 3", "set b 1"]);
    assert_eq!(store.lock().rows.len(), 2, "nothing is stored before the commit");
}

#[test]
fn a_key_that_is_written_often_makes_one_event_where_it_was_written_last() {
    let mut run = Store::default().run();
    set(&mut run, "a", "0");
    set(&mut run, "b", "0");
    for n in 1..=3 {
        set(&mut run, "a", &n.to_string());
        increment(&mut run, "c", n);
    }
    assert_eq!(events(run), ["set b 0", "set a 3", "increased c 6"]);
}

#[test]
fn writing_blindly_reads_nothing() {
    let store = Store::with(&[("a", "1")]);
    let mut run = store.run();
    set(&mut run, "a", "2");
    increment(&mut run, "b", 1);
    increment(&mut run, "b", 1);
    assert!(run.reads().is_empty());
    assert_eq!(store.lock().gets, 0);
}

#[test]
fn what_is_not_there_needs_no_event_to_go() {
    let store = Store::default();
    let mut run = store.run();
    assert!(!run.kv_delete("c", "a").expect("deletable"));
    set(&mut run, "a", "1");
    assert!(run.kv_delete("c", "a").expect("deletable"));
    assert_eq!(run.reads().len(), 1, "that it was absent is part of the answer");
    assert!(events(run).is_empty());
}

#[test]
fn an_expired_entry_is_absent_and_counts_as_zero() {
    let store = Store::default();
    store.lock().set("c", "old", json("7"), Some(in_seconds(0)));
    store.lock().set("c", "young", json("7"), Some(in_seconds(1)));
    let mut run = store.run();
    assert_eq!(get(&mut run, "old"), None);
    assert_eq!(get(&mut run, "young").as_deref(), Some("7"));
    increment(&mut run, "old", 1);
    assert_eq!(get(&mut run, "old").as_deref(), Some("1"));
    run.kv_set("c", "own", json("1"), Some(in_seconds(-1))).expect("writable");
    assert_eq!(get(&mut run, "own"), None);
}

#[test]
fn an_increase_keeps_the_expiry_of_what_the_run_has_set() {
    let mut run = Store::default().run();
    run.kv_set("c", "a", json("1"), Some(in_seconds(60))).expect("writable");
    increment(&mut run, "a", 1);
    let events = run.into_wanted().events;
    let [Event::KvSet(set)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((set.value.get(), set.expires_at), ("2", Some(in_seconds(60))));
}

fn refused<T>(result: Result<T, DataError>) -> String {
    match result.map(drop).expect_err("no number") {
        DataError::NotANumber(message) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn increasing_what_is_known_to_be_no_integer_ends_the_run() {
    let store = Store::with(&[("text", r#""x""#), ("half", "0.5"), ("last", "9223372036854775807")]);
    // Unseen: the commit's to refuse. Seen before or after: known here.
    let mut run = store.run();
    increment(&mut run, "text", 1);
    assert_eq!(refused(run.kv_get("c", "text")), "kv::increment: `c/text` is no integer");
    assert!(matches!(run.kv_delete("c", "text"), Err(DataError::NotANumber(_))));

    let mut run = store.run();
    get(&mut run, "half");
    assert_eq!(refused(run.kv_increment("c", "half", 1)), "kv::increment: `c/half` is no integer");
    get(&mut run, "last");
    assert_eq!(
        refused(run.kv_increment("c", "last", 1)),
        "kv::increment: `c/last` is 9223372036854775807: 1 more is past the range of integers"
    );

    let mut run = store.run();
    set(&mut run, "own", "[]");
    assert_eq!(refused(run.kv_increment("c", "own", 1)), "kv::increment: `c/own` is no integer");
    increment(&mut run, "sum", i64::MIN);
    refused(run.kv_increment("c", "sum", -1));

    let mut run = store.run();
    increment(&mut run, "text", 1);
    refused(run.kv_list("c", "t", 10, None));
}
