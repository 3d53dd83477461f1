//! The language as scripts know it, with what was replaced.

use serde_json::json;

use crate::support::script;

#[test]
fn the_usual_things_work() {
    for (source, result) in [
        ("let x = 0; for i in 0..5 { x += i; } x", json!(10)),
        ("fn add(a, b) { a + b } add(1, 2)", json!(3)),
        ("let a = [3, 1, 2]; a.sort(); a", json!([1, 2, 3])),
        ("let a = [\"b\", \"a\"]; a.sort_desc(); a", json!(["b", "a"])),
        ("[1, 2, 3, 4].map(|x| x * 2).filter(|x| x > 2).reduce(|s, x| s + x, 0)", json!(18)),
        (
            "let a = [#{n: 2, s: 1}, #{n: 1, s: 2}, #{n: 2, s: 3}]; a.sort(|x, y| x.n - y.n); a.map(|x| x.s)",
            json!([2, 1, 3]),
        ),
        ("let a = [2, 3, 1]; a.sort(|x, y| x < y); a", json!([1, 2, 3])),
        ("[2, 1].order()", json!([1, 2])),
        ("\"a,b,,c\".split(\",\")", json!(["a", "b", "", "c"])),
        ("\"a b  c\".split()", json!(["a", "b", "c"])),
        ("\"a,b,c\".split(',', 2)", json!(["a", "b,c"])),
        ("\"a,b,c\".split_rev(\",\")", json!(["c", "b", "a"])),
        ("let s = \"aXbX\"; s.replace(\"X\", \"--\"); s", json!("a--b--")),
        ("let s = \"abc\"; s.replace('b', 'x'); s.replace(\"zz\", \"y\"); s", json!("axc")),
        ("let s = \"é\"; s.pad(3, '-'); s", json!("é--")),
        ("let s = \"a\"; s.pad(4, \"xy\"); s", json!("axyxy")),
        (
            "let m = #{a: 1}; m.mixin(#{b: 2}); m += #{c: 3}; m.fill_with(#{a: 9, d: 4}); m",
            json!({"a": 1, "b": 2, "c": 3, "d": 4}),
        ),
        ("#{a: 1} + #{a: 2, b: 3}", json!({"a": 2, "b": 3})),
        (
            "[#{a: [1, 1.0]} == #{a: [1.0, 1]}, [1] == [2], [1] != [2], [[]] == [[]], #{} == #{a: ()}]",
            json!([true, false, true, true, false]),
        ),
        (
            "[[1, 2].contains(2), 3 in [1, 2], [\"a\"].index_of(\"a\"), [1, 2, 1].index_of(1, 1), \"b\" in #{b: 1}]",
            json!([true, false, 0, 2, true]),
        ),
        ("let a = [1, 1, 2, 2, 1]; a.dedup(); a", json!([1, 2, 1])),
        (
            "let a = [1]; a.insert(0, 0); a.insert(-1, 9); a.append([5]); a += [6]; a += 7; a.push(8); a + [1]",
            json!([0, 9, 1, 5, 6, 7, 8, 1]),
        ),
        ("let a = [1, 2, 3]; a.splice(1, 1, [7, 8]); a.pad(6, 0); a", json!([1, 7, 8, 3, 0, 0])),
        (
            "`${1} ${\"s\"} ${[1, \"s\", ()]} ${#{a: 1.5}} ${'c'} ${true} ${()}`",
            json!("1 s [1, \"s\", ()] #{\"a\": 1.5} c true "),
        ),
        ("\"n: \" + [1] + #{}", json!("n: [1]#{}")),
        (
            "[\"abc\".to_chars(), \"abc\".len(), \"abc\".to_upper(), \"abc\".sub_string(1), \"abc\"[0]]",
            json!([["a", "b", "c"], 3, "ABC", "bc", "a"]),
        ),
        ("let b = blob(2, 65); b.push(66); [b.as_string(), b.to_array(), b.len()]", json!(["AAB", [65, 65, 66], 3])),
        ("[sqrt(4.0), abs(-1), max(1, 2), PI() > 3.0, 7 % 3, 2 ** 3] ", json!([2.0, 1, 2, true, 1, 8])),
        ("switch 3 { 1 => \"a\", 3 => \"b\", _ => \"c\" }", json!("b")),
        ("try { throw #{code: 7}; } catch (e) { return e.code; }", json!(7)),
        ("let n = 0; let f = || { n += 1; n }; f.call(); f.call(); n", json!(2)),
        ("#{b: 1, a: 2}.to_json()", json!(r#"{"a":2,"b":1}"#)),
        ("fn g(x) { x * 2 } let f = |x| x + 1; [f.call(1), call(f, 2), Fn(\"g\").call(3)]", json!([2, 3, 6])),
    ] {
        assert_eq!(script(source).json(), result, "{source}");
    }
}

#[test]
fn what_a_script_throws_has_its_place() {
    let failure = script("let x = 1;\n\nthrow \"no \" + x;").failure();
    assert_eq!((failure.message.as_str(), failure.line, failure.column), ("no 1", Some(3), Some(1)));
    let failure = script("fn f() {\n  let a = [1];\n  a[5]\n}\nf()").failure();
    assert_eq!(failure.line, Some(3), "{failure:?}");
    assert!(!failure.message.contains("line 3"), "{}", failure.message);
    assert_eq!(script("throw #{code: 1};").thrown(), "#{\"code\": 1}");
    assert_eq!(script("throw;").thrown(), "the script threw");
}

#[test]
fn what_is_not_there_says_so() {
    assert!(script("import \"other\" as o; o::f()").thrown().contains("modules are not there yet"));
    assert!(script("eval(\"1\")").thrown().contains("does not compile"));
    for absent in
        ["sleep(1)", "timestamp()", "parse_json(\"1\")", "open(\"/etc/passwd\")", "exit()", "get_fn_metadata_list()"]
    {
        assert!(script(absent).thrown().to_lowercase().contains("not found"), "{absent}");
    }
}

#[test]
fn a_comparison_that_contradicts_itself_only_sorts_badly() {
    let source = "let a = []; for i in 0..500 { a.push(i); } a.sort(|x, y| random::int(-1, 1)); a.sort(); [a.len(), a[0], a[499]]";
    assert_eq!(script(source).json(), json!([500, 0, 499]));
    assert!(script("let a = [1, \"a\"]; a.sort()").thrown().contains("have no order"));
    assert!(script("let a = [1, 2]; a.sort(|x, y| \"a\")").thrown().contains("not an int or a bool"));
    assert_eq!(script("let a = [2, 1]; try { a.sort(|x, y| { throw 1; }) } catch { } a.len()").json(), json!(2));
}

#[test]
fn printing_goes_to_the_log() {
    let report = script("print([1, \"a\"]); debug(\"q\"); log::warn(\"careful\", #{a: 1}); log::info(7);").run();
    let lines: Vec<_> = report.logs.iter().map(|line| (line.level, line.message.as_str())).collect();
    use picloud_core::run::LogLevel::{Info, Warn};
    assert_eq!(lines, [(Info, "[1, \"a\"]"), (Info, "\"q\""), (Warn, "careful"), (Info, "7")]);
    assert_eq!(report.logs[2].data.as_ref().map(|data| data.get()), Some(r#"{"a":1}"#));
}

#[test]
fn one_script_finds_nothing_of_another() {
    script("let leaked = 1; global_thing = 1").run();
    assert!(script("leaked").thrown().contains("leaked"));
}

#[test]
fn a_trivial_run_is_quick() {
    use std::{sync::Arc, time::Instant};

    use picloud_core::{
        id::InvocationId,
        run::{InvocationType, Rights},
    };
    use picloud_workers::sandbox::Input;

    use crate::support::{Memory, SANDBOX, on_a_script_thread};

    let made = script("let x = 1; x + 1");
    let per_run_us = on_a_script_thread(move || {
        let (program, request) = (Arc::new(made.program), Arc::new(made.request));
        let began = Instant::now();
        for _ in 0..2000 {
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
                deadline: Instant::now() + std::time::Duration::from_secs(5),
                cancelled: Arc::default(),
            };
            drop(SANDBOX.run(&program, input, Memory::default()));
        }
        began.elapsed().as_micros() / 2000
    });
    println!("{per_run_us} µs a run");
    // An engine for each call would take hundreds, even optimised.
    assert!(per_run_us < 100, "{per_run_us} µs");
}

#[test]
fn strings_are_searched_by_character_from_either_end() {
    let source = r#"
        let s = "añañ";
        [
            s.index_of("ñ"), s.index_of('ñ', 2), s.index_of("a", -2), s.index_of("a", -99), s.index_of("a", 4),
            s.index_of("x"), "".index_of(""), s.contains("ña"), s.contains('x'), s.get(1), s.get(-1), s.get(4), s.get(-5),
            blob(2, 7).contains(7), blob(2, 7).contains(8),
        ]
    "#;
    let answer = script(source).answer();
    let expected = r#"[1,3,2,0,-1,-1,-1,true,false,"ñ","ñ",null,null,true,false]"#;
    assert_eq!(std::str::from_utf8(&answer.body), Ok(expected));
}
