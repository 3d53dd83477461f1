//! `invoke::` as a script sees it.

use chrono::TimeDelta;
use picloud_core::{event::FailureReason, limits::Limits};

use crate::support::script;

#[test]
fn a_run_is_owed_with_its_arguments_and_the_script_is_told_its_name() {
    let source = r#"
        let one = invoke::later("mail", #{to: "ada"});
        let other = invoke::later("mail", (), #{key: "ada", delay_s: 60});
        [one, other]"#;
    let script = script(source).beside("mail", "1");
    let now = script.now;
    let (report, data) = script.run_with_data();
    let answer = report.result.expect("an answer");
    let names: Vec<String> = serde_json::from_slice(&answer.body).expect("JSON");
    let [one, other] = &data.later[..] else { panic!("{:?}", data.later) };
    assert_eq!(names, [one.item.to_string(), other.item.to_string()]);
    assert!(names[0].starts_with("out_") && names[0] != names[1], "{names:?}");
    let target = data.programs[0].script;
    assert_eq!((one.script, &*one.args, one.key.as_deref(), one.due_at), (target, &br#"{"to":"ada"}"#[..], None, None));
    let due_at = Some(now + TimeDelta::seconds(60));
    assert_eq!(
        (other.script, &*other.args, other.key.as_deref(), other.due_at),
        (target, &b"null"[..], Some("ada"), due_at)
    );
}

#[test]
fn a_repeated_run_gives_the_same_names() {
    let names = || {
        let (_, data) = script(r#"invoke::later("mail", 1)"#).beside("mail", "1").run_with_data();
        data.later[0].item
    };
    assert_eq!(names(), names());
}

#[test]
fn what_makes_no_sense_is_thrown_naming_call_and_value() {
    for (call, says) in [
        (r#"invoke::later("post", 1)"#, "invoke::later: there is no script `post`"),
        (r#"invoke::later("mail", |x| x)"#, "invoke::later: the arguments of `mail`: a function has no JSON form"),
        (r#"invoke::later("mail", blob(1))"#, "invoke::later: the arguments of `mail`: a blob"),
        (
            r#"invoke::later("mail", 1, #{delay: 1})"#,
            "there is no option `delay`, perhaps `delay_s`; there is delay_s, key",
        ),
        (r#"invoke::later("mail", 1, #{priority: 1})"#, "invoke::later: there is no option `priority`"),
        (r#"invoke::later("mail", 1, #{key: ""})"#, "invoke::later: `key` is ``"),
    ] {
        let source = format!("try {{ {call}; }} catch (e) {{ return e; }}");
        let caught = script(&source).beside("mail", "1").json();
        let caught = caught.as_str().unwrap_or_default();
        assert!(caught.contains(says), "{call}: {caught}");
    }
}

#[test]
fn arguments_are_as_long_as_a_request_of_the_script_at_most() {
    let small = Limits { max_request_bytes: 10, ..Limits::DEFAULT };
    let failure = script(r#"invoke::later("mail", "012345678")"#).limits(small).beside("mail", "1").failure();
    assert_eq!((failure.reason, failure.limit), (FailureReason::OverLimit, Some("max_request_bytes")));
}
