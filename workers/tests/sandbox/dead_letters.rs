//! `dead_letters::` as a script sees it.

use picloud_core::{
    capability::Capability,
    event::{ActorKind, FailureReason},
    id::DeadLetterId,
    run::Rights,
};
use picloud_workers::sandbox::{DataError, PrincipalInfo};
use serde_json::{json, value::RawValue};

use crate::support::{Script, script};

/// A script that a key calls, over two letters; `ONE` and `TWO` in it are their names, the older first.
fn managing(source: &str) -> (Script, [DeadLetterId; 2]) {
    let mut ids = [DeadLetterId::generate(), DeadLetterId::generate()];
    // Within a millisecond they come in any order.
    ids.sort_unstable();
    let source = source.replace("ONE", &ids[0].to_string()).replace("TWO", &ids[1].to_string());
    let mut script = script(&source);
    script.rights = Rights::Principal([Capability::AppDeadLetterManage].into_iter().collect());
    script.principal = Some(PrincipalInfo { kind: ActorKind::ApiKey, id: "key_1".to_owned() });
    for (id, error) in ids.iter().zip(["boom", "bang"]) {
        let letter = format!(r#"{{"id":"{id}","error":"{error}"}}"#);
        script.data.letters.insert(*id, RawValue::from_string(letter).expect("JSON"));
    }
    (script, ids)
}

#[test]
fn letters_are_values() {
    let source = r#"[dead_letters::get("ONE").error, dead_letters::get("dl_01JB3Q8Z5K7M9N1P3R5T7V9X04"), dead_letters::get("no id")]"#;
    assert_eq!(managing(source).0.json(), json!(["boom", null, null]));
    let source =
        r#"let page = dead_letters::list(#{"$limit": 1}); [page.items.len(), page.items[0].error, page.cursor]"#;
    let (script, ids) = managing(source);
    assert_eq!(script.json(), json!([1, "bang", ids[1].to_string()]));
    let (script, _) = managing("let page = dead_letters::list(#{}); [page.items.len(), page.cursor]");
    assert_eq!(script.json(), json!([2, null]));
}

#[test]
fn a_filter_says_what_is_wanted() {
    let source = r#"dead_letters::list(#{unresolved: true, resolution: "handler_failed", script: "mail", source: "invoke",
        reason: "gave_up", fingerprint: "mail: x", "$limit": 7, "$after": "ONE"})"#;
    let (script, ids) = managing(source);
    let (report, data) = script.run_with_data();
    report.result.expect("an answer");
    let [wanted] = &data.asked[..] else { panic!("{:?}", data.asked) };
    assert!(wanted.is_unresolved);
    let texts = [&wanted.resolution, &wanted.script, &wanted.source, &wanted.reason, &wanted.fingerprint];
    assert_eq!(texts.map(|text| text.as_deref().unwrap()), ["handler_failed", "mail", "invoke", "gave_up", "mail: x"]);
    assert_eq!((wanted.after, wanted.limit), (Some(ids[0]), 7));
}

#[test]
fn decisions_name_the_letter_and_what_is_to_become_of_it() {
    let source = r#"
        let item = dead_letters::replay("ONE");
        let other = dead_letters::replay("TWO", #{payload: #{event: #{id: 1}}});
        dead_letters::resolve("ONE", "refunded");
        [item, other]"#;
    let (script, [one, two]) = managing(source);
    let (report, data) = script.run_with_data();
    let items: Vec<String> = serde_json::from_slice(&report.result.expect("an answer").body).expect("JSON");
    assert_eq!(
        data.decided,
        [
            (one, format!("{} as it was", items[0])),
            (two, format!(r#"{} {{"event":{{"id":1}}}}"#, items[1])),
            (one, "refunded".to_owned())
        ]
    );
}

#[test]
fn nobody_in_particular_may_do_none_of_it() {
    for call in [
        r#"list(#{})"#,
        r#"get("ONE")"#,
        r#"replay("ONE")"#,
        r#"replay("ONE", #{payload: #{}})"#,
        r#"resolve("ONE", "why")"#,
    ] {
        let (mut script, _) = managing(&format!("dead_letters::{call}"));
        script.principal = None;
        script.rights = Rights::Public;
        let name = call.split('(').next().unwrap_or_default();
        let says = format!("dead_letters::{name} needs AppDeadLetterManage, which nobody has without credentials");
        let (report, data) = script.clone().run_with_data();
        assert!(report.result.is_err() && data.decided.is_empty() && data.asked.is_empty(), "{call}");
        let failure = script.failure();
        assert_eq!(failure.reason, FailureReason::Forbidden);
        assert!(failure.message.starts_with(&says), "{}", failure.message);
    }
}

#[test]
fn what_makes_no_sense_is_thrown_naming_call_and_value() {
    for (call, says) in [
        (
            r#"list(#{unresolve: true})"#,
            "dead_letters::list: there is no option `unresolve`, perhaps `unresolved`; there is",
        ),
        (r#"list(#{unresolved: 1})"#, "dead_letters::list: `unresolved` is 1: it must be true or false"),
        (r#"list(#{reason: "bored"})"#, "`reason` is `bored`: it must be one of attempts_exhausted, gave_up"),
        (r#"list(#{source: "cron"})"#, "`source` is `cron`: it must be one of trigger, async_route, invoke"),
        (r#"list(#{resolution: "lost"})"#, "`resolution` is `lost`: it must be one of replayed"),
        (r#"list(#{"$limit": 1001})"#, "`$limit` is 1001"),
        (r#"list(#{"$after": "x"})"#, "dead_letters::list: `x` is no cursor of such a list"),
        (r#"replay("x")"#, "dead_letters::replay: there is no dead letter `x`"),
        (r#"replay("ONE", #{payloads: 1})"#, "there is no option `payloads`, perhaps `payload`"),
        (r#"replay("ONE", #{payload: |x| x})"#, "dead_letters::replay: `payload`: a function has no JSON form"),
        (r#"resolve("x", "why")"#, "dead_letters::resolve: there is no dead letter `x`"),
        (r#"resolve("ONE", " ")"#, "dead_letters::resolve: the reason is ` `: it must have 1 to 1000 characters"),
    ] {
        let (script, _) = managing(&format!("try {{ dead_letters::{call}; }} catch (e) {{ return e; }}"));
        let caught = script.json();
        let caught = caught.as_str().unwrap_or_default();
        assert!(caught.contains(says), "{call}: {caught}");
    }
    for (call, says) in [
        (r#"replay("ONE")"#, "dead_letters::replay: closed"),
        (r#"resolve("ONE", "why")"#, "dead_letters::resolve: closed"),
        ("list(#{})", "dead_letters::list: closed"),
    ] {
        let (mut script, _) = managing(&format!("dead_letters::{call}"));
        script.data.fails = Some(DataError::Refused("closed".to_owned()));
        assert_eq!(script.thrown(), says);
    }
}
