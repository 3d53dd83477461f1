//! Collections are kept apart, and keys that look like prefixes of others are not mixed up.

use picloud_workers::sandbox::Data;

use crate::store::{Store, json};

#[test]
fn a_listing_shows_one_collection_and_one_prefix() {
    let store = Store::with(&[("a", "1"), ("a/1", "1"), ("b", "1")]);
    store.lock().set("other", "a/0", json("1"), None);
    let mut run = store.run();
    run.kv_set("other", "a/3", json("1"), None).expect("writable");
    run.kv_set("c", "a/2", json("1"), None).expect("writable");
    let page = run.kv_list("c", "a/", 10, None).expect("readable");
    let keys: Vec<_> = page.items.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["a/1", "a/2"]);
}

#[test]
fn a_cursor_outside_the_prefix_is_only_a_place_in_the_order() {
    let store = Store::with(&[("a", "1"), ("b1", "1"), ("b2", "1"), ("c", "1")]);
    let mut run = store.run();
    let mut keys = |cursor| {
        let page = run.kv_list("c", "b", 10, Some(cursor)).expect("readable");
        page.items.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(keys("a"), ["b1", "b2"]);
    assert_eq!(keys("b1"), ["b2"]);
    assert!(keys("c").is_empty());
}
