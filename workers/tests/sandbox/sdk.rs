//! The stateless modules, by what they answer, and the reference of all.

use serde_json::json;

use crate::support::{SANDBOX, script};

#[track_caller]
fn gives(source: &str, result: serde_json::Value) {
    assert_eq!(script(source).json(), result, "{source}");
}

#[track_caller]
fn throws(source: &str, says: &str) {
    let caught = script(&format!("try {{ {source}; }} catch (e) {{ return e; }}")).json();
    assert!(caught.as_str().unwrap_or_default().contains(says), "{source}: {caught}");
}

#[test]
fn json() {
    gives(r#"json::parse("{\"a\": [1, 2.0, null]}")"#, json!({"a": [1, 2.0, null]}));
    gives(r#"json::stringify(#{b: [1, 1.0, "x"], a: ()})"#, json!(r#"{"a":null,"b":[1,1.0,"x"]}"#));
    gives(
        r#"json::stringify_pretty(#{a: [1], b: [], c: #{}})"#,
        json!("{\n  \"a\": [\n    1\n  ],\n  \"b\": [],\n  \"c\": {}\n}"),
    );
    throws(r#"json::parse("{")"#, "json::parse: EOF");
    throws("json::stringify(#{a: [|x| x]})", "json::stringify: a function at `.a[0]` has no JSON form");
}

#[test]
fn base64_hex_and_url() {
    gives(
        r#"[base64::encode("hi?>"), base64::encode_url("hi?>"), base64::decode("aGk=").as_string(), base64::decode_url("aGk_Pg").as_string()]"#,
        json!(["aGk/Pg==", "aGk_Pg", "hi", "hi?>"]),
    );
    gives(
        r#"[hex::encode("hi"), hex::decode("6869").as_string(), hex::encode(blob(2, 255))]"#,
        json!(["6869", "hi", "ffff"]),
    );
    gives(
        r#"[url::encode("a b/é"), url::decode("a%20b%2F%C3%A9"), url::query(#{a: [1, "x y"], b: (), c: true})]"#,
        json!(["a%20b%2F%C3%A9", "a b/é", "a=1&a=x+y&c=true"]),
    );
    gives(
        r##"url::parse("https://u@example.com/p/a?x=1&x=2&y=z#f")"##,
        json!({"scheme": "https", "host": "example.com", "port": 443, "path": "/p/a", "query": {"x": ["1", "2"], "y": "z"}, "fragment": "f", "username": "u", "origin": "https://example.com"}),
    );
    throws(r#"base64::decode("*")"#, "base64::decode: this is not base64");
    throws(r#"hex::decode("abc")"#, "hex::decode: this is not hexadecimal");
    throws(r#"url::parse("/relative")"#, "url::parse: `/relative` is no absolute URL");
    throws(r#"url::decode("%ff")"#, "url::decode");
}

#[test]
fn regex() {
    gives(
        r#"[regex::is_match("abc", "b+"), regex::find("a12b3", "\\d+"), regex::find("a", "\\d"), regex::find_all("a12b3", "\\d+")]"#,
        json!([true, "12", null, ["12", "3"]]),
    );
    gives(
        r#"regex::captures("k=v", "(?<key>\\w)=(\\w)(x)?")"#,
        json!({"0": "k=v", "1": "k", "2": "v", "3": null, "key": "k"}),
    );
    gives(r#"regex::replace("a1b22", "(\\d+)", "<$1>")"#, json!("a<1>b<22>"));
    throws(r#"regex::is_match("a", "(")"#, "regex::is_match: `(` is no pattern");
    throws(r#"regex::is_match("a", "(\\w{1000}){1000}")"#, "is no pattern");
}

#[test]
fn time() {
    gives("[time::now(), time::now_ms()]", json!(["2023-11-14T22:13:20.000Z", 1_700_000_000_000_i64]));
    gives(
        r#"[time::parse("1970-01-01T00:00:01Z"), time::parse("1970-01-02"), time::parse("1970-01-01T01:00:00+01:00")]"#,
        json!([1000, 86_400_000, 0]),
    );
    gives(
        r#"[time::format(0), time::format(0, "%Y"), time::format(0, "%H:%M %Z", "Europe/Berlin")]"#,
        json!(["1970-01-01T00:00:00.000Z", "1970", "01:00 CET"]),
    );
    gives(
        r#"[time::add(0, #{days: 1, ms: 5}), time::add(0, #{months: -1}), time::format(time::add(time::parse("2024-01-31"), #{months: 1}), "%F")]"#,
        json!([86_400_005, -2_678_400_000_i64, "2024-02-29"]),
    );
    throws(r#"time::parse("soon")"#, "time::parse: `soon` is no time");
    throws(r#"time::format(0, "%Y", "Mars")"#, "`Mars` is no time zone");
    throws(r#"time::format(0, "%!")"#, "no strftime format");
    throws("time::add(0, #{day: 1})", "there is no `day`; there is years, months");
    throws("time::add(9_000_000_000_000, #{years: 9_000_000_000_000})", "leads out of the calendar");
    throws("time::format(9223372036854775807)", "outside the years");
}

#[test]
fn random_is_the_runs_own_and_repeats_with_it() {
    let source = "[random::int(1, 6), random::float(), hex::encode(random::bytes(8)), random::string(12), random::choose([1, 2, 3]), ulid::new()]";
    let (first, second) = (script(source).json(), script(source).json());
    assert_eq!(first, second);
    assert_eq!(first[3].as_str().map(str::len), Some(12));
    assert_eq!(first[5].as_str().map(str::len), Some(26));
    gives("[random::choose([]), random::int(5, 5), ulid::new() != ulid::new()]", json!([null, 5, true]));
    throws("random::int(2, 1)", "random::int: 2 is more than 1");
    throws("random::bytes(-1)", "random::bytes: -1 is no length");
}

#[test]
fn crypto() {
    gives(
        r#"hex::encode(crypto::sha256("abc"))"#,
        json!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    );
    gives(
        r#"hex::encode(crypto::hmac_sha256("key", "The quick brown fox jumps over the lazy dog"))"#,
        json!("f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"),
    );
    gives(
        r#"[crypto::equal("a", "a"), crypto::equal("a", "b"), crypto::equal("a", "aa")]"#,
        json!([true, false, false]),
    );
    throws("crypto::sha256(1)", "crypto::sha256: `data` is an int");
}

#[test]
fn a_webhook_is_verified() {
    // The example of the Standard Webhooks specification's reference libraries.
    let sign = r#"
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let body = "{\"test\": 2432232314}";
        let stamp = "" + (time::now_ms() / 1000 + OFFSET);
        let mac = crypto::hmac_sha256(base64::decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), `msg_1.${stamp}.${body}`);
        let headers = #{"webhook-id": "msg_1", "webhook-timestamp": stamp, "webhook-signature": "v1,bm9wZQ== v1," + base64::encode(mac)};
    "#;
    let verify = |offset: &str, rest: &str| script(&format!("{}{rest}", sign.replace("OFFSET", offset))).json();
    assert_eq!(verify("0", "crypto::verify_webhook(secret, headers, body)"), json!(true));
    assert_eq!(verify("0", "crypto::verify_webhook(secret, headers, body.to_blob())"), json!(true));
    assert_eq!(verify("0", "crypto::verify_webhook(secret, headers, body + \" \")"), json!(false));
    assert_eq!(verify("301", "crypto::verify_webhook(secret, headers, body)"), json!(false));
    assert_eq!(verify("-301", "crypto::verify_webhook(secret, headers, body)"), json!(false));
    assert_eq!(verify("0", "crypto::verify_webhook(secret, #{}, body)"), json!(false));
    assert_eq!(
        verify("0", "headers[\"webhook-id\"] = \"x\"; crypto::verify_webhook(secret, headers, body)"),
        json!(false)
    );
}

#[test]
fn every_function_is_documented_and_can_be_called_by_its_name() {
    let reference = SANDBOX.reference();
    assert!(reference.len() > 80);
    for function in &reference {
        assert!(function.doc.ends_with('.') && function.doc.len() > 10, "{function:?}");
        if !function.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let arguments = vec!["x"; function.arguments].join(", ");
        let path = if function.module.is_empty() { String::new() } else { format!("{}::", function.module) };
        let call = format!("let x = 1; {path}{}({arguments});", function.name);
        let diagnostics = SANDBOX.validate(&call, &picloud_core::limits::Limits::DEFAULT);
        assert_eq!(diagnostics, [], "{call}");
    }
}
