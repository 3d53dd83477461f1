//! Short runs: the same as whole ones, or none at all.

use std::time::{Duration, Instant};

use picloud_core::limits::Limits;
use picloud_workers::sandbox::DataError;

use crate::support::{Script, script};

/// Runs it whole, so that it is compiled, and then as a short one.
fn both(wanted: &Script) -> (String, Option<String>) {
    let whole = format!("{:?}", wanted.clone().run().result);
    (whole, wanted.clone().run_short().map(|report| format!("{:?}", report.result)))
}

#[test]
fn a_short_run_comes_to_the_same_as_a_whole_one() {
    for source in [
        "#{hello: ctx.request.path, n: 1 + 1}",
        "let sum = 0; for i in 0..20 { sum += i; } sum",
        "fn add(a, b) { a + b } [1, 2, 3].map(|x| add(x, 1))",
        "throw #{status: 418, body: \"short and stout\"}",
        "let x = #{}; x.y.z",
        "random::integer(1, 1_000_000)",
        "time::now()",
        "regex::is_match(\"abc\", \"^a.c$\")",
    ] {
        let (whole, short) = both(&script(source));
        assert_eq!(Some(whole), short, "{source}");
    }
}

#[test]
fn a_body_that_is_not_what_it_says_is_refused_as_ever() {
    let (whole, short) = both(&script("ctx.request.body").body("application/json", "{"));
    assert!(whole.contains("BadInput"), "{whole}");
    assert_eq!(Some(whole), short);
}

#[test]
fn what_has_not_been_compiled_is_not_short() {
    assert!(script("1").run_short().is_none());
}

#[test]
fn what_takes_long_is_not_short_whichever_bound_it_meets() {
    for source in [
        "loop { }",
        "let sum = 0; for i in 0..10_000 { sum += i; } sum",
        "try { loop { } } catch (e) { } 1",
        "let s = \"x\"; for i in 0..21 { s += s; } s.len()",
        "blob(2_000_000, 1).len()",
        "let a = []; a.pad(200_000, 1); a.len()",
        "let s = \"x\"; s.pad(100_000, \"x\"); regex::replace(s, \"x\", \"y\").len()",
        "fn down(n) { if n == 0 { 0 } else { down(n - 1) } } for i in 0..20 { down(40); } 1",
    ] {
        let limits = Limits { timeout_ms: 500, ..Limits::DEFAULT };
        let wanted = script(source).limits(limits);
        drop(wanted.clone().run());
        let began = Instant::now();
        assert!(wanted.run_short().is_none(), "{source}");
        // What takes two milliseconds at most on a machine with nothing else to do.
        assert!(began.elapsed() < Duration::from_millis(250), "{source}: {:?}", began.elapsed());
    }
}

#[test]
fn what_would_have_to_wait_is_not_short_and_has_left_nothing() {
    let source = "log::info(\"begins\"); kv::collection(\"c\").get(\"k\"); \"done\"";
    let mut wanted = script(source);
    drop(wanted.clone().run());
    wanted.data.fails = Some(DataError::Unavailable);
    assert!(wanted.clone().run_short().is_none());
    wanted.data.fails = None;
    let report = wanted.run();
    assert!(report.result.is_ok());
    assert_eq!(report.logs.len(), 1);
}

#[test]
fn what_would_have_to_pause_is_not_short() {
    let source = "let n = 0; retry::run(#{base_ms: 1}, || { n += 1; if n < 2 { throw \"no\" } n })";
    let mut wanted = script(source);
    let whole = wanted.clone().run();
    assert!(whole.result.is_ok(), "{whole:?}");
    // As a node has it there: nothing may block.
    wanted.data.fails = Some(DataError::Unavailable);
    assert!(wanted.run_short().is_none());
    // Nothing to wait for: short.
    for source in
        ["retry::run(#{}, || 42)", "let n = 0; retry::run(#{base_ms: 0}, || { n += 1; if n < 3 { throw n } n })"]
    {
        let mut wanted = script(source);
        let (whole, _) = both(&wanted);
        wanted.data.fails = Some(DataError::Unavailable);
        assert_eq!(wanted.run_short().map(|report| format!("{:?}", report.result)), Some(whole), "{source}");
    }
}

#[test]
fn deep_values_do_not_reach_the_end_of_a_common_stack() {
    for last in ["print(a);", "a == a;", "json::stringify(a);", "`${a}`;", "let b = a; b.push(a);", "throw a;", "a"] {
        let source = format!("let a = [1]; for i in 0..150 {{ a = [[a]]; }} {last}");
        let wanted = script(&source);
        drop(wanted.clone().run());
        drop(wanted.run_short());
    }
}

#[test]
fn after_a_long_run_a_thousand_are_not_tried_and_then_one_is() {
    let wanted = script("if ctx.request.method == \"GET\" { 1 } else { loop { } }");
    let limits = Limits { timeout_ms: 100, ..Limits::DEFAULT };
    let long = wanted.limits(limits);
    let mut quick = long.clone();
    quick.request.method = "GET".into();
    drop(quick.clone().run());
    assert!(quick.clone().run_short().is_some());
    assert!(long.run_short().is_none());
    let tried = (0..2000).position(|_| quick.clone().run_short().is_some());
    assert_eq!(tried, Some(1024));
}
