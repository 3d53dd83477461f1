//! Dead letters in a run: its own decisions show at once, and nobody decides twice.

use picloud_core::{
    event::{
        Actor, Event,
        dead_letter::{Closing, Created, Reason},
        outbox::Source,
    },
    id::{DataKeyId, DeadLetterId, InvocationId, OutboxId, ScriptId},
    keys::Sealed,
    limits::Limits,
    log::{Position, Read},
    retry::RetryPolicy,
    run::Record,
};
use picloud_projections::dead_letters::{Letter, Resolved};
use picloud_workers::{
    effects::Effects,
    sandbox::{Data, DataError, LetterQuery},
};
use serde_json::value::RawValue;

use crate::store::{Store, json, now};

const ALL: LetterQuery = LetterQuery {
    is_unresolved: false,
    resolution: None,
    script: None,
    source: None,
    reason: None,
    fingerprint: None,
    after: None,
    limit: 100,
};

fn letter(error: &str) -> Letter {
    Letter {
        created: Created {
            dead_letter: DeadLetterId::generate(),
            item: OutboxId::generate(),
            source: Source::Invoke,
            script: ScriptId::generate(),
            script_name: "mail".to_owned(),
            version: None,
            lane: Some("lane".to_owned()),
            priority: 3,
            retry: RetryPolicy::default(),
            enqueued_at: now(),
            reason: Reason::AttemptsExhausted,
            error: error.to_owned(),
            fingerprint: format!("mail: {error}"),
            attempts: Vec::new(),
            payload: Sealed { key_id: DataKeyId::generate(), nonce: String::new(), ciphertext: String::new() },
        },
        actor: Actor::SYSTEM,
        root: Some(InvocationId::generate()),
        depth: 3,
        created_at: now(),
        resolved: None,
        position: Position(1),
    }
}

/// Data with these letters, the oldest first.
fn store<const N: usize>(errors: [&str; N]) -> (Store, [DeadLetterId; N]) {
    let store = Store::default();
    store.lock().head = Position(1);
    let mut ids = errors.map(|_| DeadLetterId::generate());
    // Within a millisecond they come in any order.
    ids.sort_unstable();
    for (id, error) in ids.into_iter().zip(errors) {
        let mut letter = letter(error);
        letter.created.dead_letter = id;
        store.lock().letters.insert(id, letter);
    }
    (store, ids)
}

fn close(store: &Store, id: DeadLetterId, resolution: &str) {
    let mut inner = store.lock();
    inner.head = inner.head.plus(1);
    let head = inner.head;
    let letter = inner.letters.get_mut(&id).expect("it is there");
    let by = Some(Actor { id: Some("key_other".to_owned()), ..Actor::SYSTEM });
    letter.resolved =
        Some(Resolved { resolution: resolution.to_owned(), at: now(), by, why: None, replay: None, job: None });
    letter.position = head;
}

fn shown(run: &mut Effects<Store>, id: DeadLetterId) -> serde_json::Value {
    let letter = run.letter(id).expect("readable").expect("it is there");
    serde_json::from_str(letter.get()).expect("JSON")
}

fn errors(run: &mut Effects<Store>, wanted: LetterQuery) -> (Vec<String>, Option<DeadLetterId>) {
    let page = run.letters(wanted).expect("readable");
    let error = |letter: &RawValue| {
        let letter: serde_json::Value = serde_json::from_str(letter.get()).expect("JSON");
        letter["error"].as_str().expect("a text").to_owned()
    };
    (page.items.iter().map(|letter| error(letter)).collect(), page.cursor)
}

