//! What is said about a source before it is stored.

use picloud_core::{
    limits::Limits,
    run::Severity::{self, *},
};

use crate::support::SANDBOX;

fn all(source: &str) -> Vec<(Severity, u32, u32, String)> {
    SANDBOX
        .validate(source, &Limits::DEFAULT)
        .into_iter()
        .map(|diagnostic| (diagnostic.severity, diagnostic.line, diagnostic.column, diagnostic.message))
        .collect()
}

#[track_caller]
fn finds(source: &str, severity: Severity, line: u32, column: u32, message: &str) {
    assert_eq!(all(source), [(severity, line, column, message.to_owned())], "{source}");
}

#[test]
fn a_good_script_has_nothing_wrong() {
    for source in [
        "",
        "ctx.request.body.name",
        "fn f(a) { ctx.app + a } f(1)",
        "fn f() { this.x } let m = #{x: 1}; m.f()",
        "let f = |x| x + 1; f.call(1); call(f, 1); [1].map(f)",
        "let n = 1; let f = || n; f.call()",
        "let x = 1; let g = || { let h = || x; h.call() }; g.call()",
        "for (x, i) in [1, 2] { print(x + i); }",
        "try { throw 1; } catch (e) { print(e); }",
        "let x = 1; { let y = x; y } switch x { 1 if x > 0 => x, _ => 2 }",
        "let c = kv::collection(\"c\"); c.set(\"a\", 1, #{ttl_s: 5}); c.get_or(\"a\", 1)",
        "const LIMIT = 5; fn f() { global::LIMIT } f()",
        "let a = [1]; a.len; a.len(); a[0]; \"x\".len; 1.0.floor()",
        "print(1); debug(2); type_of(3); is_def_var(\"x\"); let x = 1; is_shared(x)",
        "log::info(\"a\"); log::warn(\"a\", #{}); json::stringify(1)",
        "fn f(x) { x } let g = f; g.call(1)",
        "let x = 5; x += 1; `${x} and ${x + 1}`",
        "do { break; } while true; let y = loop { break 5; }; y",
        "let o = #{run: |x| x}; o.run(1)",
        "if \"event\" in ctx { 1 } else { 2 }",
    ] {
        let errors: Vec<_> = all(source).into_iter().filter(|(severity, ..)| *severity == Error).collect();
        assert_eq!(errors, [], "{source}");
    }
}

#[test]
fn syntax_errors_have_their_place_and_say_what_was_expected() {
    finds("let x = ;", Error, 1, 9, "unexpected ';'");
    finds("let x = 1\nlet y = 2;", Error, 2, 1, "expecting ';' to terminate this statement");
    finds("foo(1, 2", Error, 1, 9, "expecting ')' to close the arguments list of this function call 'foo'");
    finds("let a = [1, 2", Error, 1, 14, "expecting ']' to end this array literal");
    finds("let m = #{a: 1", Error, 1, 15, "expecting '}' to end this object map literal");
    finds("if x {", Error, 1, 7, "expecting '}' to terminate this block");
    finds("let s = \"abc", Error, 1, 9, "open string is not terminated");
    finds("let 1 = 2;", Error, 1, 5, "expecting name of a variable");
    finds("fn (x) {}", Error, 1, 4, "expecting function name in function declaration");
    finds("fn f(a, a) {}", Error, 1, 9, "duplicated parameter a for function f");
    finds("fn f() {} fn f() {}", Error, 1, 11, "function f with no parameters already exists");
    finds("break;", Error, 1, 1, "break statement should only be used inside a loop");
    finds("#{a: 1, a: 2}", Error, 1, 9, "duplicated property for object map literal: a");
    finds("const X = 1; X = 2;", Error, 1, 14, "cannot assign to constant X");
    finds("let ctx = 1;", Error, 1, 5, "`ctx` is given by PiCloud and cannot be defined: choose another name");
}

#[test]
fn unknown_names_are_refused_with_the_nearest_known() {
    finds("prnt(1)", Error, 1, 1, "there is no function `prnt`: did you mean `print`?");
    finds("fn greet(n) { n }\ngret(1)", Error, 2, 1, "there is no function `gret`: did you mean `greet`?");
    finds("xyzzy_plugh(1)", Error, 1, 1, "there is no function `xyzzy_plugh`");
    finds("json::pars(\"1\")", Error, 1, 1, "there is no function `json::pars`: did you mean `json::parse`?");
    finds("jsn::parse(\"1\")", Error, 1, 1, "there is no module `jsn`: did you mean `json`?");
    finds("let x = 1;\n  x + y", Error, 2, 7, "there is no variable `y` here");
    finds("let n = 1; fn f() { n } f()", Error, 1, 21, "there is no variable `n` here");
    finds("import \"a\" as a;", Error, 1, 1, "modules are not there yet: put the functions into this script");
}

#[test]
fn wrong_numbers_of_arguments_are_refused() {
    finds("json::parse()", Error, 1, 1, "`json::parse` takes 1 argument, not 0");
    finds("fn f(a, b) { a + b } f(1)", Error, 1, 22, "`f` takes 2 arguments, not 1");
    finds("print(1, 2, 3)", Error, 1, 1, "`print` takes 0 or 1 argument, not 3");
}

#[test]
fn unknown_methods_are_warnings() {
    finds("let a = [1]; a.psh(2)", Warning, 1, 16, "there is no method `psh`: did you mean `push`?");
    finds("kv::collection(\"c\").get()", Warning, 1, 21, "`get` takes 1 argument, not 0");
}

#[test]
fn what_cannot_be_reached_is_looked_at_too() {
    finds("if false { nowhere_at_all(1) }", Error, 1, 12, "there is no function `nowhere_at_all`");
}

#[test]
fn several_things_come_in_order() {
    let places: Vec<_> =
        all("aaaaaaaa(1);\nbbbbbbbb(2);\n  cccccccc").into_iter().map(|(_, line, column, _)| (line, column)).collect();
    assert_eq!(places, [(1, 1), (2, 1), (3, 3)]);
}

#[test]
fn depth_is_limited() {
    let shallow = Limits { max_expr_depth: 8, ..Limits::DEFAULT };
    let found = SANDBOX.validate("1 + (1 + (1 + (1 + (1 + (1 + (1 + (1 + (1 + 1))))))))", &shallow);
    assert!(found[0].message.contains("max_expr_depth"), "{found:?}");
}
