//! Apps take turns.

use std::sync::{Arc, Mutex, mpsc::channel};

use picloud_core::id::AppId;
use picloud_workers::pool::{Refused, Settings};

use crate::{heard, join, pool, settings, signal};

#[test]
fn a_quiet_app_runs_within_one_round_of_a_flooding_one() {
    let pool = pool(settings());
    let (flooding, quiet) = (AppId::generate(), AppId::generate());
    let (go, gate) = signal();
    pool.submit(flooding, move |_| heard(&gate)).expect("taken");
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |who: &'static str| {
        let order = Arc::clone(&order);
        move |_: &_| order.lock().expect("no panic").push(who)
    };
    for _ in 0..100 {
        pool.submit(flooding, note("flooding")).expect("taken");
    }
    pool.submit(quiet, note("quiet")).expect("taken");
    go.send(()).expect("it waits");
    join(&pool);
    let order = order.lock().expect("no panic");
    assert_eq!(order.len(), 101);
    assert!(order[..2].contains(&"quiet"), "it came after {:?}", order.iter().position(|who| *who == "quiet"));
}

#[test]
fn three_flooding_apps_share_equally() {
    let pool = pool(settings());
    let apps = [AppId::generate(), AppId::generate(), AppId::generate()];
    let (go, gate) = signal();
    pool.submit(AppId::generate(), move |_| heard(&gate)).expect("taken");
    let order = Arc::new(Mutex::new(Vec::new()));
    for (who, app) in apps.iter().enumerate() {
        for _ in 0..30 {
            let order = Arc::clone(&order);
            pool.submit(*app, move |_| order.lock().expect("no panic").push(who)).expect("taken");
        }
    }
    go.send(()).expect("it waits");
    join(&pool);
    for round in order.lock().expect("no panic").chunks(3) {
        let mut round = round.to_vec();
        round.sort_unstable();
        assert_eq!(round, [0, 1, 2]);
    }
}

#[test]
fn the_queue_of_an_app_is_bounded_and_another_apps_is_not_touched_by_it() {
    let pool = pool(Settings { app_queued: 2, queued: 3, ..settings() });
    let (full, other) = (AppId::generate(), AppId::generate());
    let (go, gate) = signal();
    pool.submit(full, move |_| heard(&gate)).expect("runs");
    pool.submit(full, |_| ()).expect("waits");
    pool.submit(full, |_| ()).expect("waits");
    assert_eq!(pool.submit(full, |_| ()), Err(Refused::Busy));
    pool.submit(other, |_| ()).expect("waits");
    assert_eq!(pool.submit(other, |_| ()), Err(Refused::Busy), "all together may be three");
    go.send(()).expect("it waits");
    join(&pool);
}

#[test]
fn an_app_at_its_maximum_waits_for_itself_while_others_go_on() {
    let pool = pool(Settings { app_running: 2, ..settings() });
    let (app, other) = (AppId::generate(), AppId::generate());
    let (began, begins) = channel();
    let gates: Vec<_> = (0..3)
        .map(|n| {
            let (go, gate) = signal();
            let began = began.clone();
            pool.submit(app, move |permit| {
                began.send(n).expect("the test listens");
                permit.wait(|| heard(&gate));
            })
            .expect("taken");
            go
        })
        .collect();
    assert_eq!([heard(&begins), heard(&begins)], [0, 1]);
    pool.submit(other, move |_| began.send(9).expect("the test listens")).expect("taken");
    assert_eq!(heard(&begins), 9, "the third has to wait");
    gates[1].send(()).expect("it waits");
    assert_eq!(heard(&begins), 2);
    gates[0].send(()).expect("it waits");
    gates[2].send(()).expect("it waits");
    join(&pool);
}

#[test]
fn a_long_run_lets_others_in_between() {
    let pool = pool(settings());
    let (long, quiet) = (AppId::generate(), AppId::generate());
    let (began, begins) = signal();
    let (done, is_done) = signal();
    pool.submit(long, move |permit| {
        began.send(()).expect("the test listens");
        // It computes until the other has run, which needs the only permit.
        while is_done.try_recv().is_err() {
            permit.breathe();
        }
    })
    .expect("taken");
    heard(&begins);
    pool.submit(quiet, move |_| done.send(()).expect("the other waits")).expect("taken");
    join(&pool);
}
