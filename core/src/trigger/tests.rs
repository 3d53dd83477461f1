use chrono::DateTime;
use proptest::prelude::*;
use serde_json::{json, value::RawValue};

use super::*;
use crate::{
    event::{
        Actor, cron as fired, kv as written, message,
        outbox::{Enqueued, Payload, Source},
    },
    id::{AppId, InvocationId, OutboxId, ScriptId},
    log::{NewEvent, Position},
    retry::RetryPolicy,
};

fn when(json: Value) -> When {
    serde_json::from_value(json).expect("a trigger")
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("JSON")
}

fn matcher(when: When) -> Matcher {
    Matcher { trigger: TriggerId::generate(), when, script: ScriptId::generate(), retry: RetryPolicy::default() }
}

/// What an event of an app owes by one trigger of the app.
fn owed(json: Value, event: impl Into<Event>) -> Vec<NewEvent> {
    let app = AppId::generate();
    let triggers = Triggers::new(Position(1), [(app, matcher(when(json)))]);
    triggers.owed(&NewEvent::new(Some(app), &Actor::SYSTEM, event)).collect()
}

fn item(owed: &[NewEvent]) -> &Enqueued {
    let [NewEvent { event: Event::OutboxEnqueued(enqueued), .. }] = owed else { panic!("one item: {owed:?}") };
    enqueued
}

fn seen(owed: &[NewEvent]) -> Value {
    let Payload::Event(event) = &item(owed).payload else { panic!("an event") };
    serde_json::from_str(event.get()).expect("JSON")
}

fn set(collection: &str, value: &str) -> written::Set {
    written::Set { collection: collection.to_owned(), key: "k".to_owned(), value: raw(value), expires_at: None }
}

fn sent(key: Option<&str>) -> message::Sent {
    let key = key.map(str::to_owned);
    message::Sent { queue: "mail".to_owned(), message: raw("{\"n\":1}"), key, priority: 3, due_at: None }
}

#[test]
fn a_write_that_fits_owes_one_run_that_sees_it() {
    let owed = owed(json!({ "kind": "kv", "collection": "cart*" }), set("carts", "{\"n\":1}"));
    let seen = seen(&owed);
    assert_eq!(seen["kv"], json!({ "op": "set", "collection": "carts", "key": "k", "value": { "n": 1 } }));
    assert_eq!(seen["kind"], "kv");
    assert_eq!(seen["id"], owed[0].cause.expect("what it follows from").to_string());
    assert!(item(&owed).lane.is_none());
}

#[test]
fn what_does_not_fit_owes_nothing() {
    assert!(owed(json!({ "kind": "kv", "collection": "carts" }), set("carts2", "1")).is_empty());
    assert!(owed(json!({ "kind": "kv", "collection": "*", "ops": ["delete"] }), set("carts", "1")).is_empty());
    let deleted = written::Deleted { collection: "carts".to_owned(), key: "k".to_owned() };
    assert_eq!(owed(json!({ "kind": "kv", "collection": "*", "ops": ["delete"] }), deleted).len(), 1);
    let published = message::Published { topic: "orders.paid".to_owned(), message: raw("1") };
    assert!(owed(json!({ "kind": "topic", "topic": "orders.p.*" }), published.clone()).is_empty());
    assert!(owed(json!({ "kind": "kv", "collection": "*" }), published).is_empty());
}

#[test]
fn triggers_of_another_app_are_another_apps() {
    let triggers =
        Triggers::new(Position(1), [(AppId::generate(), matcher(when(json!({ "kind": "topic", "topic": "*" }))))]);
    let published = message::Published { topic: "orders".to_owned(), message: raw("1") };
    let event = NewEvent::new(Some(AppId::generate()), &Actor::SYSTEM, published);
    assert_eq!(triggers.owed(&event).count(), 0);
}

#[test]
fn what_is_owed_lies_one_deeper_in_the_same_chain() {
    let app = AppId::generate();
    let triggers = Triggers::new(Position(1), [(app, matcher(when(json!({ "kind": "kv", "collection": "*" }))))]);
    let root = InvocationId::generate();
    let event = NewEvent::new(Some(app), &Actor::SYSTEM, set("a", "1")).following(None, root, 4);
    let owed: Vec<_> = triggers.owed(&event).collect();
    assert_eq!((owed[0].root, owed[0].depth, owed[0].cause), (Some(root), 5, Some(event.id)));
}

