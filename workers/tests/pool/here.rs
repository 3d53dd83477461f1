//! Short work on the caller's own thread.

use picloud_core::id::AppId;
use picloud_workers::pool::{Load, Settings};

use crate::{heard, join, pool, settings, signal};

#[test]
fn short_work_is_done_at_once_by_whoever_asks() {
    let pool = pool(settings());
    let asked = std::thread::current().id();
    let (thread, load) = pool.here(AppId::generate(), || (std::thread::current().id(), pool.load())).expect("free");
    assert_eq!(thread, asked);
    assert_eq!((load.running, load.queued), (1, 0));
    assert_eq!(pool.load(), Load { running: 0, queued: 0, threads: 1 });
    join(&pool);
}

#[test]
fn it_is_left_to_others_while_none_may_compute() {
    let pool = pool(settings());
    let (app, other) = (AppId::generate(), AppId::generate());
    let (began, has_begun) = signal();
    let (go, gate) = signal();
    pool.submit(app, move |_| {
        began.send(()).expect("the test listens");
        heard(&gate);
    })
    .expect("taken");
    heard(&has_begun);
    assert_eq!(pool.here(other, || ()), None);
    go.send(()).expect("it waits");
    join(&pool);
}

#[test]
fn an_app_has_no_more_of_it_than_its_share() {
    let pool = pool(Settings { permits: 3, app_running: 1, ..settings() });
    let (app, other) = (AppId::generate(), AppId::generate());
    pool.here(app, || {
        assert_eq!(pool.here(app, || ()), None, "it has one");
        assert_eq!(pool.here(other, || ()), Some(()));
    })
    .expect("free");
    assert_eq!(pool.here(app, || ()), Some(()), "its one is over");
    join(&pool);
}

#[test]
fn what_came_meanwhile_goes_on_when_it_is_done_also_by_a_panic() {
    let pool = pool(settings());
    let app = AppId::generate();
    let (done, is_done) = signal();
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        pool.here(app, || {
            let done = done.clone();
            pool.submit(app, move |_| done.send(()).expect("the test listens")).expect("taken");
            panic!("working");
        })
    }));
    assert!(panic.is_err());
    heard(&is_done);
    join(&pool);
}

#[test]
fn a_closed_pool_does_none() {
    let pool = pool(settings());
    pool.close();
    assert_eq!(pool.here(AppId::generate(), || ()), None);
}
