//! `ctx`: everywhere visible, read-only, decoded by content type.

use std::sync::Arc;

use picloud_core::{event::ActorKind, limits::Limits};
use picloud_workers::sandbox::{Ended, PrincipalInfo};
use serde_json::{json, value::RawValue};

use crate::support::{Script, script};

fn body(content_type: &str, body: &str) -> Script {
    script("ctx.request.body").body(content_type, body)
}

#[track_caller]
fn bad_input(script: Script) -> String {
    match script.run().result {
        Err(Ended::BadInput(why)) => why,
        other => panic!("the body should be refused: {other:?}"),
    }
}

#[test]
fn it_says_who_calls_what() {
    let mut call = script(
        "fn inside() { ctx.request.method + \" \" + ctx.script.name }
         [inside(), ctx.app, ctx.script.version, ctx.env.currency, ctx.invocation_type, ctx.principal.id, ctx.sdk_version]",
    );
    call.principal = Some(PrincipalInfo { kind: ActorKind::ApiKey, id: "key_1".into() });
    assert_eq!(call.json(), json!(["POST checkout", "shop", 3, "EUR", "http", "key_1", "1"]));
    assert_eq!(
        script("[ctx.principal, ctx.request_id, ctx.invocation_id.starts_with(\"inv_\")]").json(),
        json!([null, null, true])
    );
}

#[test]
fn it_shows_the_request() {
    let mut call = script(
        "#{h: ctx.request.headers, q: ctx.request.query, p: ctx.request.params, r: ctx.request.rest, b: ctx.request.body}",
    );
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    call.request.headers = vec![pair("accept", "a"), pair("x", "1"), pair("accept", "b")];
    call.request.query = vec![pair("tag", "a"), pair("one", "1"), pair("tag", "b"), pair("tag", "c")];
    call.request.params = vec![pair("id", "42")];
    call.request.rest = Some("a/b".into());
    assert_eq!(
        call.json(),
        json!({"h": {"accept": "a, b", "x": "1"}, "q": {"tag": ["a", "b", "c"], "one": "1"}, "p": {"id": "42"}, "r": "a/b", "b": null})
    );
}

#[test]
fn a_body_is_what_its_content_type_says() {
    assert_eq!(body("application/json; charset=utf-8", r#"{"a": [1, 2.0]}"#).json(), json!({"a": [1, 2.0]}));
    assert_eq!(body("application/problem+json", "[1]").json(), json!([1]));
    assert_eq!(body("application/x-www-form-urlencoded", "a=1&b=x+y&a=2").json(), json!({"a": ["1", "2"], "b": "x y"}));
    assert_eq!(body("text/plain", "hi").json(), json!("hi"));
    let blob = script("[type_of(ctx.request.body), ctx.request.body.len()]").body("image/png", vec![0, 255]);
    assert_eq!(blob.json(), json!(["blob", 2]));
    let raw = script("ctx.request.body_raw.as_string()").body("application/json", "[ 1 ]");
    assert_eq!(raw.json(), json!("[ 1 ]"));
}

#[test]
fn a_body_that_is_not_what_it_says_is_refused_before_the_script_begins() {
    assert!(bad_input(body("application/json", "{\"a\": }")).contains("not valid JSON"));
    assert!(bad_input(body("application/json", "[1] x")).contains("not valid JSON"));
    assert!(bad_input(script("1").body("text/plain", vec![0xff, 0xfe])).contains("not UTF-8"));
    assert!(bad_input(body("application/json", &"[".repeat(100_000))).contains("nests deeper than 64"));
    let wide = format!("[{}1]", "1,".repeat(20_000));
    assert!(bad_input(body("application/json", &wide)).contains("more than 10000 items"));
}

#[test]
fn a_form_or_text_past_the_limits_is_refused() {
    let form = "a=1&".repeat(20_000);
    assert!(bad_input(body("application/x-www-form-urlencoded", &form)).contains("more than 10000 fields"));
    assert!(bad_input(body("text/plain", &"x".repeat(2_000_000))).contains("longer than 1048576 bytes"));
}

#[test]
fn the_request_itself_can_be_answered() {
    assert_eq!(script("ctx.request").body("text/plain", "hi").json()["body_raw"], json!("aGk="));
    assert_eq!(script("log::info(\"got\", ctx); ctx.request.method").json(), json!("POST"));
}

#[test]
fn a_hostile_body_is_refused_while_it_is_read() {
    let roomy = Limits { max_request_bytes: 32 << 20, ..Limits::CEILING };
    let began = std::time::Instant::now();
    let hostile = format!("[{}[]]", "[],".repeat(10_000_000));
    assert!(bad_input(body("application/json", &hostile).limits(roomy)).contains("more than 100000 items"));
    assert!(began.elapsed().as_millis() < 1000, "{:?}", began.elapsed());
}

#[test]
fn an_event_is_there_only_when_there_is_one() {
    assert_eq!(script("\"event\" in ctx").json(), json!(false));
    let mut triggered = script("if \"event\" in ctx { ctx.event.kind } else { \"none\" }");
    triggered.event = Some(Arc::from(RawValue::from_string(r#"{"kind": "kv"}"#.into()).expect("JSON")));
    assert_eq!(triggered.json(), json!("kv"));
}

#[test]
fn it_cannot_be_changed() {
    for source in [
        "ctx.request.method = \"GET\";",
        "ctx.app = \"other\";",
        "ctx = 1;",
        "ctx.request.headers.clear();",
        "ctx.env.currency += \"x\";",
    ] {
        let report = script(&format!("try {{ {source} }} catch {{ }} [ctx.request.method, ctx.app, ctx.env]")).json();
        assert_eq!(report, json!(["POST", "shop", {"currency": "EUR"}]), "{source}");
    }
}

#[test]
fn a_copy_of_it_is_the_scripts_own() {
    let json = script("let r = ctx.request; r.method = \"GET\"; let h = ctx.request.headers; h.x = 1; [r.method, ctx.request.method, h.x]").json();
    assert_eq!(json, json!(["GET", "POST", 1]));
}

#[test]
fn its_name_is_taken() {
    assert!(script("let ctx = 1; ctx").thrown().contains("`ctx` is given by PiCloud"));
}
