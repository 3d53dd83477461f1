//! What a run may do in the name of whoever made it happen.

use picloud_core::{
    capability::{
        Capabilities,
        Capability::{self, AppHttpRequest, AppKvRead, AppKvWrite},
    },
    event::{ActorKind, FailureReason},
    run::Rights,
};
use picloud_workers::{
    http::Answer,
    sandbox::{Ended, PrincipalInfo},
};

use crate::support::{Script, script};

const KEY: &str = "key_01JB3Q8Z5K7M9N1P3R5T7V9X04";

/// Every kind of call that needs a capability.
const CALLS: &[(&str, &str, Capability)] = &[
    ("kv::get", r#"c.get("k")"#, AppKvRead),
    ("kv::get_or", r#"c.get_or("k", 1)"#, AppKvRead),
    ("kv::has", r#"c.has("k")"#, AppKvRead),
    ("kv::list", "c.list()", AppKvRead),
    ("kv::list", r#"c.list(#{prefix: "k"})"#, AppKvRead),
    ("kv::set", r#"c.set("k", 1)"#, AppKvWrite),
    ("kv::set", r#"c.set("k", 1, #{ttl_s: 60})"#, AppKvWrite),
    ("kv::delete", r#"c.delete("k")"#, AppKvWrite),
    ("kv::increment", r#"c.increment("k", 1)"#, AppKvWrite),
    ("http::get", r#"http::get("https://there.test/")"#, AppHttpRequest),
    ("http::head", r#"http::head("https://there.test/")"#, AppHttpRequest),
    ("http::delete", r#"http::delete("https://there.test/")"#, AppHttpRequest),
    ("http::post", r#"http::post("https://there.test/", #{a: 1})"#, AppHttpRequest),
    ("http::put", r#"http::put("https://there.test/")"#, AppHttpRequest),
    ("http::patch", r#"http::patch("https://there.test/", "x", #{timeout_ms: 5})"#, AppHttpRequest),
    ("http::request", r#"http::request(#{url: "https://there.test/"})"#, AppHttpRequest),
];

fn calling(call: &str, rights: Rights) -> Script {
    let mut script = script(&format!("let c = kv::collection(\"c\");\n{call};\n\"done\""));
    script.data.answers = [Answer { status: 200, headers: Vec::new(), body: Vec::new().into() }].into();
    script.rights = rights;
    if rights.has_principal() {
        script.principal = Some(PrincipalInfo { kind: ActorKind::ApiKey, id: KEY.to_owned() });
    }
    script
}

fn all_but(capability: Capability) -> Rights {
    Rights::Principal(Capability::ALL.iter().copied().filter(|other| *other != capability).collect())
}

#[test]
fn a_call_needs_its_capability_and_no_other() {
    for (_, call, needed) in CALLS {
        let answer = calling(call, Rights::Principal(Capabilities::from_iter([*needed]))).answer();
        assert_eq!(&answer.body[..], b"\"done\"", "{call}");
    }
}

#[test]
fn a_call_that_the_caller_may_not_make_ends_the_run_before_it_does_anything() {
    for (name, call, needed) in CALLS {
        let (report, data) = calling(call, all_but(*needed)).run_with_data();
        let Err(Ended::Failed(failure)) = report.result else { panic!("{call} is refused") };
        assert_eq!(failure.reason, FailureReason::Forbidden, "{call}");
        let told = format!(
            "{name} needs {needed}, which {KEY} does not have: \
             give the key that scope, or the account a role that holds it"
        );
        assert_eq!(failure.message, told);
        assert!(data.values.is_empty() && data.called.is_empty(), "{call}");
    }
}

#[test]
fn what_nobody_in_particular_calls_is_the_scripts_own_affair() {
    for (_, call, _) in CALLS {
        assert_eq!(calling(call, Rights::Public).answer().status, 200, "{call}");
    }
}

#[test]
fn a_refusal_cannot_be_caught_nor_tried_again() {
    for source in [
        r#"try { c.set("k", 1) } catch { }"#,
        r#"try { c.set("k", 1) } catch (e) { throw "something else" }"#,
        r#"retry::run(#{max_attempts: 9}, || c.set("k", 1))"#,
        r#"[1].map(|x| c.set("k", 1))"#,
    ] {
        let failure = calling(source, all_but(AppKvWrite)).failure();
        assert_eq!(failure.reason, FailureReason::Forbidden, "{source}: {failure:?}");
        assert!(failure.message.starts_with("kv::set needs AppKvWrite"), "{source}: {failure:?}");
        assert_eq!(failure.line, Some(2), "{source}");
    }
}

#[test]
fn what_makes_no_sense_is_not_told_to_who_may_not_ask() {
    let refused = calling(r#"c.get("")"#, all_but(AppKvRead)).failure();
    assert_eq!(refused.reason, FailureReason::Forbidden, "{refused:?}");
}

#[test]
fn what_needs_no_capability_is_everybodys() {
    let source = r#"time::now(); json::stringify(#{a: 1}); crypto::sha256("x"); log::info("y")"#;
    assert_eq!(calling(source, Rights::Principal(Capabilities::NONE)).answer().status, 200);
}

#[test]
fn a_short_run_is_refused_where_it_stands() {
    let refused = calling(r#"c.set("k", 1)"#, all_but(AppKvWrite));
    let whole = format!("{:?}", refused.clone().run().result);
    // The second would not be tried had the first been taken for a long one.
    for _ in 0..2 {
        let short = refused.clone().run_short().expect("it is a short run still");
        assert_eq!(format!("{:?}", short.result), whole);
    }
}
