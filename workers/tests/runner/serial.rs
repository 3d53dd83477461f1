//! Runs, also those that only read, are as if one had followed the other.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use futures::future::join_all;
use picloud_core::{
    event::FailureReason,
    id::AppId,
    run::{Invoker as _, Program},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use sqlx::PgPool;

use crate::support::{
    Cluster, TestNode, call_of, call_with, json, lock_stored_data, node, program, soon, waiting_for_stored_data,
};

const ACCOUNTS: i64 = 5;

/// What a bank's scripts are.
struct Bank {
    transfer: Arc<Program>,
    by_key: Arc<Program>,
    by_list: Arc<Program>,
}

fn bank(app: AppId) -> Bank {
    let transfer = r#"
        let t = ctx.request.body;
        let from = c.get("account/" + t.from); let to = c.get("account/" + t.to);
        c.set("account/" + t.from, from - t.amount);
        c.set("account/" + t.to, to + t.amount);
    "#;
    let by_key = r#"
        let sum = 0;
        for i in 0..5 { sum += c.get("account/" + i); }
        if sum != 500 { throw "the accounts hold " + sum; }
        sum
    "#;
    let by_list = r#"
        let sum = 0;
        for item in c.list(#{prefix: "account/"}).items { sum += item.value; }
        if sum != 500 { throw "the accounts hold " + sum; }
        sum
    "#;
    Bank { transfer: program(app, transfer), by_key: program(app, by_key), by_list: program(app, by_list) }
}

/// Moves money about and counts it, all at once, on all of the nodes.
async fn business(nodes: &[&TestNode], app: AppId, seed: u64) {
    nodes[0].run(app, r#"for i in 0..5 { c.set("account/" + i, 100); }"#).await;
    let bank = bank(app);
    let (moved, counted) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let workers = (0..12_u64).map(|worker| {
        let (bank, moved, counted) = (&bank, &moved, &counted);
        let mut random = StdRng::seed_from_u64(seed * 100 + worker);
        async move {
            for _ in 0..15 {
                let node = nodes[random.random_range(0..nodes.len())];
                let from = random.random_range(0..ACCOUNTS);
                let to = (from + random.random_range(1..ACCOUNTS)) % ACCOUNTS;
                let transfer = json!({"from": from, "to": to, "amount": random.random_range(1..50)});
                let (call, count) = match worker % 4 {
                    0 => (call_of(&bank.by_key), counted),
                    1 => (call_of(&bank.by_list), counted),
                    _ => (call_with(&bank.transfer, &transfer), moved),
                };
                match soon(node.runner.invoke(call)).await.expect("available").result {
                    Ok(_) => {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(failure) => assert_eq!(failure.reason, FailureReason::Conflict, "seed {seed}: {failure:?}"),
                }
            }
        }
    });
    join_all(workers).await;
    assert_eq!(json(nodes[0].invoke(call_of(&bank.by_key)).await), 500);
    assert_eq!(json(nodes[0].invoke(call_of(&bank.by_list)).await), 500);
    assert_eq!(moved.into_inner(), 90, "all transfers were made within their time, seed {seed}");
    assert_eq!(counted.into_inner(), 90, "all counts were made within their time, seed {seed}");
}

#[sqlx::test(migrations = "../migrations")]
async fn nobody_sees_money_that_is_not_there(database: PgPool) {
    let node = node(&database).await;
    for seed in 0..3 {
        business(&[&node], AppId::generate(), seed).await;
    }
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn nobody_sees_money_that_is_not_there_on_two_nodes(database: PgPool) {
    let cluster = Cluster::new(&database);
    let (one, other) = (cluster.node().await, cluster.node().await);
    for seed in 10..12 {
        business(&[&one, &other], AppId::generate(), seed).await;
    }
    one.stop().await;
    other.stop().await;
}

/// Lets two runs of a script read, both before either can have committed; then lets them go on.
async fn at_once(node: &TestNode, app: AppId, sources: [&str; 2]) -> usize {
    let held = lock_stored_data(&node.pool).await;
    let runs = sources.map(|source| node.runner.invoke(call_of(&program(app, source))));
    waiting_for_stored_data(&node.pool, 2).await;
    held.rollback().await.unwrap();
    soon(join_all(runs)).await.into_iter().map(json).filter(|answer| answer == &json!("done")).count()
}

#[sqlx::test(migrations = "../migrations")]
async fn two_doctors_cannot_both_leave(database: PgPool) {
    let node = node(&database).await;
    for _ in 0..10 {
        let app = AppId::generate();
        node.run(app, r#"c.set("a", true); c.set("b", true)"#).await;
        // Each writes what the other only read.
        let leave = [
            r#"if c.get("a") && c.get("b") { c.set("a", false); "done" } else { "stays" }"#,
            r#"if c.get("b") && c.get("a") { c.set("b", false); "done" } else { "stays" }"#,
        ];
        assert_eq!(at_once(&node, app, leave).await, 1);
        let on_call = [node.value(app, "a").await.unwrap(), node.value(app, "b").await.unwrap()];
        assert!(on_call.contains(&"true".to_owned()), "{on_call:?}");
    }
    node.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_seat_that_a_listing_showed_to_be_free_is_taken_once(database: PgPool) {
    let node = node(&database).await;
    for _ in 0..10 {
        let app = AppId::generate();
        // What was not there has no version: the range as a whole was read.
        let book = [
            r#"if c.list(#{prefix: "seat/"}).items.is_empty() { c.set("seat/a", 1); "done" } else { "full" }"#,
            r#"if c.list(#{prefix: "seat/"}).items.is_empty() { c.set("seat/b", 1); "done" } else { "full" }"#,
        ];
        assert_eq!(at_once(&node, app, book).await, 1);
    }
    node.stop().await;
}

/// Looks at two keys, one after the other, while another node makes both come and go together.
async fn look_while_they_come_and_go(database: &PgPool, otherwise: &str) {
    let cluster = Cluster::new(database);
    // What another node deletes this one does not hear of while it appends nothing itself: only the end of a run finds out.
    let (node, other) = (cluster.node().await, cluster.node().await);
    let app = AppId::generate();
    let look = format!(
        "let x = c.has(\"x\"); let sum = 0; for i in 0..20000 {{ sum += i; }}
        if x != c.has(\"b\") {{ {otherwise} }}
        \"whole\""
    );
    let flip = r#"if c.has("x") { c.delete("x"); c.delete("b"); } else { c.set("x", 1); c.set("b", 1); }"#;
    let (look, flip) = (program(app, &look), program(app, flip));
    let done = AtomicBool::new(false);
    let looks = async {
        for _ in 0..20 {
            assert_eq!(json(node.invoke(call_of(&look)).await), "whole");
        }
        done.store(true, Ordering::Relaxed);
    };
    let flips = async {
        while !done.load(Ordering::Relaxed) {
            other.invoke(call_of(&flip)).await.unwrap().result.unwrap();
        }
    };
    futures::future::join(looks, flips).await;
    node.stop().await;
    other.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_failure_that_came_of_what_was_never_so_is_not_told(database: PgPool) {
    look_while_they_come_and_go(&database, r#"throw "half""#).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn an_answer_that_came_of_what_was_never_so_is_not_given(database: PgPool) {
    look_while_they_come_and_go(&database, r#"return "half""#).await;
}