#[test]
fn messages_of_a_key_share_a_lane_of_their_consumer() {
    let queue = json!({ "kind": "queue", "queue": "mail" });
    let owed_with = owed(queue.clone(), sent(Some("ada")));
    let Source::Trigger { trigger } = item(&owed_with).source else { panic!("a trigger") };
    assert_eq!(item(&owed_with).lane.as_deref(), Some(&*format!("{trigger}/ada")));
    assert_eq!(item(&owed_with).priority, 3);
    assert!(item(&owed(queue, sent(None))).lane.is_none());
}

#[test]
fn a_time_fires_its_own_trigger_unless_it_is_passed_over() {
    let matcher = matcher(when(json!({ "kind": "cron", "schedule": "* * * * *" })));
    let app = AppId::generate();
    let fired = |trigger, is_skipped| {
        let fired = fired::Fired { trigger, due_at: DateTime::UNIX_EPOCH, passed_over: 0, is_skipped };
        NewEvent::new(Some(app), &Actor::SYSTEM, fired)
    };
    let triggers = Triggers::new(Position(1), [(app, matcher.clone())]);
    assert_eq!(triggers.owed(&fired(matcher.trigger, false)).count(), 1);
    assert_eq!(triggers.owed(&fired(matcher.trigger, true)).count(), 0);
    assert_eq!(triggers.owed(&fired(TriggerId::generate(), false)).count(), 0);
}

#[test]
fn a_long_value_is_not_copied() {
    let long = format!("\"{}\"", "x".repeat(MAX_COPIED_BYTES));
    let seen = seen(&owed(json!({ "kind": "kv", "collection": "*" }), set("a", &long)));
    assert_eq!(seen["kv"], json!({ "op": "set", "collection": "a", "key": "k", "value_omitted": true }));
}

#[test]
fn what_cannot_be_is_named_with_its_field() {
    for (json, field) in [
        (json!({ "kind": "kv", "collection": "Carts" }), "collection"),
        (json!({ "kind": "kv", "collection": "a*b*" }), "collection"),
        (json!({ "kind": "topic", "topic": "orders*" }), "topic"),
        (json!({ "kind": "topic", "topic": ".*" }), "topic"),
        (json!({ "kind": "queue", "queue": "a b" }), "queue"),
        (json!({ "kind": "cron", "schedule": "* * * *" }), "schedule"),
        (json!({ "kind": "cron", "schedule": "@daily", "time_zone": "Mars/Base" }), "time_zone"),
    ] {
        assert_eq!(when(json.clone()).check().map_err(|invalid| invalid.field), Err(field), "{json}");
    }
    for json in [
        json!({ "kind": "kv", "collection": "*" }),
        json!({ "kind": "kv", "collection": "carts*", "ops": ["set"] }),
        json!({ "kind": "topic", "topic": "orders.*" }),
        json!({ "kind": "topic", "topic": "*" }),
        json!({ "kind": "cron", "schedule": "0 30 2 * * *", "time_zone": "Europe/Berlin" }),
        json!({ "kind": "dead_letter" }),
    ] {
        assert_eq!(when(json.clone()).check(), Ok(()), "{json}");
    }
}

#[test]
fn every_kind_names_all_of_its_fields() {
    for json in [
        json!({ "kind": "kv", "collection": "*", "ops": ["set"] }),
        json!({ "kind": "topic", "topic": "*" }),
        json!({ "kind": "queue", "queue": "mail" }),
        json!({ "kind": "cron", "schedule": "@daily" }),
        json!({
            "kind": "dead_letter",
            "source": "trigger",
            "trigger": TriggerId::generate(),
            "failed_script": ScriptId::generate(),
        }),
    ] {
        let when = when(json);
        let all = serde_json::to_value(&when).expect("JSON");
        let mut said: Vec<_> =
            all.as_object().expect("fields").keys().filter(|name| *name != "kind").cloned().collect();
        let mut known: Vec<_> = When::fields(when.kind()).expect("a kind").iter().map(ToString::to_string).collect();
        said.sort();
        known.sort();
        assert_eq!(said, known, "{}", when.kind());
    }
}

