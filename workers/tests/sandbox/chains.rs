//! Closures that hold each other in a long row: dropping the last must not take the stack, and with it the process.

use picloud_core::limits::Limits;

use crate::support::script;

/// Each round holds, in a cell of its own, what the round before left: no value nests deep, and yet the row is long.
const ROWS: [&str; 4] = [
    "let f = || 0; for i in 0..200000 { let g = f; f = || g; }",
    "fn link(g) { || g } let f = 0; for i in 0..200000 { f = link(f); }",
    "let f = 0; for i in 0..100000 { let g = #{n: f}; f = || g; }",
    "let f = 0; for i in 0..20000 { let g = [[[[[[[[[[[[[[[[f]]]]]]]]]]]]]]]]; f = || g; }",
];

/// Runs them to their end, with room for that: 200 000 closures are a few dozen MiB.
fn answer(source: &str) -> Vec<u8> {
    let limits =
        Limits { max_operations: 10_000_000, max_memory_bytes: 512 << 20, timeout_ms: 60_000, ..Limits::DEFAULT };
    script(source).limits(limits).answer().body.to_vec()
}

#[test]
fn a_row_of_closures_that_the_script_drops_leaves_the_process_standing() {
    for row in ROWS {
        assert_eq!(answer(&format!("{row} f = (); 1")), b"1");
    }
}

#[test]
fn a_row_of_closures_that_is_left_at_the_end_leaves_the_process_standing() {
    for row in ROWS {
        assert_eq!(answer(&format!("{row} 1")), b"1");
    }
}

#[test]
fn closures_that_nobody_holds_any_more_take_no_memory() {
    let limits = Limits { max_operations: 10_000_000, max_memory_bytes: 1 << 20, ..Limits::DEFAULT };
    let source = "for i in 0..100000 { let g = i; let f = || g; f.call(); } 1";
    assert_eq!(script(source).limits(limits).answer().body, "1");
}
