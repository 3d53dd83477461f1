//! A run sees stored data as of one moment, and says what it has seen.

use picloud_core::{
    log::{Position, Read},
    run::Record,
};
use picloud_workers::{
    effects::Effects,
    sandbox::{Data, DataError},
};

use crate::store::{Store, in_seconds, json};

fn get(run: &mut Effects<Store>, key: &str) -> Option<String> {
    run.kv_get("c", key).expect("readable").map(|value| value.get().to_owned())
}

fn keys(run: &mut Effects<Store>, prefix: &str) -> Vec<String> {
    let page = run.kv_list("c", prefix, 100, None).expect("readable");
    page.items.into_iter().map(|(key, _)| key).collect()
}

#[test]
fn a_key_reads_the_same_throughout_the_run() {
    let store = Store::with(&[("a", "1")]);
    let mut run = store.run();
    assert_eq!(get(&mut run, "a").as_deref(), Some("1"));
    store.set("a", "2");
    assert_eq!(get(&mut run, "a").as_deref(), Some("1"));
    assert_eq!(store.lock().gets, 1);
    assert_eq!(run.validate(), Err(DataError::Conflict));
}

#[test]
fn each_key_that_was_read_is_to_be_checked_once_absent_ones_too() {
    let store = Store::with(&[("a", "1")]);
    let mut run = store.run();
    for key in ["a", "b", "a", "b"] {
        get(&mut run, key);
    }
    let versions: Vec<_> = run
        .into_wanted()
        .reads
        .into_iter()
        .map(|read| match read {
            Read::Kv { key, version, .. } => (key, version),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(versions, [("a".to_owned(), Position(1)), ("b".to_owned(), Position::ZERO)]);
}

#[test]
fn a_later_read_of_something_newer_checks_the_earlier_ones() {
    let store = Store::with(&[("a", "1"), ("b", "1")]);
    let mut run = store.run();
    get(&mut run, "a");
    store.set("b", "2");
    assert_eq!(get(&mut run, "b").as_deref(), Some("2"), "what was read before still holds");
    assert_eq!(store.lock().checks, 1);

    let mut run = store.run();
    get(&mut run, "a");
    store.set("a", "2");
    store.set("b", "3");
    assert_eq!(run.kv_get("c", "b").map(drop), Err(DataError::Conflict));
}

#[test]
fn a_key_that_went_meanwhile_is_news_as_well() {
    let store = Store::with(&[("a", "1"), ("b", "1")]);
    let mut run = store.run();
    get(&mut run, "a");
    store.set("a", "2");
    store.delete("b");
    assert_eq!(run.kv_get("c", "b").map(drop), Err(DataError::Conflict));
}

#[test]
fn reading_what_is_old_checks_nothing() {
    let store = Store::with(&[("a", "1"), ("b", "1")]);
    let mut run = store.run();
    get(&mut run, "a");
    store.set("unrelated", "1");
    get(&mut run, "b");
    assert_eq!(store.lock().checks, 0);
}

#[test]
fn a_listing_that_contradicts_an_earlier_read_is_a_conflict() {
    for change in [|store: &Store| store.set("a", "2"), |store: &Store| store.delete("a")] {
        let store = Store::with(&[("a", "1")]);
        let mut run = store.run();
        get(&mut run, "a");
        change(&store);
        assert_eq!(run.kv_list("c", "", 10, None).map(drop), Err(DataError::Conflict));
    }
    let store = Store::with(&[("a", "1")]);
    let mut run = store.run();
    assert_eq!(keys(&mut run, ""), ["a"]);
    store.set("b", "1");
    assert_eq!(run.kv_list("c", "", 10, None).map(drop), Err(DataError::Conflict));
}

#[test]
fn a_listing_covers_the_keys_up_to_the_one_that_says_there_is_more() {
    let store = Store::with(&[("a1", "1"), ("a2", "2"), ("a3", "3"), ("a4", "4")]);
    let mut run = store.run();
    let page = run.kv_list("c", "a", 2, Some("a1")).expect("readable");
    assert_eq!(page.cursor.as_deref(), Some("a3"));
    let reads = run.reads();
    let [Read::KvRange { prefix, after, up_to, as_of, .. }] = reads.as_slice() else { panic!("{reads:?}") };
    assert_eq!((prefix.as_str(), after.as_deref(), up_to.as_deref()), ("a", Some("a1"), Some("a4")));
    assert_eq!(*as_of, Position(4));

    let last = run.kv_list("c", "a", 2, Some("a3")).expect("readable");
    assert_eq!((last.items.len(), last.cursor), (1, None));
    let Some(Read::KvRange { up_to: None, .. }) = run.reads().pop() else { panic!("the last page goes to the end") };
}

#[test]
fn what_was_listed_is_not_read_again() {
    let store = Store::with(&[("a", "1")]);
    let mut run = store.run();
    keys(&mut run, "");
    assert_eq!(get(&mut run, "a").as_deref(), Some("1"));
    assert_eq!(store.lock().gets, 0);
    assert_eq!(run.reads().len(), 1, "the range says it all");
}

#[test]
fn a_page_is_full_although_much_of_what_is_stored_is_gone() {
    let store = Store::default();
    for n in 0..50 {
        let expires_at = (n % 5 != 0).then(|| in_seconds(-1));
        store.lock().set("c", &format!("{n:02}"), json("1"), expires_at);
    }
    let mut run = store.run();
    run.kv_delete("c", "05").expect("deletable");
    let page = run.kv_list("c", "", 4, None).expect("readable");
    let keys: Vec<_> = page.items.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["00", "10", "15", "20"]);
    assert_eq!(page.cursor.as_deref(), Some("20"));
    assert!(run.asked() > 2, "such a page is no picture of one moment");
}

#[test]
fn what_one_question_answers_is_one_moment() {
    let store = Store::with(&[("a", "1"), ("b", "2")]);
    let mut run = store.run();
    assert_eq!(run.asked(), 0);
    keys(&mut run, "");
    get(&mut run, "a");
    run.kv_set("c", "own", json("1"), None).expect("writable");
    get(&mut run, "own");
    assert_eq!(run.asked(), 1);
    get(&mut run, "missing");
    assert_eq!(run.asked(), 2);
}

#[test]
fn the_recording_tells_what_was_read_in_order() {
    let store = Store::with(&[("a", "1"), ("b", "2")]);
    let mut run = store.run();
    get(&mut run, "missing");
    run.kv_set("c", "own", json("1"), None).expect("writable");
    get(&mut run, "own");
    keys(&mut run, "a");
    let journal = serde_json::to_string(&run.journal(Record::Full)).expect("plain data");
    assert_eq!(
        journal,
        concat!(
            r#"[{"kv":{"collection":"c","key":"missing","value":null}},"#,
            r#"{"kv":{"collection":"c","key":"a","value":1}},"#,
            r#"{"kv_range":{"collection":"c","prefix":"a","after":null,"up_to":null,"keys":["a"]}}]"#
        )
    );
}