#[test]
fn a_letter_owes_its_handler_by_what_failed() {
    let (script, trigger) = (ScriptId::generate(), TriggerId::generate());
    let letter: crate::event::dead_letter::Created = serde_json::from_value(json!({
        "dead_letter": DeadLetterId::generate(), "item": OutboxId::generate(),
        "source": { "kind": "trigger", "trigger": trigger }, "script": script, "script_name": "mail",
        "retry": RetryPolicy::default(), "enqueued_at": DateTime::<Utc>::UNIX_EPOCH, "reason": "gave_up",
        "error": "no", "fingerprint": "mail: no", "attempts": [],
        "payload": { "key_id": "dek_01JB3Q8Z5K7M9N1P3R5T7V9X0A", "nonce": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX", "ciphertext": "" },
    }))
    .expect("a letter");
    let handles = |more: Value| {
        let mut json = json!({ "kind": "dead_letter" });
        json.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
        owed(json, letter.clone()).first().map(|owed| item(std::slice::from_ref(owed)).handles)
    };
    let ours = Some(Some(letter.dead_letter));
    assert_eq!(handles(json!({})), ours);
    assert_eq!(handles(json!({ "source": "trigger", "trigger": trigger, "failed_script": script })), ours);
    assert_eq!(handles(json!({ "source": "async_route" })), None);
    assert_eq!(handles(json!({ "trigger": TriggerId::generate() })), None);
    assert_eq!(handles(json!({ "failed_script": ScriptId::generate() })), None);
}

proptest! {
    /// However patterns lie, no name matches more of them than is said, and some name matches as many.
    #[test]
    fn the_most_that_match_at_once_are_counted(patterns in prop::collection::vec("[ab]{0,3}\\*?", 1..8)) {
        let patterns: Vec<_> = patterns.into_iter().map(Pattern::new).collect();
        let most = Pattern::most_at_once(&patterns.iter().collect::<Vec<_>>());
        let mut names = vec![String::new()];
        for length in 0..4 {
            let longer: Vec<_> = names.iter().filter(|name| name.len() == length)
                .flat_map(|name| [format!("{name}a"), format!("{name}b")]).collect();
            names.extend(longer);
        }
        let counted = names.iter().map(|name| patterns.iter().filter(|pattern| pattern.matches(name)).count()).max();
        prop_assert_eq!(counted, Some(most));
    }
}

#[test]
fn a_sample_fits_what_its_trigger_waits_for_and_is_owed_like_what_happened() {
    let app = AppId::generate();
    for json in [
        json!({ "kind": "kv", "collection": "cart*", "ops": ["increment"] }),
        json!({ "kind": "topic", "topic": "orders.*" }),
        json!({ "kind": "queue", "queue": "mail" }),
        json!({ "kind": "cron", "schedule": "@daily" }),
        json!({ "kind": "dead_letter", "failed_script": ScriptId::generate() }),
    ] {
        let matcher = matcher(when(json));
        let sample = matcher.when.sample(DateTime::UNIX_EPOCH);
        let (_, tried) = matcher.tried_out(app, &Actor::SYSTEM, &sample);
        let seen = seen(std::slice::from_ref(&tried));
        let kind = matcher.when.kind();
        assert_eq!((seen["kind"].as_str(), &seen[kind]), (Some(kind), &sample));
        assert_eq!(seen["id"], tried.id.to_string());
        let enqueued = item(std::slice::from_ref(&tried));
        assert_eq!(enqueued.source, Source::Trigger { trigger: matcher.trigger });
        assert_eq!(enqueued.lane.is_some(), kind == "cron", "one of its runs at a time");
        match &matcher.when {
            When::Kv(kv) => assert!(kv.collection.matches(seen["kv"]["collection"].as_str().expect("a name"))),
            When::Topic(topic) => assert!(topic.topic.matches(seen["topic"]["topic"].as_str().expect("a name"))),
            When::Queue(_) | When::Cron(_) | When::DeadLetter(_) => {}
        }
    }
}

#[test]
fn what_is_tried_out_under_a_key_waits_its_turn() {
    let matcher = matcher(when(json!({ "kind": "queue", "queue": "mail" })));
    let sample = json!({ "queue": "mail", "message": 1, "key": "ada" });
    let (_, tried) = matcher.tried_out(AppId::generate(), &Actor::SYSTEM, &sample);
    assert_eq!(item(&[tried]).lane, Some(format!("{}/ada", matcher.trigger)));
}

#[test]
fn two_that_wait_for_the_same_say_the_same() {
    let selects = |json| when(json).selects();
    assert_eq!(
        selects(json!({ "kind": "kv", "collection": "carts" })),
        selects(json!({ "kind": "kv", "collection": "carts", "ops": ["set"] }))
    );
    let cron = json!({ "kind": "cron", "schedule": "0 3 * * *", "missed": "all" });
    assert_eq!(selects(cron), "0 3 * * * UTC");
    assert_eq!(selects(json!({ "kind": "dead_letter" })), "*");
    assert_eq!(selects(json!({ "kind": "dead_letter", "source": "invoke" })), "invoke");
}
