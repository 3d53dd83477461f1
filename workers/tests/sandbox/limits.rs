//! Every limit ends a run by its name, in time, whatever the script catches.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use picloud_core::{
    event::FailureReason::{self, *},
    limits::Limits,
};

use crate::support::{Script, script};

const SHORT: Limits = Limits { timeout_ms: 150, max_operations: 10_000_000, ..Limits::DEFAULT };

/// How often a run may be late for no fault of its own: the machine has other things to do than this test.
const TRIES: usize = 3;

#[track_caller]
fn ends(wanted: Script, reason: FailureReason, limit: &str) {
    let (source, limits) = (wanted.program.source.to_string(), wanted.program.limits);
    let latest = Duration::from_millis(limits.timeout_ms + 100);
    let mut took = Duration::MAX;
    for _ in 0..TRIES {
        let began = Instant::now();
        let failure = script(&source).limits(limits).failure();
        took = began.elapsed();
        assert_eq!((failure.reason, failure.limit), (reason, Some(limit)), "{source}: {failure:?}");
        if took < latest {
            return;
        }
    }
    panic!("{source}: took {took:?}");
}

#[test]
fn an_endless_loop_ends_at_its_deadline() {
    ends(script("loop { }").limits(SHORT), TimedOut, "timeout_ms");
    ends(script("let x = 0; while true { x += 1; }").limits(SHORT), TimedOut, "timeout_ms");
}

#[test]
fn nothing_that_a_script_catches_brings_it_back() {
    let source = "loop { try { loop { } } catch (e) { } }";
    ends(script(source).limits(SHORT), TimedOut, "timeout_ms");
    let few = Limits { max_operations: 1000, ..Limits::DEFAULT };
    ends(script(source).limits(few), OverOperations, "max_operations");
}

#[test]
fn operations_are_counted() {
    let few = Limits { max_operations: 10_000, ..Limits::DEFAULT };
    ends(script("let i = 0; while i < 1_000_000 { i += 1; } i").limits(few), OverOperations, "max_operations");
    let report = script("let i = 0; while i < 100 { i += 1; } i").limits(few).run();
    assert!((300..3000).contains(&report.operations), "{}", report.operations);
}

#[test]
fn memory_is_counted() {
    let small =
        Limits { max_memory_bytes: 4 * 1024 * 1024, timeout_ms: 5000, max_operations: 10_000_000, ..Limits::DEFAULT };
    let hoard = r#"let all = #{}; let i = 0; loop { all["k" + i] = [i, i, i, i]; i += 1; if i == 5000 { let more = [all, all, all, all, all, all, all, all]; more.len() } }"#;
    ends(script(hoard).limits(small), OverMemory, "max_memory_bytes");
    let strings = r#"let all = []; loop { let s = "x"; s.pad(100_000, 'y'); all.push(s); }"#;
    ends(script(strings).limits(small), OverMemory, "max_memory_bytes");
}

#[test]
fn the_peak_of_memory_is_reported() {
    let report = script("let s = \"x\"; s.pad(1_000_000, 'y'); s.len()").run();
    assert!((1_000_000..4_000_000).contains(&report.peak_memory_bytes), "{}", report.peak_memory_bytes);
}

