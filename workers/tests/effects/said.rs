//! What a run says once and for all: in its place among the writes, counted, and nothing of it before the commit.

use picloud_core::{
    event::{Event, message::Sent, outbox::Source},
    id::{OutboxId, ScriptId},
    limits::Limits,
};
use picloud_workers::sandbox::{Data, DataError, Later};

use crate::store::{Store, json};

fn sent(queue: &str) -> Sent {
    Sent { queue: queue.to_owned(), message: json("1"), key: Some("k".to_owned()), priority: 0, due_at: None }
}

fn limit(result: Result<(), DataError>) -> &'static str {
    match result.expect_err("over its limit") {
        DataError::Limit { name, .. } => name,
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_keep_their_place_among_the_last_writes_of_keys() {
    let mut run = Store::default().run();
    run.kv_set("c", "often", json("1"), None).expect("writable");
    run.publish("first", json("1")).expect("said");
    run.kv_set("c", "once", json("1"), None).expect("writable");
    run.send(sent("mail")).expect("said");
    run.publish("first", json("1")).expect("said again, and not instead");
    run.kv_set("c", "often", json("2"), None).expect("writable");
    run.publish("last", json("2")).expect("said");
    let subjects: Vec<String> = run.into_wanted().events.iter().map(Event::subject).collect();
    assert_eq!(subjects, ["topic:first", "kv:c/once", "queue:mail", "topic:first", "kv:c/often", "topic:last"]);
}

#[test]
fn messages_are_writes_of_the_budget_and_bytes_of_the_commit() {
    let mut run = Store::default().run_within(&Limits { max_writes: 3, ..Limits::DEFAULT });
    run.publish("t", json("1")).expect("one");
    run.send(sent("mail")).expect("two");
    run.kv_set("c", "a", json("1"), None).expect("three");
    assert_eq!(limit(run.publish("t", json("1"))), "max_writes");

    let kib = json(&format!("\"{}\"", "x".repeat(1022)));
    let mut run = Store::default().run_within(&Limits { max_commit_bytes: 2500, ..Limits::DEFAULT });
    run.publish("t", kib.clone()).expect("one KiB");
    run.send(Sent { message: kib.clone(), ..sent("mail") }).expect("two KiB");
    assert_eq!(limit(run.publish("t", kib)), "max_commit_bytes");
}

#[test]
fn what_nobody_takes_is_not_sent() {
    let mut run = Store::default().run();
    let refused = run.send(sent("nobodys")).expect_err("nobody takes it");
    assert_eq!(
        refused,
        DataError::Refused(
            "queue::send: nobody takes messages from `nobodys`: create a trigger of kind `queue` for it, or enable one"
                .to_owned()
        )
    );
    assert!(run.into_wanted().events.is_empty());
}

#[test]
fn saying_something_reads_nothing() {
    let store = Store::default();
    let mut run = store.run();
    run.publish("t", json("1")).expect("said");
    run.send(sent("mail")).expect("said");
    assert!(run.reads().is_empty());
    assert_eq!(store.lock().gets, 0);
}

#[test]
fn a_run_that_is_owed_is_said_in_its_place_and_counted() {
    let (item, script) = (OutboxId::generate(), ScriptId::generate());
    let later =
        |args: &str| Later { item, script, args: args.to_owned().into(), key: Some("k".to_owned()), due_at: None };
    let mut run = Store::default().run_within(&Limits { max_writes: 3, max_commit_bytes: 100, ..Limits::DEFAULT });
    run.publish("first", json("1")).expect("said");
    run.invoke_later(later("{}")).expect("owed");
    run.publish("last", json("1")).expect("said");
    assert_eq!(limit(run.invoke_later(later("{}"))), "max_writes");
    let events = run.into_wanted().events;
    let Event::OutboxEnqueued(owed) = &events[1] else { panic!("{events:?}") };
    assert_eq!((owed.item, owed.script, owed.source, owed.is_watched), (item, script, Source::Invoke, false));
    assert_eq!(owed.lane, Some(format!("{script}/k")));

    let mut run = Store::default().run_within(&Limits { max_commit_bytes: 100, ..Limits::DEFAULT });
    assert_eq!(limit(run.invoke_later(later(&"x".repeat(101)))), "max_commit_bytes");
}

#[test]
fn a_script_that_is_paused_may_be_run_later_and_one_that_is_not_there_not_at_all() {
    let mut run = Store::default().run();
    run.target("resting").expect("it waits until it is resumed");
    run.program("work").expect("it may run now");
    let refused = run.program("resting").expect_err("it may not");
    assert_eq!(refused, DataError::Refused("`resting` is paused: resume it".to_owned()));
    assert_eq!(run.target("none").expect_err("none"), DataError::Refused("there is no script `none`".to_owned()));
}
