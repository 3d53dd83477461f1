//! The permit is there while a run computes, and somebody else's while it waits.

use std::sync::{
    Arc, Barrier,
    atomic::{AtomicUsize, Ordering},
    mpsc::channel,
};

use picloud_core::id::AppId;
use picloud_workers::pool::Settings;

use crate::{heard, join, pool, settings, signal};

#[test]
fn a_run_that_waits_lets_another_compute() {
    let pool = pool(settings());
    let app = AppId::generate();
    let (first_may, first_waits) = signal();
    let (order, orders) = channel();
    let told = order.clone();
    pool.submit(app, move |permit| {
        permit.wait(|| heard(&first_waits));
        told.send("first").expect("the test listens");
    })
    .expect("taken");
    pool.submit(app, move |_| {
        order.send("second").expect("the test listens");
        first_may.send(()).expect("the first waits");
    })
    .expect("taken");
    assert_eq!([heard(&orders), heard(&orders)], ["second", "first"]);
    join(&pool);
}

#[test]
fn never_more_compute_than_there_are_permits() {
    let pool = pool(Settings { permits: 3, app_running: 32, max_threads: 64, ..settings() });
    let (computing, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let apps = [AppId::generate(), AppId::generate()];
    for n in 0..200 {
        let (computing, most) = (Arc::clone(&computing), Arc::clone(&most));
        pool.submit(apps[n % 2], move |permit| {
            let compute = || {
                most.fetch_max(computing.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                computing.fetch_sub(1, Ordering::SeqCst);
            };
            for _ in 0..10 {
                compute();
                permit.wait(std::thread::yield_now);
                compute();
                permit.breathe();
            }
        })
        .expect("taken");
    }
    join(&pool);
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)), "{most:?}");
}

#[test]
fn as_many_wait_at_once_as_there_are_threads_on_one_permit() {
    let pool = pool(Settings { app_running: 50, ..settings() });
    let app = AppId::generate();
    let all = Arc::new(Barrier::new(50));
    for _ in 0..50 {
        let all = Arc::clone(&all);
        pool.submit(app, move |permit| _ = permit.wait(|| all.wait())).expect("taken");
    }
    // The barrier opens only when all of them stand at it.
    join(&pool);
}

#[test]
fn waiting_within_waiting_gives_the_permit_back_once() {
    let pool = pool(settings());
    let app = AppId::generate();
    let (told, heard_of) = channel();
    pool.submit(app, move |permit| {
        let answer = permit.wait(|| permit.wait(|| 7));
        told.send((answer, permit.clone())).expect("the test listens");
    })
    .expect("taken");
    let (answer, stale) = heard(&heard_of);
    assert_eq!(answer, 7);
    join(&pool);
    assert_eq!(stale.wait(|| 8), 8, "a permit whose job has ended is nobody's");
    assert_eq!(pool.load().running, 0);
}
