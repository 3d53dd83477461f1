//! Scripts that run others within the same run.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use picloud_core::{
    capability::Capability,
    event::{ActorKind, FailureReason},
    limits::Limits,
    run::{RetryHint, Rights},
};
use picloud_workers::sandbox::PrincipalInfo;
use serde_json::json;

use crate::support::{Script, script};

#[test]
fn what_a_script_returns_is_the_answer() {
    for (source, answer) in [
        ("#{sum: ctx.request.body.a + ctx.request.body.b}", json!({"sum": 3})),
        ("()", json!(null)),
        ("#{statusCode: 404, body: \"none\"}", json!({"a": 404})),
        ("let b = blob(2, 7); b", json!(14)),
        ("let n = 1; let f = || n += 1; f.call(); [n, #{m: n}]", json!([2, {"m": 2}])),
        ("fn f() { ctx.request.body.a } f()", json!(1)),
        ("const X = 5; X", json!(5)),
    ] {
        let calling = r#"
            let answer = invoke::run("other", #{a: 1, b: 2});
            if type_of(answer) == "blob" { answer = answer[0] + answer[1]; }
            if type_of(answer) == "map" && "statusCode" in answer { answer = #{a: answer.statusCode}; }
            if type_of(answer) == "i64" { answer += 0; }
            answer"#;
        assert_eq!(script(calling).beside("other", source).json(), answer, "{source}");
    }
}

#[test]
fn each_script_has_its_own_ctx_and_the_caller_has_its_own_again() {
    let seen = r#"[ctx.script.name, ctx.request.body, ctx.request.method, ctx.request.path, ctx.invocation_type, ctx.principal.id,
        ctx.invocation_id, ctx.env.currency, "event" in ctx]"#;
    let calling = format!(
        r#"let before = ctx.invocation_id;
        let other = invoke::run("other", [7]);
        fn after() {{ {seen} }}
        [other, after(), before]"#
    );
    for is_looked_at_before in [true, false] {
        let source = if is_looked_at_before { calling.clone() } else { calling.replace("ctx.invocation_id;", "0;") };
        let mut made = script(&source).beside("other", seen).body("application/json", "\"mine\"");
        made.principal = Some(PrincipalInfo { kind: ActorKind::ApiKey, id: "key_1".to_owned() });
        made.event = Some(Arc::from(serde_json::value::to_raw_value(&json!({"id": 1})).expect("plain data")));
        let seen = made.json();
        let id = seen[1][6].clone();
        assert_eq!(seen[0], json!(["other", [7], "POST", "/", "invoke", "key_1", id, "EUR", false]));
        assert_eq!(seen[1], json!(["checkout", "mine", "POST", "/checkout", "http", "key_1", id, "EUR", true]));
    }
}

#[test]
fn writes_and_lines_and_chance_are_the_runs() {
    let calling = r#"
        let c = kv::collection("c");
        c.set("n", 1);
        log::info("one");
        let ids = [ulid::new(), invoke::run("other", ()), ulid::new()];
        log::info("three");
        [c.get("n"), ids[0] != ids[1] && ids[1] != ids[2]]"#;
    let other = r#"log::info("two"); kv::collection("c").increment("n", 41); ulid::new()"#;
    let (report, data) = script(calling).beside("other", other).run_with_data();
    assert_eq!(&report.result.expect("an answer").body[..], b"[42,true]");
    assert_eq!(report.logs.iter().map(|line| line.message.as_str()).collect::<Vec<_>>(), ["one", "two", "three"]);
    assert_eq!(data.values.len(), 1);
}

#[test]
fn what_a_script_throws_is_thrown_to_its_caller() {
    let caught = |source: &str| {
        script("try { invoke::run(\"other\", ()); } catch (e) { return e; }").beside("other", source).json()
    };
    assert_eq!(caught("throw #{code: [7]}"), json!({"code": [7]}));
    assert_eq!(caught("throw \"no\""), json!("no"));
    assert_eq!(caught("fn f() { throw 5 } f()"), json!(5));
    assert_eq!(caught("1;\nlet x = 1 / 0;"), json!("invoke::run: `other`, line 2: Division by zero: 1 / 0"));
    let unknown = script("try { invoke::run(\"none\", ()); } catch (e) { return e; }").json();
    assert_eq!(unknown, json!("invoke::run: there is no script `none`"));
    let broken = caught("let = 5");
    assert!(
        broken.as_str().is_some_and(|text| text.starts_with("invoke::run: `other` does not compile: ")),
        "{broken}"
    );

    // Not caught: told with the place where the other was run.
    let failure = script("1;\n  invoke::run(\"other\", ())").beside("other", "1;\n1;\n1;\nthrow \"no\"").failure();
    assert_eq!((failure.message.as_str(), failure.line), ("no", Some(2)));
    let failure = script("invoke::run(\"other\", ())").beside("other", "throw retry::after(5)").failure();
    assert_eq!(failure.retry, Some(RetryHint::After(5)));
}

#[test]
fn the_caller_goes_on_after_what_was_thrown_as_it_was() {
    let calling = r#"
        let n = 1;
        let add = |by| n += by;
        try { invoke::run("other", ()) } catch { }
        add.call(2);
        [n, ctx.script.name, ctx.request.path, invoke::run("third", 5)]"#;
    let made =
        script(calling).beside("other", "let n = 5; let f = || n; throw f.call()").beside("third", "ctx.request.body");
    assert_eq!(made.json(), json!([3, "checkout", "/checkout", 5]));
}

#[test]
fn functions_stay_in_their_script() {
    for (source, says) in [
        ("|x| x", "invoke::run: what `other` answers is a function: it stays in its script"),
        (
            "[1, #{f: |x| x}]",
            "invoke::run: what `other` answers has a function at `[1].f`: functions stay in their script",
        ),
    ] {
        assert_eq!(script("invoke::run(\"other\", ())").beside("other", source).thrown(), says);
    }
    let thrown = script("invoke::run(\"other\", ())").beside("other", "throw [|x| x]").failure();
    assert_eq!(thrown.reason, FailureReason::Threw);
    let into = script("invoke::run(\"other\", [|x| x])").beside("other", "1").thrown();
    assert_eq!(into, "invoke::run: the arguments of `other`: a function at `[0]` has no JSON form");
}

#[test]
fn what_it_uses_up_is_the_runs_and_cannot_be_caught() {
    let ended = |calling: &str, other: &str, limits: Limits| {
        let failure = script(calling).beside("other", other).limits(limits).failure();
        failure.reason
    };
    let sum = "let sum = 0; for i in 0..1000 { sum += i; } sum";
    let few = Limits { max_operations: 20_000, ..Limits::DEFAULT };
    // Each alone would be well within.
    script("invoke::run(\"other\", ())").beside("other", sum).limits(few).answer();
    let calling = "for i in 0..20 { try { invoke::run(\"other\", ()); } catch { } } 1";
    assert_eq!(ended(calling, sum, few), FailureReason::OverOperations);
    let calling = format!("invoke::run(\"other\", ()); for i in 0..5 {{ {sum}; }} 1")
        .replace("let sum", "sum")
        .replace("invoke", "let sum = 0; invoke");
    script(&calling).beside("other", "1").limits(few).answer();
    let many = "let sum = 0; for i in 0..5000 { sum += i; } sum";
    assert_eq!(
        ended(&calling, many, few),
        FailureReason::OverOperations,
        "those of the other count for the caller, too"
    );

    let small = Limits { max_memory_bytes: 1024 * 1024, ..Limits::DEFAULT };
    let hog = "let all = []; for i in 0..400 { let s = \"\"; s.pad(1000, \"x\"); all.push(s); } all";
    let calling = "let kept = []; for i in 0..5 { try { kept.push(invoke::run(\"other\", ())); } catch { } } 1";
    script("invoke::run(\"other\", ()); invoke::run(\"other\", ()); 1").beside("other", hog).limits(small).answer();
    assert_eq!(ended(calling, hog, small), FailureReason::OverMemory);

    let quick = Limits { timeout_ms: 200, ..Limits::DEFAULT };
    let began = Instant::now();
    let calling = "try { invoke::run(\"other\", ()) } catch { } 1";
    assert_eq!(ended(calling, "loop { }", Limits { max_operations: 10_000_000, ..quick }), FailureReason::TimedOut);
    assert!(began.elapsed() < Duration::from_secs(5));
    let deep = script(calling).beside("other", "fn f(n) { f(n + 1) } f(0)").failure();
    assert_eq!((deep.reason, deep.limit), (FailureReason::OverLimit, Some("max_call_depth")));
}

/// A chain: each runs the next, the last answers.
fn chain(depth: usize) -> Script {
    let made = script("invoke::run(\"s1\", 0)");
    (1..=depth).fold(made, |made, n| {
        let source = if n == depth { "\"end\"".to_owned() } else { format!("invoke::run(\"s{}\", 0)", n + 1) };
        made.beside(&format!("s{n}"), &source)
    })
}

#[test]
fn scripts_run_each_other_eight_deep_and_a_circle_ends_there() {
    assert_eq!(chain(8).json(), json!("end"));
    assert_eq!(
        chain(9).thrown(),
        "invoke::run: `s9` is not run: scripts may run each other 8 deep, and this is where \
         checkout → s1 → s2 → s3 → s4 → s5 → s6 → s7 → s8 lead"
    );
    let circle =
        script("invoke::run(\"a\", 0)").beside("a", "invoke::run(\"b\", 0)").beside("b", "invoke::run(\"a\", 0)");
    assert!(circle.thrown().contains("checkout → a → b → a → b → a → b → a → b lead"));
    // Side by side there is no end to it.
    let wide = script("let n = 0; for i in 0..50 { n += invoke::run(\"one\", 0); } n").beside("one", "1");
    assert_eq!(wide.json(), json!(50));
}

#[test]
fn a_short_run_runs_what_is_compiled_and_leaves_the_rest_to_a_whole_one() {
    let made = script("invoke::run(\"other\", 1) + 1").beside("other", "ctx.request.body + 1");
    let (mut warm, cold) = (made.clone(), made);
    warm.program.version = picloud_core::id::VersionId::generate();
    // Compiles the caller alone.
    let mut lone = warm.clone();
    lone.data.programs.clear();
    drop(lone.run());
    assert!(warm.clone().run_short().is_none(), "compiling the other takes too long");
    drop(cold.run());
    // Both are known now, and what a run was too long for before is tried again only after a while.
    let tried = (0..2000).find_map(|_| warm.clone().run_short());
    assert_eq!(&tried.expect("it is short").result.expect("an answer").body[..], b"3");
}

#[test]
fn an_invoked_script_may_do_what_both_may_and_the_caller_has_its_own_rights_again() {
    let may = |held: &[Capability]| Rights::Principal(held.iter().copied().collect());
    let (invoke, read, write) = (Capability::AppInvoke, Capability::AppKvRead, Capability::AppKvWrite);
    let run = |source: &str, invoked_rights: Rights| {
        let mut script = script(source).beside("other", r#"kv::collection("c").set("a", 1); 2"#);
        script.principal = Some(PrincipalInfo { kind: ActorKind::Trigger, id: "trg_1".to_owned() });
        script.rights = may(&[invoke, read, write]);
        script.data.invoked_rights = Some(invoked_rights);
        script
    };
    let calling = r#"invoke::run("other", ())"#;
    assert_eq!(run(calling, may(&[write])).json(), json!(2));
    assert_eq!(run(calling, may(&[read])).failure().reason, FailureReason::Forbidden);
    // It ends the run: nothing of it is left to catch. Without the write the caller goes on as it may.
    let after = r#"let n = invoke::run("other", ()); kv::collection("c").set("b", n); n"#;
    assert_eq!(run(after, may(&[write])).json(), json!(2));
}