fn refused<T>(result: Result<T, DataError>) -> String {
    match result.map(drop).expect_err("it is refused") {
        DataError::Refused(message) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_replay_is_two_events_in_their_place_and_the_item_is_in_the_name_that_it_was_in() {
    let (store, [id]) = store(["boom"]);
    let mut run = store.run();
    run.publish("first", json("1")).expect("said");
    let item = OutboxId::generate();
    run.replay_letter(id, item, None).expect("it is open");
    run.publish("last", json("1")).expect("said");
    let wanted = run.into_wanted();
    assert!(matches!(wanted.reads[..], [Read::DeadLetter { dead_letter, version: Position(1) }] if dead_letter == id));
    let [_, Event::DeadLetterReplayed(replayed), Event::OutboxEnqueued(owed), _] = &wanted.events[..] else {
        panic!("{:?}", wanted.events)
    };
    assert_eq!((replayed.dead_letter, replayed.item, replayed.is_edited, replayed.version), (id, item, false, None));
    assert_eq!((owed.item, owed.replay_of, owed.lane.as_deref(), owed.priority), (item, Some(id), Some("lane"), 3));
    let origin = &wanted.origins[&item];
    assert_eq!((&origin.actor, origin.root, origin.depth), (&Actor::SYSTEM, store.lock().letters[&id].root, 3));
}

#[test]
fn what_the_run_decided_shows_at_once_and_is_decided() {
    let (store, [one, two]) = store(["boom", "bang"]);
    let mut run = store.run();
    let item = OutboxId::generate();
    run.replay_letter(one, item, None).expect("it is open");
    run.resolve_letter(two, "refunded".to_owned()).expect("it is open");
    let (first, second) = (shown(&mut run, one), shown(&mut run, two));
    assert_eq!((&first["resolution"], &first["replay"]), (&"replayed".into(), &item.to_string().into()));
    assert_eq!((&second["resolution"], &second["resolved_why"]), (&"handled_by_script".into(), &"refunded".into()));
    assert_eq!(second["resolved_by"], "key_run");
    for again in [run.replay_letter(one, item, None), run.resolve_letter(one, "again".to_owned())] {
        assert_eq!(refused(again), format!("`{one}` was closed as `replayed` by key_run at 2023-11-14T22:13:20Z"));
    }
    let events = run.into_wanted().events;
    let Event::DeadLetterResolved(resolved) = &events[2] else { panic!("{events:?}") };
    assert_eq!((resolved.resolution, resolved.reason.as_deref()), (Closing::HandledByScript, Some("refunded")));
}

#[test]
fn a_letter_that_is_closed_says_by_whom_and_one_whose_handler_failed_is_open() {
    let (store, [one, two]) = store(["boom", "bang"]);
    close(&store, one, "ignored");
    close(&store, two, "handler_failed");
    let mut run = store.run();
    let says = format!("`{one}` was closed as `ignored` by key_other at 2023-11-14T22:13:20Z");
    assert_eq!(refused(run.resolve_letter(one, "why".to_owned())), says);
    run.resolve_letter(two, "why".to_owned()).expect("nobody has taken care of it");
    let none = DeadLetterId::generate();
    assert_eq!(
        refused(run.replay_letter(none, OutboxId::generate(), None)),
        format!("there is no dead letter `{none}`")
    );
    assert_eq!(run.letter(none).expect("readable").map(drop), None);
}

#[test]
fn lists_have_the_runs_own_decisions_in_them() {
    let (store, ids) = store(["a", "b", "c", "d", "e"]);
    close(&store, ids[0], "handled_by_script");
    let mut run = store.run();
    run.resolve_letter(ids[3], "why".to_owned()).expect("it is open");
    let open = || LetterQuery { is_unresolved: true, limit: 2, ..ALL };
    let (first, cursor) = errors(&mut run, open());
    assert_eq!((first, cursor), (vec!["e".to_owned(), "c".to_owned()], Some(ids[2])));
    let (second, cursor) = errors(&mut run, LetterQuery { after: cursor, ..open() });
    assert_eq!((second, cursor), (vec!["b".to_owned()], None));
    let handled = LetterQuery { resolution: Some("handled_by_script".to_owned()), ..ALL };
    assert_eq!(errors(&mut run, handled).0, ["d", "a"]);
    assert_eq!(errors(&mut run, LetterQuery { fingerprint: Some("mail: b".to_owned()), ..ALL }).0, ["b"]);
    let unknown = LetterQuery { script: Some("none".to_owned()), ..ALL };
    assert_eq!(refused(run.letters(unknown)), "there is no script `none`");
    assert_eq!(run.reads().len(), 5, "each that was seen is to be checked, once");
}

#[test]
fn a_letter_reads_the_same_throughout_the_run_and_is_checked() {
    let (store, [id]) = store(["boom"]);
    let mut run = store.run();
    assert_eq!(shown(&mut run, id)["resolution"], serde_json::Value::Null);
    close(&store, id, "ignored");
    assert_eq!(shown(&mut run, id)["resolution"], serde_json::Value::Null);
    assert_eq!(run.validate(), Err(DataError::Conflict));
    assert_eq!(run.letters(ALL).map(drop), Err(DataError::Conflict));
}

#[test]
fn a_payload_can_be_changed_into_what_a_run_can_get_and_nothing_else() {
    let (store, [id]) = store(["erased"]);
    let mut run = store.run();
    let replay = |run: &mut Effects<Store>, payload: Option<&str>| {
        run.replay_letter(id, OutboxId::generate(), payload.map(json))
    };
    assert_eq!(shown(&mut run, id)["payload"], serde_json::Value::Null);
    assert!(refused(replay(&mut run, None)).starts_with("what `dl_"));
    for wrong in ["{}", "[1]", r#"{"request":{}}"#] {
        assert!(refused(replay(&mut run, Some(wrong))).starts_with("`payload` is not of the shape"), "{wrong}");
    }
    replay(&mut run, Some(r#"{"event":{"id":2}}"#)).expect("an event");
    let events = run.into_wanted().events;
    let [Event::DeadLetterReplayed(replayed), Event::OutboxEnqueued(owed)] = &events[..] else { panic!("{events:?}") };
    assert!(replayed.is_edited);
    let payload = serde_json::to_string(&owed.payload).expect("plain data");
    assert_eq!(payload, r#"{"event":{"id":2}}"#);
}

#[test]
fn each_decision_is_one_write_and_each_letter_one_read() {
    let (store, [one, two]) = store(["boom", "bang"]);
    let mut run = store.run_within(&Limits { max_writes: 1, max_reads: 1, ..Limits::DEFAULT });
    run.replay_letter(one, OutboxId::generate(), None).expect("one of each");
    let over = run.resolve_letter(two, "why".to_owned()).expect_err("another read");
    assert!(matches!(over, DataError::Limit { name: "max_reads", .. }), "{over:?}");
    let mut run = store.run_within(&Limits { max_writes: 1, ..Limits::DEFAULT });
    run.replay_letter(one, OutboxId::generate(), None).expect("one");
    let over = run.resolve_letter(two, "why".to_owned()).expect_err("another write");
    assert!(matches!(over, DataError::Limit { name: "max_writes", .. }), "{over:?}");
}

#[test]
fn what_a_run_gets_that_can_be_erased_is_in_no_recording() {
    let (store, [id]) = store(["boom"]);
    let mut run = store.run();
    assert!(shown(&mut run, id)["payload"].is_object());
    run.letters(ALL).expect("readable");
    let journal = serde_json::to_value(run.journal(Record::Full)).expect("plain data");
    assert_eq!(journal[0]["dead_letter"]["letter"]["error"], "boom");
    assert_eq!(journal[1]["dead_letters"]["ids"][0], id.to_string());
    assert!(!journal.to_string().contains("payload"), "{journal}");
}
