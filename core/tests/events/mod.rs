//! What is stored is stored for ever: the examples here are of every kind and vintage, and are never edited.

use std::{collections::BTreeMap, fs, path::Path};

use picloud_core::event::{Class, Event, Undecodable};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

#[derive(Deserialize)]
struct Example {
    kind: String,
    data: Box<RawValue>,
}

/// By file name, `<kind>.<vintage>.json`.
fn examples() -> BTreeMap<String, Example> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/events");
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let example: Example = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            assert!(name.starts_with(&format!("{}.v", example.kind)), "{name} holds a {}", example.kind);
            (name, example)
        })
        .collect()
}

#[test]
fn every_stored_event_reads_and_says_the_same_again() {
    for (name, example) in examples() {
        let event =
            Event::decode(&example.kind, example.data.get()).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(event.kind(), example.kind, "{name}");
        assert_eq!(event.data(), example.data.get(), "{name}");
    }
}

#[test]
fn every_kind_has_an_example() {
    let examples = examples();
    for (kind, _) in Event::KINDS {
        assert!(examples.values().any(|example| example.kind == *kind), "no example of `{kind}`");
    }
}

#[test]
fn a_kind_never_changes_its_class() {
    let pinned = [
        ("alert_channel.set", Class::Config),
        ("alert_channel.removed", Class::Config),
        ("alert.raised", Class::Config),
        ("alert.recovered", Class::Config),
        ("alert.rescheduled", Class::Config),
        ("alert.delivered", Class::Config),
        ("alert.failed", Class::Config),
        ("backup.failed", Class::Config),
        ("seal.sealed", Class::Config),
        ("script.paused", Class::Config),
        ("script.resumed", Class::Config),
        ("trigger.created", Class::Config),
        ("trigger.updated", Class::Config),
        ("trigger.enabled", Class::Config),
        ("trigger.disabled", Class::Config),
        ("trigger.paused", Class::Config),
        ("trigger.resumed", Class::Config),
        ("trigger.deleted", Class::Config),
        ("queue.configured", Class::Config),
        ("queue.paused", Class::Config),
        ("queue.resumed", Class::Config),
        ("topic.registered", Class::Config),
        ("topic.deleted", Class::Config),
        ("topic.key_rotated", Class::Config),
        ("message.published", Class::Data),
        ("message.sent", Class::Data),
        ("cron.fired", Class::Run),
        ("kv.snapshot", Class::Data),
        ("cron.carried_forward", Class::Run),
        ("outbox.carried_forward", Class::Run),
        ("partition.archived", Class::Config),
        ("dead_letter.handler_ended", Class::Config),
        ("app.created", Class::Config),
        ("app.renamed", Class::Config),
        ("app.paused", Class::Config),
        ("app.resumed", Class::Config),
        ("app.deleted", Class::Config),
        ("app.purged", Class::Config),
        ("account.created", Class::Config),
        ("account.renamed", Class::Config),
        ("account.email_changed", Class::Config),
        ("account.role_granted", Class::Config),
        ("account.link_issued", Class::Config),
        ("account.password_set", Class::Config),
        ("account.totp_enabled", Class::Config),
        ("account.totp_disabled", Class::Config),
        ("account.recovery_code_used", Class::Config),
        ("account.deactivated", Class::Config),
        ("account.reactivated", Class::Config),
        ("member.granted", Class::Config),
        ("member.removed", Class::Config),
        ("master_key.rotated", Class::Config),
        ("backup.taken", Class::Config),
        ("backup.restored", Class::Config),
        ("outbox.enqueued", Class::Run),
        ("outbox.rescheduled", Class::Run),
        ("outbox.delivered", Class::Run),
        ("outbox.exhausted", Class::Run),
        ("outbox.cancelled", Class::Run),
        ("outbox.paused", Class::Config),
        ("outbox.resumed", Class::Config),
        ("dead_letter.created", Class::Config),
        ("dead_letter.replayed", Class::Config),
        ("dead_letter.resolved", Class::Config),
        ("dead_letter.purged", Class::Config),
        ("job.started", Class::Config),
        ("job.progressed", Class::Config),
        ("job.cancellation_requested", Class::Config),
        ("job.ended", Class::Config),
        ("session.opened", Class::Run),
        ("session.closed", Class::Run),
        ("projection.rebuilt", Class::Run),
        ("domain.claimed", Class::Config),
        ("domain.released", Class::Config),
        ("env.set", Class::Config),
        ("env.deleted", Class::Config),
        ("http_exception.allowed", Class::Config),
        ("http_exception.removed", Class::Config),
        ("script.deployed", Class::Config),
        ("script.activated", Class::Config),
        ("script.deleted", Class::Config),
        ("route.bound", Class::Config),
        ("route.updated", Class::Config),
        ("route.unbound", Class::Config),
        ("api_key.minted", Class::Config),
        ("api_key.revoked", Class::Config),
        ("kv.set", Class::Data),
        ("kv.increased", Class::Data),
        ("kv.deleted", Class::Data),
        ("invocation.started", Class::Run),
        ("invocation.logged", Class::Run),
        ("invocation.journaled", Class::Run),
        ("invocation.completed", Class::Run),
        ("invocation.failed", Class::Run),
    ];
    for (kind, class) in pinned {
        assert!(Event::KINDS.contains(&(kind, class)), "`{kind}` is not of class `{class}` any more");
    }
    assert_eq!(Event::KINDS.len(), pinned.len(), "a new kind's class is pinned here");
}

#[test]
fn the_names_of_classes_are_the_databases() {
    assert_eq!(Class::ALL.map(Class::as_str), ["config", "data", "run"]);
}

/// Adds a field to every object that is PiCloud's own: what scripts store is theirs.
fn with_news(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                if !["value", "data", "event", "message"].contains(&name.as_str()) {
                    with_news(field);
                }
            }
            fields.insert("added_in_2031".to_owned(), Value::from(1));
        }
        Value::Array(items) => items.iter_mut().for_each(with_news),
        _ => {}
    }
}

#[test]
fn a_field_of_a_newer_version_is_passed_over_wherever_it_stands() {
    for (name, example) in examples() {
        let mut data: Value = serde_json::from_str(example.data.get()).unwrap();
        with_news(&mut data);
        let event = Event::decode(&example.kind, &data.to_string()).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(event.kind(), example.kind, "{name}");
        if example.kind != "kv.set" {
            assert_eq!(event.data(), example.data.get(), "{name}");
        }
    }
}

#[test]
fn a_kind_of_a_newer_version_is_named() {
    let unknown = Event::decode("kv.forgotten", "{}");
    assert!(matches!(&unknown, Err(Undecodable::UnknownKind(kind)) if kind == "kv.forgotten"), "{unknown:?}");
}

#[test]
fn data_of_another_kind_is_refused_with_the_kind() {
    let refused = Event::decode("kv.increased", r#"{"collection":"a","key":"b","by":"one"}"#);
    assert!(matches!(refused, Err(Undecodable::Data { kind: "kv.increased", .. })), "{refused:?}");
}
