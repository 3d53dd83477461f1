//! Reads, writes and bytes are counted against the run's limits.

use picloud_core::limits::Limits;
use picloud_workers::sandbox::{Data, DataError};

use crate::store::{Store, json};

fn limit(result: Result<(), DataError>) -> (&'static str, String) {
    match result.expect_err("over its limit") {
        DataError::Limit { name, message } => (name, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_listed_item_counts_as_a_read_and_a_repeated_read_does_not() {
    let store = Store::with(&[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")]);
    let mut run = store.run_within(&Limits { max_reads: 3, ..Limits::DEFAULT });
    for _ in 0..5 {
        run.kv_get("c", "a").expect("once");
    }
    assert_eq!(run.kv_list("c", "b", 2, None).expect("one").items.len(), 1);
    run.kv_get("c", "b").expect("listed");
    run.kv_get("c", "c").expect("the third");
    let (name, message) = limit(run.kv_get("c", "d").map(drop));
    assert_eq!((name, message.as_str()), ("max_reads", "the run wants 4 reads of stored data: `max_reads` allows 3"));
}

#[test]
fn a_listing_of_as_many_as_may_be_read_is_allowed_and_of_more_is_not() {
    let store = Store::with(&[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")]);
    let limits = Limits { max_reads: 3, ..Limits::DEFAULT };
    let page = store.run_within(&limits).kv_list("c", "", 3, None).expect("as many as allowed");
    assert_eq!(page.cursor.as_deref(), Some("c"));
    assert_eq!(limit(store.run_within(&limits).kv_list("c", "", 100, None).map(drop)).0, "max_reads");
}

#[test]
fn every_call_that_writes_counts() {
    let mut run = Store::default().run_within(&Limits { max_writes: 3, ..Limits::DEFAULT });
    run.kv_set("c", "a", json("1"), None).expect("one");
    run.kv_increment("c", "a", 1).expect("two");
    run.kv_delete("c", "missing").expect("three");
    assert_eq!(limit(run.kv_set("c", "a", json("1"), None)).0, "max_writes");
}

#[test]
fn only_what_is_left_to_commit_counts_as_its_bytes() {
    let kib = json(&format!("\"{}\"", "x".repeat(1022)));
    let mut run = Store::default().run_within(&Limits { max_commit_bytes: 2500, ..Limits::DEFAULT });
    for _ in 0..10 {
        run.kv_set("c", "same", kib.clone(), None).expect("one KiB");
    }
    run.kv_set("c", "other", kib.clone(), None).expect("two KiB");
    run.kv_delete("c", "other").expect("one KiB again");
    run.kv_set("c", "third", kib.clone(), None).expect("two KiB");
    assert_eq!(limit(run.kv_set("c", "fourth", kib, None)).0, "max_commit_bytes");
}