#[test]
fn strings_do_not_outgrow_their_limit() {
    let string = |source: &str| ends(script(source), OverLimit, "max_string_bytes");
    string(r#"let s = "x"; loop { s += s; }"#);
    string(r#"let s = "x"; loop { s = s + s; }"#);
    string(r#"let s = "x"; loop { s = `${s}${s}`; }"#);
    string(r#"let m = #{s: "x"}; loop { m.s += m.s; }"#);
    string(r#"let s = "x"; s.pad(2_000_000, ' ');"#);
    string(r#"let s = "x"; s.pad(2_000_000, "ab");"#);
    string(r#"let s = "x"; s.pad(1_000, ' '); let by = s; s.replace(" ", by); s.replace(" ", by);"#);
    string("let b = blob(2_000_000); b.len()");
    string("let b = blob(10); loop { b += b; }");
    string(r#"let s = ""; s.pad(800_000, 'x'); json::stringify([s, s])"#);
    string(r#"let s = ""; s.pad(800_000, 'x'); let a = [s, s, s]; a.to_string()"#);
    string(r#"let s = ""; s.pad(800_000, 'x'); `${[s, s, s]}`"#);
    string(r#"let s = ""; s.pad(800_000, 'x'); base64::encode(s)"#);
}

#[test]
fn arrays_do_not_outgrow_their_limit() {
    let array = |source: &str| ends(script(source), OverLimit, "max_array_len");
    array("let a = []; loop { a.push(1); }");
    array("let a = [1]; loop { a += a; }");
    array("let a = [1]; loop { a += 1; }");
    array("let a = []; a.pad(10_001, 1);");
    array(r#"let s = ""; s.pad(20_000, ' '); s.split(" ")"#);
    array(r#"let s = ""; s.pad(20_000, ' '); s.to_chars()"#);
    array("blob(20_000).to_array()");
}

#[test]
fn maps_do_not_outgrow_their_limit() {
    let map = |source: &str| ends(script(source), OverLimit, "max_map_len");
    map(r#"let m = #{}; let i = 0; loop { m["k" + i] = i; i += 1; }"#);
    map(r#"let m = #{}; let i = 0; loop { m.mixin(#{}); m += json::parse(`{"k${i}": 1}`); i += 1; }"#);
}

#[test]
fn values_do_not_nest_deeper_than_their_limit() {
    let deep = |source: &str| ends(script(source), OverLimit, "max_value_depth");
    deep("let a = []; loop { a = [a]; }");
    deep("let a = #{}; loop { a = #{a: a}; }");
    deep("let f = Fn(\"x\"); loop { f = Fn(\"x\").curry(f); }");
    deep(r#"let s = ""; s.pad(100, '['); json::parse(s)"#);
    deep("fn wrap() { loop { this = [this]; } } let a = []; a.wrap();");
}

#[test]
fn calls_do_not_go_deeper_than_their_limit() {
    ends(script("fn f(n) { f(n + 1) } f(0)"), OverLimit, "max_call_depth");
    let deepest = Limits { max_call_depth: 128, max_expr_depth: 128, ..Limits::DEFAULT };
    let nested = format!("fn f(n) {{ {}f(n + 1){} }} f(0)", "[".repeat(30), "]".repeat(30));
    ends(script(&nested).limits(deepest), OverLimit, "max_call_depth");
}

#[test]
fn a_cancelled_run_ends() {
    let script = script("loop { }");
    script.cancelled.store(true, Ordering::Relaxed);
    let failure = script.failure();
    assert_eq!((failure.reason, failure.limit), (Cancelled, None));
}

#[test]
fn log_lines_over_their_limit_are_dropped_and_counted() {
    let little = Limits { max_log_bytes: 1000, ..Limits::DEFAULT };
    let report = script(r#"for i in 0..100 { log::info("line " + i); }"#).limits(little).run();
    assert!(report.result.is_ok());
    assert!(report.logs.len() > 10 && report.logs.len() < 40, "{}", report.logs.len());
    assert_eq!(report.logs.len() + report.logs_dropped as usize, 100);
}

#[test]
fn native_functions_are_stopped_too() {
    let slow = Limits { max_string_bytes: 8 << 20, timeout_ms: 100, max_memory_bytes: 512 << 20, ..SHORT };
    let timed = |source: &str| ends(script(source).limits(slow), TimedOut, "timeout_ms");
    let strings = r#"let a = []; let b = []; let s = ""; s.pad(8_000_000, 'x'); let t = ""; t.pad(8_000_000, 'x');
        for i in 0..5_000 { a.push(s); b.push(t); } "#;
    timed(&format!("{strings} a == b"));
    timed(&format!("{strings} a.contains(t + 'y')  || a.index_of(t) < 0 || {{ a.append(b); a.sort(); true }}"));
    timed(&format!("{strings} #{{a: a}} == #{{a: b}}"));
}
