//! `http::` as a script sees it.

use picloud_core::{event::FailureReason, limits::Limits};
use picloud_workers::{
    http::{Answer, Request},
    sandbox::{DataError, Ended},
};
use serde_json::{Value, json};

use crate::support::{Script, script};

fn answer(content_type: &str, body: &[u8]) -> Answer {
    let headers = [("content-type", content_type), ("x-n", "1"), ("x-n", "2"), ("set-cookie", "a=b; Expires=Mon, 1")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Answer { status: 200, headers: headers.into(), body: body.to_vec().into() }
}

fn answered(source: &str, answer: Answer) -> Script {
    let mut script = script(source);
    script.data.answers = [answer].into();
    script
}

/// The one call that a script makes.
fn made(source: &str) -> Request {
    let (report, data) = answered(source, answer("text/plain", b"ok")).run_with_data();
    assert!(report.result.is_ok(), "{source}: {:?}", report.result);
    let [request] = &data.called[..] else { panic!("{source}: {:?}", data.called) };
    request.clone()
}

fn header<'r>(request: &'r Request, name: &str) -> Vec<&'r str> {
    request.headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
}

/// What a call throws before anything is called.
fn throws(call: &str) -> String {
    let (report, data) = script(&format!("try {{ {call}; }} catch (e) {{ return e; }}")).run_with_data();
    assert_eq!(data.called, [], "{call}");
    let caught: Value = serde_json::from_slice(&report.result.expect("an answer").body).expect("JSON");
    caught.as_str().unwrap_or_else(|| panic!("{call}: {caught}")).to_owned()
}

