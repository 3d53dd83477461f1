//! `kv::` as a script sees it.

use picloud_core::{event::FailureReason, limits::Limits};
use picloud_workers::sandbox::{DataError, Ended};
use serde_json::json;

use crate::support::script;

#[test]
fn what_is_set_can_be_read() {
    let source = r#"
        let carts = kv::collection("carts");
        carts.set("a", #{n: 1, f: 1.0});
        carts.increment("visits", 2); carts.increment("visits", -5);
        let first = [carts.get("a"), carts.get("b"), carts.get_or("b", 7), carts.has("a"), carts.get("visits")];
        first + [carts.delete("a"), carts.delete("a"), carts.has("a")]
    "#;
    assert_eq!(script(source).json(), json!([{"n": 1, "f": 1.0}, null, 7, true, -3, true, false, false]));
}

#[test]
fn a_listing_has_pages() {
    let source = r#"
        let c = kv::collection("c");
        for i in 0..5 { c.set("k" + i, i); }
        c.set("other", 1);
        let one = c.list(#{prefix: "k", limit: 3});
        let two = c.list(#{prefix: "k", limit: 3, cursor: one.cursor});
        [one, two, c.list().items.len()]
    "#;
    assert_eq!(
        script(source).json(),
        json!([
            {"items": [{"key": "k0", "value": 0}, {"key": "k1", "value": 1}, {"key": "k2", "value": 2}], "cursor": "k2"},
            {"items": [{"key": "k3", "value": 3}, {"key": "k4", "value": 4}], "cursor": null},
            6
        ])
    );
}

#[test]
fn a_time_to_live_counts_from_the_runs_clock() {
    let call = script(r#"kv::collection("c").set("k", 1, #{ttl_s: 60});"#);
    let now = call.now;
    let (_, data) = call.run_with_data();
    assert_eq!(data.expires_at, Some(now + chrono::TimeDelta::seconds(60)));
}

#[test]
fn what_makes_no_sense_is_thrown_naming_call_and_value() {
    for (call, says) in [
        (r#"kv::collection("Bad Name")"#, "kv::collection: `Bad Name` is no collection name"),
        (r#"kv::collection("")"#, "kv::collection: `` is no collection name"),
        (r#"kv::collection("c").get("")"#, "kv get: the key is empty"),
        (r#"kv::collection("c").get("a\x00b")"#, "U+0000"),
        (r#"kv::collection("c").set("k", "a\x00b")"#, "kv set: the value of `k` has the character U+0000"),
        (r#"kv::collection("c").set("k", 1, #{ttl: 5})"#, "kv set: there is no option `ttl`; there is ttl_s"),
        (r#"kv::collection("c").set("k", 1, #{ttl_s: 0})"#, "`ttl_s` is 0"),
        (r#"kv::collection("c").set("k", |x| x)"#, "kv set: the value of `k`: a function has no JSON form"),
        (
            r#"kv::collection("c").set("k", [blob(1)])"#,
            "kv set: the value of `k`: a blob (use base64::encode or hex::encode) at `[0]`",
        ),
        (r#"kv::collection("c").list(#{limit: 0})"#, "`limit` is 0"),
        (r#"kv::collection("c").list(#{limits: 5})"#, "there is no option `limits`; there is prefix, limit, cursor"),
    ] {
        let caught = script(&format!("try {{ {call}; }} catch (e) {{ return e; }}")).json();
        let caught = caught.as_str().unwrap_or_default();
        assert!(caught.contains(says), "{call}: {caught}");
    }
}

#[test]
fn escaped_backslashes_are_no_forbidden_character() {
    assert_eq!(script(r#"kv::collection("c").set("k", "\\u0000"); 1"#).json(), json!(1));
}

#[test]
fn sizes_have_limits() {
    let small = Limits { max_kv_key_bytes: 10, max_kv_value_bytes: 10, ..Limits::DEFAULT };
    for (call, limit) in
        [(r#"get("01234567890")"#, "max_kv_key_bytes"), (r#"set("k", "01234567890")"#, "max_kv_value_bytes")]
    {
        let failure = script(&format!("kv::collection(\"c\").{call};")).limits(small).failure();
        assert_eq!((failure.reason, failure.limit), (FailureReason::OverLimit, Some(limit)), "{call}");
    }
}

#[test]
fn what_ends_a_run_cannot_be_caught() {
    let source = r#"try { kv::collection("c").get("k"); } catch { } 1"#;
    let ended = |fails: DataError| {
        let mut script = script(source);
        script.data.fails = Some(fails);
        script.run().result.expect_err("it ends")
    };
    assert_eq!(ended(DataError::Conflict), Ended::Conflict);
    assert_eq!(ended(DataError::Unavailable), Ended::Unavailable);
    for (fails, reason, limit) in [
        (DataError::Deadline, FailureReason::TimedOut, Some("timeout_ms")),
        (DataError::Cancelled, FailureReason::Cancelled, None),
        (DataError::NotANumber("not a number".into()), FailureReason::KvNotANumber, None),
        (DataError::Limit { name: "max_reads", message: "x".into() }, FailureReason::OverLimit, Some("max_reads")),
    ] {
        let Ended::Failed(failure) = ended(fails) else { panic!("it fails") };
        assert_eq!((failure.reason, failure.limit), (reason, limit));
    }
}

#[test]
fn a_refusal_is_thrown() {
    let mut script = script(r#"try { kv::collection("c").get("k"); } catch (e) { return e; }"#);
    script.data.fails = Some(DataError::Refused("kv get: no".into()));
    assert_eq!(script.json(), json!("kv get: no"));
}
