//! Scripts made to hurt: whatever they are, they end, and the next one runs.

use std::time::{Duration, Instant};

use picloud_core::limits::Limits;
use proptest::prelude::*;

use crate::support::script;

/// As little as a test can wait for.
const TIMEOUT_MS: u64 = 100;

/// Statements over the variables `a`, `b`, `m`, `s`, `f`, chosen to grow, nest, share and repeat.
fn statement() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "a = [a]",
        "a = [a, b]",
        "a.push(b)",
        "b = [a, a]",
        "a += b",
        "a.push(a)",
        "a.insert(0, b)",
        "m.a = a",
        "m = #{m: m}",
        "m.m = m",
        "m[\"k\" + s.len()] = m",
        "s += s",
        "s = `${s}${a}`",
        "s += m",
        "s.replace(\"x\", s)",
        "s.pad(s.len() * 9, 'x')",
        "a.pad(a.len() * 7 + 1, m)",
        "b = s.split(\"\")",
        "b = s.to_chars()",
        "f = || a",
        "f = |x| f",
        "a.push(f)",
        "m.f = f",
        "a = f.call()",
        "m = f.call(m)",
        "f = f.curry(f)",
        "f = Fn(\"g\").curry(a, f)",
        "b = json::parse(json::stringify(a))",
        "s = json::stringify(m)",
        "a.sort()",
        "a.dedup()",
        "a == b",
        "a.contains(b)",
        "b = a.map(|x| [x, x])",
        "b = a.filter(|x| x == a)",
        "a.splice(0, 1, b)",
        "throw a",
        "g(a)",
        "a.h()",
        "s = regex::replace(s, \"x*\", \"$0$0\")",
        "b = regex::find_all(s, \"x?\")",
        "s = base64::encode(s)",
        "b = blob(s.len() * 99, 1); b += b",
        "b = a.order(|x, y| true)",
        "print(m)",
        "log::info(a, m)",
        "kv::collection(\"c\").set(\"k\", m)",
        "b = kv::collection(\"c\").get(\"k\")",
        "m.mixin(#{x: m})",
        "a.retain(|x| { a.push(x); true })",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(3, 24, 4, |inner| {
        let block = prop::collection::vec(inner, 1..4).prop_map(|statements| statements.join("; "));
        prop_oneof![
            block.clone().prop_map(|body| format!("loop {{ {body}; }}")),
            block.clone().prop_map(|body| format!("for i in 0..1_000_000 {{ {body}; }}")),
            block.clone().prop_map(|body| format!("try {{ {body}; }} catch (e) {{ a = [e]; }}")),
            block.prop_map(|body| format!("if true {{ {body}; }}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn every_script_ends_in_time(body in prop::collection::vec(statement(), 1..6)) {
        let source = format!(
            "fn g(x) {{ g([x]) }} fn h() {{ this = [this, this]; }}
             let a = [1]; let b = [\"x\"]; let m = #{{}}; let s = \"x\"; let f = || 1;
             {}; [a, m, s]",
            body.join("; ")
        );
        let limits = Limits { timeout_ms: TIMEOUT_MS, max_operations: 10_000_000, ..Limits::DEFAULT };
        let wanted = script(&source).limits(limits);
        let began = Instant::now();
        drop(wanted.clone().run());
        // Compiled now: once more, on a thread with little stack that others wait for.
        drop(wanted.run_short());
        // Generous to a busy machine: without limits these would take for ever.
        prop_assert!(began.elapsed() < Duration::from_millis(TIMEOUT_MS + 1000), "{:?}: {}", began.elapsed(), source);
    }

    #[test]
    fn no_source_breaks_the_compiler(source in "[\\[\\](){}#;|.,:!&=+a-f0-9\"'` \n]{0,200}") {
        let diagnostics =
            crate::support::on_a_script_thread(move || crate::support::SANDBOX.validate(&source, &Limits::DEFAULT));
        for diagnostic in diagnostics {
            prop_assert!(diagnostic.line >= 1 && diagnostic.column >= 1, "{diagnostic:?}");
        }
    }
}

#[test]
fn deep_sources_are_refused() {
    for (open, close) in
        [("[", "]"), ("(", ")"), ("{", "}"), ("#{a: ", "}"), ("!", ""), ("-", ""), ("|x| ", ""), ("if true {", "}")]
    {
        let source = format!("let x = {}1{};", open.repeat(20_000), close.repeat(20_000));
        let diagnostics =
            crate::support::on_a_script_thread(move || crate::support::SANDBOX.validate(&source, &Limits::CEILING));
        assert!(!diagnostics.is_empty(), "{open}");
    }
}

#[test]
fn values_nested_by_recursion_end_the_run_before_the_stack_does() {
    let limits = Limits { timeout_ms: 3000, max_operations: 10_000_000, max_value_depth: 128, ..Limits::CEILING };
    for source in [
        "fn deepen(n) { if n > 0 { this[0].deepen(n - 1); } else { this = [this]; } } let a = [[]]; loop { a = [[a]]; a.deepen(1); }",
        "fn wrap() { loop { this = [[[[[[[[this]]]]]]]]; } } let a = []; a.wrap();",
        "fn wrap() { loop { this = Fn(\"x\").curry(this); } } let a = []; a.wrap();",
        "fn wrap() { loop { this.f = #{f: #{f: this}}; this = #{f: this}; } } let a = #{}; a.wrap();",
        "let x = (); for i in 0..1_000_000 { let y = x; let f = || y; x = f; } 1",
    ] {
        let began = Instant::now();
        let wanted = script(source).limits(limits);
        let report = wanted.clone().run();
        assert!(wanted.run_short().is_none(), "{source}");
        assert!(report.result.is_err(), "{source}");
        assert!(began.elapsed() < Duration::from_millis(5000), "{source}: {:?}", began.elapsed());
    }
}
