//! A run leaves nothing allocated on its thread.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use picloud_core::{
    id::InvocationId,
    limits::Limits,
    run::{InvocationType, Rights},
};
use picloud_workers::sandbox::{Input, memory};

use crate::support::{SANDBOX, Script, on_a_script_thread, script};

/// What is allocated more after the last of several runs than after the first.
fn left_by(source: &str) -> isize {
    left_by_all_of(script(source))
}

fn left_by_all_of(script: Script) -> isize {
    let made = script.limits(Limits { timeout_ms: 200, max_value_depth: 64, ..Limits::DEFAULT });
    on_a_script_thread(move || {
        let (program, request) = (Arc::new(made.program), Arc::new(made.request));
        let run = || {
            let input = Input {
                request: Arc::clone(&request),
                kind: InvocationType::Http,
                invocation: InvocationId::generate(),
                request_id: None,
                principal: None,
                rights: Rights::Public,
                event: None,
                now: made.now,
                seed: [0; 32],
                deadline: Instant::now() + Duration::from_millis(200),
                cancelled: Arc::default(),
            };
            drop(SANDBOX.run(&program, input, made.data.clone()));
        };
        // The first compiles and fills what the thread keeps.
        run();
        let before = memory::used();
        for _ in 0..3 {
            run();
        }
        memory::used() - before
    })
}

#[test]
fn a_run_leaves_nothing_allocated() {
    for source in [
        "1",
        "let a = []; for i in 0..1000 { a.push(#{i: i, s: \"abc\" + i}); } a",
        "log::info(ctx.request.headers); ctx.request.method",
        "throw #{a: [1, 2, 3]};",
        "let a = []; loop { a.push([a.len()]); }",
        "let a = []; loop { a = [a]; }",
        "fn f(n) { f(n + 1) } f(0)",
        "loop { }",
        "let x = [1, 2]; let f = |y| x[0] + y; f.call(1)",
    ] {
        assert_eq!(left_by(source), 0, "{source}");
    }
}

#[test]
fn a_closure_that_captures_itself_is_freed_with_its_run() {
    for source in [
        "let f = (); f = || f; 1",
        "let f = || 1; let g = || f.call(); f = g; 1",
        "let x = #{}; let f = || x; x.f = f; 1",
        "let x = []; let f = || x; x.push(f); x.push(f); 1",
        "fn leak() { let f = (); f = || f; } for i in 0..1000 { leak(); } 1",
        "let a = (); let b = (); a = || b; b = || a; 1",
        "let f = (); f = || f; loop { }",
        "let f = (); f = || f; throw f;",
        "let x = 0; let f = || { let g = || x; x = g; g }; f.call(); 1",
        "fn outer(p) { let f = || p; p = f; f } outer(1); 1",
    ] {
        assert_eq!(left_by(source), 0, "{source}");
    }
}

#[test]
fn scripts_that_others_run_leave_nothing_allocated_either() {
    for other in [
        "[1, #{a: \"abc\"}]",
        "let f = (); f = || f; 1",
        "let f = (); f = || f; throw f;",
        "let f = (); f = || f; f",
        "let x = [1, 2]; let f = |y| x[0] + y; [f.call(1), x]",
        "throw #{a: [1, 2, 3]};",
        "invoke::run(\"other\", ctx.request.body)",
        "loop { }",
        "let a = []; loop { a = [a]; }",
    ] {
        for calling in [
            "invoke::run(\"other\", [1, #{a: 2}])",
            "let kept = []; let f = || kept; kept.push(f); try { kept.push(invoke::run(\"other\", 1)) } catch (e) { kept.push(e) } 1",
        ] {
            assert_eq!(left_by_all_of(script(calling).beside("other", other)), 0, "{calling}\n{other}");
        }
    }
}

#[test]
fn closures_in_a_loop_do_not_pile_up() {
    // Each iteration captures 100 kB; all together would be far more than a run may hold.
    let source = "let sum = 0; for i in 0..2000 { let s = \"\"; s.pad(100_000, 'x'); let f = |n| s.len() + n; sum += f.call(i); } sum";
    let report = script(source).run();
    assert!(report.result.is_ok(), "{:?}", report.result);
    assert!(report.peak_memory_bytes < 8 << 20, "{}", report.peak_memory_bytes);
}
