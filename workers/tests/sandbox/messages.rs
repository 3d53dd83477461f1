//! `pubsub::` and `queue::` as a script sees them.

use chrono::{SubsecRound as _, TimeDelta};
use picloud_core::{
    event::{Event, FailureReason},
    limits::Limits,
};

use crate::support::{Script, script};

/// A script over data with the queue `mail`.
fn sending(source: &str) -> Script {
    let mut script = script(source);
    script.data.queues = vec!["mail"];
    script
}

/// `kind data` of what it said.
fn said(script: Script) -> Vec<String> {
    let (report, data) = script.run_with_data();
    report.result.expect("an answer");
    data.said.iter().map(|event| format!("{} {}", event.kind(), event.data())).collect()
}

#[test]
fn what_is_published_and_sent_is_said_in_order() {
    let source = r#"
        pubsub::publish("orders.paid", #{id: 7, total: 1.0});
        queue::send("mail", ["a", ()]);
        queue::send("mail", 1, #{key: "ada", priority: -100, delay_s: 0});
        pubsub::publish("orders", "done");
    "#;
    assert_eq!(
        said(sending(source)),
        [
            r#"message.published {"topic":"orders.paid","message":{"id":7,"total":1.0}}"#,
            r#"message.sent {"queue":"mail","message":["a",null]}"#,
            r#"message.sent {"queue":"mail","message":1,"key":"ada","priority":-100}"#,
            r#"message.published {"topic":"orders","message":"done"}"#,
        ]
    );
}

#[test]
fn a_delay_counts_from_the_runs_clock() {
    let script = sending(r#"queue::send("mail", 1, #{delay_s: 30 * 24 * 60 * 60})"#);
    let now = script.now;
    let (_, data) = script.run_with_data();
    let [Event::MessageSent(sent)] = &data.said[..] else { panic!("{:?}", data.said) };
    assert_eq!(sent.due_at, Some(now + TimeDelta::days(30)));
}

#[test]
fn what_makes_no_sense_is_thrown_naming_call_and_value() {
    for (call, says) in [
        (r#"pubsub::publish("orders..paid", 1)"#, "pubsub::publish: `orders..paid` is no topic: give names (1 to 63"),
        (r#"pubsub::publish("Orders", 1)"#, "pubsub::publish: `Orders` is no topic"),
        (r#"pubsub::publish("orders.*", 1)"#, "pubsub::publish: `orders.*` is no topic"),
        (r#"pubsub::publish("orders", [|x| x])"#, "pubsub::publish: the message to `orders`: a function at `[0]`"),
        (r#"pubsub::publish("orders", "a\x00b")"#, "pubsub::publish: the message to `orders` has the character U+0000"),
        (r#"queue::send("Mail", 1)"#, "queue::send: `Mail` is no name of a queue: use 1 to 63"),
        (r#"queue::send("mail", blob(1))"#, "queue::send: the message to `mail`: a blob (use base64::encode"),
        (
            r#"queue::send("mail", 1, #{delay: 5})"#,
            "queue::send: there is no option `delay`, perhaps `delay_s`; there is delay_s, key, priority",
        ),
        (
            r#"queue::send("mail", 1, #{delay_s: -1})"#,
            "queue::send: `delay_s` is -1: it must be an int from 0 to 2592000",
        ),
        (r#"queue::send("mail", 1, #{delay_s: 2592001})"#, "`delay_s` is 2592001"),
        (r#"queue::send("mail", 1, #{delay_s: 1.5})"#, "`delay_s` is a float"),
        (r#"queue::send("mail", 1, #{priority: 101})"#, "`priority` is 101: it must be an int from -100 to 100"),
        (r#"queue::send("mail", 1, #{priority: "high"})"#, "`priority` is `high`"),
        (r#"queue::send("mail", 1, #{key: 7})"#, "queue::send: `key` is 7: it must be a string"),
        (r#"queue::send("mail", 1, #{key: ""})"#, "queue::send: `key` is ``: it must have 1 to 255 bytes"),
        (r#"let k = ""; k.pad(256, "k"); queue::send("mail", 1, #{key: k})"#, "it must have 1 to 255 bytes"),
        (r#"queue::send("mail", 1, #{key: "a\x00"})"#, "no U+0000"),
        (r#"queue::send("post", 1)"#, "nobody takes from post"),
    ] {
        let caught = sending(&format!("try {{ {call}; }} catch (e) {{ return e; }}")).json();
        let caught = caught.as_str().unwrap_or_default();
        assert!(caught.contains(says), "{call}: {caught}");
    }
}

#[test]
fn a_message_is_as_long_as_a_kept_value_at_most() {
    let small = Limits { max_kv_value_bytes: 10, ..Limits::DEFAULT };
    for call in [r#"pubsub::publish("orders", "012345678")"#, r#"queue::send("mail", "012345678")"#] {
        let failure = sending(call).limits(small).failure();
        assert_eq!((failure.reason, failure.limit), (FailureReason::OverLimit, Some("max_kv_value_bytes")), "{call}");
    }
    said(sending(r#"queue::send("mail", "01234567")"#).limits(small));
}

#[test]
fn a_token_is_made_for_topics_and_a_time() {
    for (call, made) in [
        (r#"pubsub::subscriber_token("room.7")"#, ("room.7", 3600)),
        (r#"pubsub::subscriber_token(["room.*", "news"], #{ttl_s: 60})"#, ("room.* news", 60)),
        (r#"pubsub::subscriber_token("*", #{ttl_s: ()})"#, ("*", 3600)),
    ] {
        let script = script(call);
        let (topics, seconds) = made;
        let expires_at = script.now.trunc_subsecs(0) + TimeDelta::seconds(seconds);
        assert_eq!(script.json(), format!("{topics} until {}", expires_at.to_rfc3339()), "{call}");
    }
    for (call, says) in [
        (r#"pubsub::subscriber_token("Room")"#, "pubsub::subscriber_token: `Room` is no topic"),
        (r#"pubsub::subscriber_token([])"#, "pubsub::subscriber_token: `topics` names 0 topics"),
        (r#"pubsub::subscriber_token(7)"#, "`topics` must be a string, or an array of strings"),
        (r#"pubsub::subscriber_token(["a", 1])"#, "`topics` must be a string, or an array of strings"),
        (r#"pubsub::subscriber_token("a", #{ttl_s: 604801})"#, "`ttl_s` is 604801: it must be an int from 1 to 604800"),
        (r#"pubsub::subscriber_token("a", #{ttl: 1})"#, "there is no option `ttl`, perhaps `ttl_s`"),
    ] {
        let caught = script(&format!("try {{ {call}; }} catch (e) {{ return e; }}")).json();
        let caught = caught.as_str().unwrap_or_default();
        assert!(caught.contains(says), "{call}: {caught}");
    }
}

#[test]
fn what_is_broadcast_is_no_event() {
    let script = script(r#"pubsub::broadcast("room.7", #{typing: true}); pubsub::broadcast("room", 1)"#);
    let (report, data) = script.run_with_data();
    report.result.expect("an answer");
    assert_eq!(data.broadcasts, [r#"room.7 {"typing":true}"#, "room 1"]);
    assert!(data.said.is_empty());
}
