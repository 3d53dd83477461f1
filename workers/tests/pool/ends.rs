//! Ends: of jobs that panic, of threads without work, of the pool.

use std::{
    collections::HashSet,
    sync::{Arc, Barrier, mpsc::channel},
    time::{Duration, Instant},
};

use picloud_core::id::AppId;
use picloud_workers::pool::{Load, Pool, Refused, Settings};

use crate::{PATIENCE, heard, join, pool, settings, signal};

#[test]
fn a_panic_loses_neither_the_permit_nor_the_thread() {
    let pool = pool(settings());
    let app = AppId::generate();
    for _ in 0..3 {
        pool.submit(app, |_| panic!("computing")).expect("taken");
        pool.submit(app, |permit| permit.wait(|| panic!("waiting"))).expect("taken");
    }
    let (done, is_done) = signal();
    pool.submit(app, move |_| done.send(()).expect("the test listens")).expect("taken");
    heard(&is_done);
    // A thread that had died of it would be waited for in vain.
    join(&pool);
}

#[test]
fn what_was_taken_runs_to_its_end_and_nothing_more_is_taken() {
    let pool = pool(settings());
    let app = AppId::generate();
    let (go, gate) = signal();
    let (done, is_done) = signal();
    pool.submit(app, move |permit| permit.wait(|| heard(&gate))).expect("taken");
    for _ in 0..10 {
        let done = done.clone();
        pool.submit(app, move |_| done.send(()).expect("the test listens")).expect("taken");
    }
    pool.close();
    assert_eq!(pool.submit(app, |_| ()), Err(Refused::ShuttingDown));
    let early = pool.join(Instant::now()).expect_err("one still waits");
    assert!(early.running >= 1, "{early}");
    go.send(()).expect("it waits");
    join(&pool);
    assert_eq!(is_done.try_iter().count(), 10);
    assert_eq!(pool.load(), Load { running: 0, queued: 0, threads: 0 });
}

/// Names every thread that ran one of `n` jobs that all waited at once.
fn crowd(pool: &Pool, n: usize) -> HashSet<std::thread::ThreadId> {
    let (here, heres) = channel();
    let all = Arc::new(Barrier::new(n));
    for _ in 0..n {
        let (here, all) = (here.clone(), Arc::clone(&all));
        pool.submit(AppId::generate(), move |permit| {
            permit.wait(|| all.wait());
            here.send(std::thread::current().id()).expect("the test listens");
        })
        .expect("taken");
    }
    (0..n).map(|_| heard(&heres)).collect()
}

#[test]
fn threads_that_find_no_work_end_and_the_first_ones_stay() {
    let pool = pool(Settings { permits: 2, idle: Duration::from_millis(1), ..settings() });
    assert_eq!(crowd(&pool, 20).len(), 20);
    let deadline = Instant::now() + PATIENCE;
    while pool.load().threads > 2 {
        assert!(Instant::now() < deadline, "{:?}", pool.load());
        std::thread::yield_now();
    }
    // They still work, and new ones come when they are needed.
    assert_eq!(crowd(&pool, 5).len(), 5);
    join(&pool);
}

#[test]
fn no_thread_is_left_after_the_end() {
    let pool = pool(Settings { idle: Duration::from_secs(3600), ..settings() });
    crowd(&pool, 30);
    join(&pool);
    let left = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
        let names = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.trim() == "picloud-run").count()
    };
    // A thread that was joined is listed until the kernel has put it away.
    let deadline = Instant::now() + PATIENCE;
    while left() > 0 {
        assert!(Instant::now() < deadline, "nextest gives each test a process of its own, and {} are left", left());
        std::thread::yield_now();
    }
}

#[test]
fn the_thread_that_rested_last_works_first() {
    let pool = pool(settings());
    let app = AppId::generate();
    let one = |pool: &Pool| {
        let (here, is_here) = channel();
        pool.submit(app, move |_| here.send(std::thread::current().id()).expect("the test listens")).expect("taken");
        heard(&is_here)
    };
    let all_rest = |pool: &Pool| {
        while pool.load().running > 0 {
            std::thread::yield_now();
        }
    };
    crowd(&pool, 4);
    all_rest(&pool);
    let ran = one(&pool);
    all_rest(&pool);
    assert_eq!(one(&pool), ran);
    join(&pool);
}

#[test]
fn a_dropped_pool_lets_its_jobs_end() {
    let pool = pool(settings());
    let (go, gate) = signal();
    let (done, is_done) = signal();
    pool.submit(AppId::generate(), move |permit| {
        permit.wait(|| heard(&gate));
        done.send(()).expect("the test listens");
    })
    .expect("taken");
    drop(pool);
    go.send(()).expect("it waits");
    heard(&is_done);
}