#[test]
fn an_answer_is_a_map() {
    let source = r#"let r = http::get("https://a.example/"); r.body_raw = r.body_raw.as_string(); r"#;
    assert_eq!(
        answered(source, answer("application/problem+json; charset=utf-8", br#"{"n": [1, 2.5]}"#)).json(),
        json!({
            "status": 200,
            "headers": {
                "content-type": "application/problem+json; charset=utf-8",
                "x-n": "1, 2",
                "set-cookie": ["a=b; Expires=Mon, 1"],
            },
            "body": {"n": [1, 2.5]},
            "body_raw": r#"{"n": [1, 2.5]}"#,
        })
    );
}

#[test]
fn a_body_is_what_its_content_type_says_or_else_a_blob() {
    let source = r#"let b = http::get("https://a.example/").body; [type_of(b), if type_of(b) == "blob" { b.as_string() } else { b }]"#;
    for (content_type, body, becomes) in [
        ("text/html", "<p>é", json!(["string", "<p>é"])),
        ("application/json", "7", json!(["i64", 7])),
        ("application/json", "", json!(["()", null])),
        ("application/x-www-form-urlencoded", "a=1&a=2&b=x+y", json!(["map", {"a": ["1", "2"], "b": "x y"}])),
        ("image/png", "png", json!(["blob", "png"])),
        ("", "what", json!(["blob", "what"])),
        // Somebody else's mistake is not the script's.
        ("application/json", "<html>502", json!(["blob", "<html>502"])),
    ] {
        assert_eq!(answered(source, answer(content_type, body.as_bytes())).json(), becomes, "{content_type} {body}");
    }
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let kind =
        answered(r#"type_of(http::get("https://a.example/").body)"#, answer("application/json", deep.as_bytes()));
    assert_eq!(kind.json(), "blob");
}

#[test]
fn no_status_is_thrown() {
    let missing = Answer { status: 404, ..answer("text/plain", b"no") };
    assert_eq!(answered(r#"http::get("https://a.example/").status"#, missing).json(), 404);
}

#[test]
fn each_call_sends_its_method() {
    for (call, method) in [
        (r#"http::get("http://a.example")"#, "GET"),
        (r#"http::head("http://a.example", #{})"#, "HEAD"),
        (r#"http::delete("http://a.example")"#, "DELETE"),
        (r#"http::post("http://a.example")"#, "POST"),
        (r#"http::put("http://a.example", ())"#, "PUT"),
        (r#"http::patch("http://a.example", (), #{})"#, "PATCH"),
        (r#"http::request(#{url: "http://a.example"})"#, "GET"),
        (r#"http::request(#{url: "http://a.example", method: "propfind"})"#, "PROPFIND"),
    ] {
        let request = made(call);
        assert_eq!((request.method.as_str(), request.body.len()), (method, 0), "{call}");
        assert_eq!((request.timeout, request.follow, request.headers.len()), (None, true, 0), "{call}");
    }
}

#[test]
fn bodies_go_out_as_what_they_are() {
    for (arguments, body, content_type) in [
        (r#""text""#, "text", "text/plain; charset=utf-8"),
        (r#""bytes".to_blob()"#, "bytes", "application/octet-stream"),
        (r#"#{b: [1, ()], a: "x"}"#, r#"{"a":"x","b":[1,null]}"#, "application/json"),
        ("7", "7", "application/json"),
        (r#"(), #{json: "text"}"#, r#""text""#, "application/json"),
        (r#"(), #{form: #{a: [1, 2], b: "x y"}}"#, "a=1&a=2&b=x+y", "application/x-www-form-urlencoded"),
        (r#"(), #{body: "x"}"#, "x", "text/plain; charset=utf-8"),
        (r#""<a/>", #{headers: #{"Content-Type": "text/xml"}}"#, "<a/>", "text/xml"),
        (r#"(), #{headers: #{"content-type": "text/xml"}, body: "<a/>"}"#, "<a/>", "text/xml"),
    ] {
        let request = made(&format!("http::post(\"http://a.example\", {arguments})"));
        assert_eq!(&request.body[..], body.as_bytes(), "{arguments}");
        assert_eq!(header(&request, "content-type"), [content_type], "{arguments}");
    }
}

#[test]
fn options_change_the_call() {
    let request = made(
        r#"http::get("https://a.example/p?a=1#f", #{
            headers: #{"X-One": "1", "x-two": ["a", "b"], "x-n": 3, "x-none": ()},
            query: #{b: [2, 3], c: "ü &"}, timeout_ms: 250, follow: false,
        })"#,
    );
    assert_eq!(request.url.as_str(), "https://a.example/p?a=1&b=2&b=3&c=%C3%BC+%26#f");
    assert_eq!(header(&request, "x-one"), ["1"]);
    assert_eq!(header(&request, "x-two"), ["a", "b"]);
    assert_eq!(header(&request, "x-n"), ["3"]);
    assert_eq!(header(&request, "x-none"), [""; 0]);
    assert_eq!((request.timeout.unwrap().as_millis(), request.follow), (250, false));
}

#[test]
fn what_makes_no_sense_is_thrown_naming_call_and_value() {
    for (call, says) in [
        (r#"http::get("/relative")"#, "http::get: `/relative` is no absolute URL"),
        (r#"http::get("file:///etc/passwd")"#, "http::get: `file:///etc/passwd` is neither an http nor an https URL"),
        (r#"http::get("https://ada:secret@a.example/x?key=secret")"#, "http::get: `a.example/x` has a user name"),
        (r#"http::get("https://")"#, "http::get: `https://` is no absolute URL: empty host"),
        (
            r#"http::get("https://a.example", #{timeout_s: 5})"#,
            "http::get: there is no option `timeout_s`, perhaps `timeout_ms`; there is headers, query, timeout_ms, json, \
             form, body, follow",
        ),
        (r#"http::get("https://a.example", #{colour: 5})"#, "http::get: there is no option `colour`; there is headers"),
        (r#"http::get("https://a.example", #{url: "x"})"#, "http::get: there is no option `url`"),
        (
            r#"http::get("https://a.example", #{timeout_ms: 0})"#,
            "http::get: `timeout_ms` is 0: it must be an int from 1",
        ),
        (r#"http::get("https://a.example", #{timeout_ms: "5"})"#, "`timeout_ms` is a string: it must be an int"),
        (r#"http::get("https://a.example", #{headers: []})"#, "http::get: `headers` is an array: it must be a map"),
        (r#"http::get("https://a.example", #{headers: #{a: #{}}})"#, "`a` is a map: it must be a string"),
        (r#"http::get("https://a.example", #{headers: #{"a b": "c"}})"#, "http::get: `a b` is no name of a header"),
        (
            r#"http::get("https://a.example", #{headers: #{a: "x\nHost: b"}})"#,
            "the value of the header `a` has characters",
        ),
        (r#"http::get("https://a.example", #{headers: #{Host: "b"}})"#, "the header `host` is not the script's to set"),
        (
            r#"http::get("https://a.example", #{headers: #{"X-PiCloud-Hops": "0"}})"#,
            "`x-picloud-hops` is not the script's",
        ),
        (r#"http::get("https://a.example", #{headers: #{"proxy-authorization": "b"}})"#, "is not the script's to set"),
        (r#"http::get("https://a.example", #{query: #{a: #{}}})"#, "http::get: `a` is a map: use strings and numbers"),
        (r#"http::get("https://a.example", #{follow: 1})"#, "http::get: `follow` is 1: it must be true or false"),
        (
            r#"http::post("https://a.example", "x", #{json: 1})"#,
            "is a second body: use one of `body`, `json` and `form`",
        ),
        (r#"http::post("https://a.example", |x| x)"#, "http::post: the body: a function has no JSON form"),
        (r#"http::request(#{})"#, "http::request: there is no `url` among the options"),
        (r#"http::request(#{url: 1})"#, "http::request: `url` is an int: it must be a string"),
        (r#"http::request(#{url: "https://a.example", method: "TRACE"})"#, "http::request: `TRACE` is no method"),
        (r#"http::request(#{url: "https://a.example", method: "GE T"})"#, "http::request: `GE T` is no method"),
        (r#"http::request(#{url: "https://a.example", methods: "GET"})"#, "no option `methods`, perhaps `method`"),
    ] {
        let thrown = throws(call);
        assert!(thrown.contains(says), "{call}: {thrown}");
        assert!(!thrown.contains("secret"), "{thrown}");
    }
}

#[test]
fn what_went_wrong_out_there_is_thrown_with_call_and_place() {
    let source = r#"try { http::put("https://a.example:444/b?key=secret", 1) } catch (e) { return e; }"#;
    assert_eq!(script(source).json(), "http::put: PUT https://a.example:444/b: nobody is there");
}

#[test]
fn headers_and_urls_have_limits() {
    let many = r#"let h = #{}; for i in 0..101 { h["x" + i] = "a"; } http::get("https://a.example", #{headers: h})"#;
    assert!(throws(many).contains("more than 100 headers"));
    let long = r#"let v = "x"; v.pad(40_000, "x"); http::get("https://a.example", #{headers: #{v: v}})"#;
    assert!(throws(long).contains("32768 bytes"));
    let far = r#"let u = "https://a.example/"; u.pad(9_000, "x"); http::get(u)"#;
    assert!(throws(far).contains("is a URL of more than 8192 bytes"));
    let asked = r#"let v = "x"; v.pad(9_000, "x"); http::get("https://a.example/", #{query: #{v: v}})"#;
    assert!(throws(asked).contains("`query` is longer than 8192 bytes"));
}

#[test]
fn a_body_has_the_limit_of_a_string() {
    let small = Limits { max_string_bytes: 100, ..Limits::DEFAULT };
    let source = r#"let all = []; for i in 0..60 { all.push(i); } http::post("https://a.example", all)"#;
    let failure = script(source).limits(small).failure();
    assert_eq!((failure.reason, failure.limit), (FailureReason::OverLimit, Some("max_string_bytes")), "{failure:?}");
}

#[test]
fn a_call_that_differs_from_the_one_it_repeats_ends_the_run_whatever_it_catches() {
    let mut script = script(r#"try { http::get("https://a.example"); } catch { } 1"#);
    script.data.fails = Some(DataError::Diverged("call 1 was another".into()));
    let Err(Ended::Failed(failure)) = script.run().result else { panic!("it ends") };
    assert_eq!((failure.reason, &*failure.message), (FailureReason::Conflict, "call 1 was another"));
}

#[test]
fn a_run_that_would_call_is_not_short() {
    let mut wanted = script(r#"http::get("https://a.example")"#);
    drop(wanted.clone().run());
    wanted.data.fails = Some(DataError::Unavailable);
    assert!(wanted.run_short().is_none());
}
