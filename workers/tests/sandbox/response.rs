//! What a script's value means as an answer.

use picloud_core::{event::FailureReason::BadResponse, event::FailureReason::OverLimit, limits::Limits};

use crate::support::script;

#[track_caller]
fn refused(source: &str, says: &str) {
    let failure = script(source).failure();
    assert_eq!(failure.reason, BadResponse, "{source}: {failure:?}");
    assert!(failure.message.contains(says), "{source}: {}", failure.message);
}

fn header(headers: &[(String, String)], name: &str) -> Option<String> {
    headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone())
}

#[test]
fn a_plain_value_is_json_with_200() {
    for (source, json) in [
        ("42", "42"),
        ("\"hi\"", "\"hi\""),
        ("()", "null"),
        ("", "null"),
        ("let x = 1;", "null"),
        ("1.0", "1.0"),
        ("[1, 2.5, true, 'c', ()]", "[1,2.5,true,\"c\",null]"),
        ("#{b: 1, a: #{c: []}}", r#"{"a":{"c":[]},"b":1}"#),
        ("9223372036854775807", "9223372036854775807"),
        ("return #{status: 404};", r#"{"status":404}"#),
    ] {
        let answer = script(source).answer();
        assert_eq!(answer.status, 200, "{source}");
        assert_eq!(std::str::from_utf8(&answer.body), Ok(json), "{source}");
        assert_eq!(answer.headers, [("content-type".to_owned(), "application/json".to_owned())], "{source}");
    }
}

#[test]
fn a_status_code_makes_a_response() {
    let answer = script(r#"#{statusCode: 201, headers: #{"X-Kind": "a", Count: 2}, body: #{ok: true}}"#).answer();
    assert_eq!(answer.status, 201);
    assert_eq!(&answer.body[..], br#"{"ok":true}"#);
    assert_eq!(header(&answer.headers, "x-kind").as_deref(), Some("a"));
    assert_eq!(header(&answer.headers, "count").as_deref(), Some("2"));
    assert_eq!(header(&answer.headers, "content-type").as_deref(), Some("application/json"));
}

#[test]
fn strings_and_blobs_go_out_as_they_are() {
    let html = script(r#"#{statusCode: 200, headers: #{"Content-Type": "text/html"}, body: "<p>"}"#).answer();
    assert_eq!((&html.body[..], header(&html.headers, "content-type").as_deref()), (&b"<p>"[..], Some("text/html")));
    let text = script(r#"#{statusCode: 200, body: "hello"}"#).answer();
    assert_eq!(&text.body[..], b"hello");
    assert_eq!(header(&text.headers, "content-type").as_deref(), Some("text/plain; charset=utf-8"));
    let blob = script("#{statusCode: 200, body: blob(3, 65)}").answer();
    assert_eq!(&blob.body[..], b"AAA");
    assert_eq!(header(&blob.headers, "content-type").as_deref(), Some("application/octet-stream"));
}

#[test]
fn a_blob_inside_json_is_its_base64_and_alone_it_goes_out_as_it_is() {
    assert_eq!(&script("#{b: blob(3, 65)}").answer().body[..], br#"{"b":"QUFB"}"#);
    let alone = script("blob(3, 65)").answer();
    assert_eq!((&alone.body[..], alone.status), (&b"AAA"[..], 200));
    assert_eq!(header(&alone.headers, "content-type").as_deref(), Some("application/octet-stream"));
}

#[test]
fn a_header_may_come_more_than_once() {
    let answer = script(r#"#{statusCode: 200, headers: #{"set-cookie": ["a=1", "b=2"]}}"#).answer();
    assert_eq!(
        answer.headers,
        [("set-cookie".to_owned(), "a=1".to_owned()), ("set-cookie".to_owned(), "b=2".to_owned())]
    );
}

#[test]
fn some_statuses_have_no_body() {
    for status in [204, 304] {
        let answer = script(&format!("#{{statusCode: {status}, body: \"x\"}}")).answer();
        assert_eq!((answer.status, answer.body.len()), (status, 0));
    }
}

#[test]
fn what_is_no_response_is_refused_by_name() {
    refused("#{statusCode: 99}", "`statusCode` is 99");
    refused("#{statusCode: 101}", "`statusCode` is 101: it must be between 200 and 599");
    refused("#{statusCode: 199}", "`statusCode` is 199");
    refused("#{statusCode: 600}", "`statusCode` is 600");
    refused("#{statusCode: \"200\"}", "`statusCode` is a string `200`");
    refused("#{statusCode: 200.0}", "`statusCode` is a float");
    refused("#{statusCode: ()}", "`statusCode` is ()");
    refused("#{statusCode: 200, header: #{}}", "not `header`");
    refused("#{statusCode: 200, headers: []}", "`headers` is an array");
    refused("#{statusCode: 200, headers: #{\"a b\": \"x\"}}", "`a b` is no valid header name");
    refused("#{statusCode: 200, headers: #{a: \"x\\ny\"}}", "the header `a` has a control character");
    refused("#{statusCode: 200, headers: #{a: #{}}}", "the header `a` is a map");
    refused("#{statusCode: 200, headers: #{\"Content-Length\": 3}}", "`content-length` is set by the server");
    refused("#{a: [1, 0.0/0.0]}", "NaN at `.a[1]`");
    refused("[1.0 / 0.0]", "an infinite float at `[0]`");
    refused("|x| x", "a function has no JSON form");
}

#[test]
fn a_response_has_a_limit() {
    let small = Limits { max_response_bytes: 100, ..Limits::DEFAULT };
    for source in [
        r#"let s = ""; s.pad(200, 'x'); s"#,
        r#"let s = ""; s.pad(200, 'x'); #{statusCode: 200, body: s}"#,
        "#{statusCode: 200, body: blob(200)}",
    ] {
        let failure = script(source).limits(small).failure();
        assert_eq!((failure.reason, failure.limit), (OverLimit, Some("max_response_bytes")), "{source}");
    }
}
